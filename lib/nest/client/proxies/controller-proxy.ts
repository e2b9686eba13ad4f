import type { Type } from '@nestjs/common';
import { firstValueFrom, Observable } from 'rxjs';
import { isObject } from '../../../protocol/values/unknown.js';
import type { RapCallOptions } from '../calls/rap-session.js';
import { RegisteredError } from '../../errors/errors.js';
import { toRapError } from '../../errors/to-rap-error.js';
import {
  isGenerator,
  methodNames,
  patternMetadata,
  type PatternMetadata,
} from '../../handlers/method-metadata.js';
import { targetOf } from '../../handlers/pattern.js';
import { shown } from '../../errors/shown.js';
import type { RapMethodKind } from '../../contract/contract.js';
import type { RapControllerClient } from './controller-types.js';
import { defaulting, type MethodCaller, methodCaller, type ServiceCaller } from './method-caller.js';
import type { UndecidedCall } from './undecided-call.js';
import { isIterable } from './upload.js';

/** What the proxy of a controller needs of its client. */
export interface ControllerCaller extends ServiceCaller {
  emit(pattern: unknown, data: unknown): Observable<unknown>;
  /** Calls a method that may stream or not. */
  undecided<T>(target: string, data: unknown, options: RapCallOptions | undefined): UndecidedCall<T>;
  /** Nest's own form of a pattern. */
  normalize(pattern: never): string;
}

/** Key of the return type that TypeScript emits for a decorated method. */
const RETURN_TYPE_METADATA = 'design:returntype';

/** Makes a proxy from the decorators of a controller class. */
export function controllerProxy<T extends object>(
  client: ControllerCaller,
  controller: Type<T>,
): RapControllerClient<T> {
  if (typeof controller !== 'function')
    throw new RegisteredError(`client.controller(): ${shown(controller)} is not a class`);
  const prototype = controller.prototype as Record<string, object>;
  const proxy: Record<string, MethodCaller> = {};
  let count = 0;
  for (const name of methodNames(prototype)) {
    const pattern = patternMetadata(prototype[name] as object);
    if (pattern) count += 1;
    const method = `${controller.name}.${name}`;
    proxy[name] = pattern
      ? callerOf(client, pattern, kindOf(prototype, name, pattern), method)
      : refusal(`${method} handles no pattern: it cannot be called remotely`);
  }
  if (count === 0) throw new RegisteredError(`${controller.name} has no method that handles a pattern`);
  return proxy as unknown as RapControllerClient<T>;
}

function callerOf(
  client: ControllerCaller,
  { patterns, extras, isEvent }: PatternMetadata,
  kind: RapMethodKind | undefined,
  method: string,
): MethodCaller {
  const target = rapTarget(client, patterns[0], extras.group);
  if (isEvent)
    return (data: unknown) => firstValueFrom(client.emit(target, data), { defaultValue: undefined });
  const { idempotent } = extras;
  if (kind === undefined) {
    const withDefaults = defaulting({ idempotent });
    return (input: unknown, options?: RapCallOptions) =>
      client.undecided(target, input, withDefaults(options));
  }
  const caller = methodCaller(client, target, kind, extras.service?.method ?? { idempotent });
  return kind === 'duplex' ? opener(caller, method) : caller;
}

/** By its types, a handler that only reads looks like an upload, but what a `@ChannelPattern` returns is not sent. */
function opener(open: MethodCaller, method: string): MethodCaller {
  return (options: object | undefined, ...rest: never[]) => {
    if (isIterable(options)) {
      throw new RegisteredError(
        `${method} is a channel: open it and write the items, or make it a clientStream of a contract`,
      );
    }
    return open(options as never, ...rest);
  };
}

function rapTarget(client: ControllerCaller, pattern: unknown, group: string | undefined): string {
  try {
    return targetOf(pattern, (it) => client.normalize(it), group);
  } catch (error) {
    throw toRapError(error);
  }
}

/** `undefined` if only the answer says whether it streams: another decorator may have wrapped the method. */
function kindOf(
  prototype: Record<string, object>,
  name: string,
  { extras }: PatternMetadata,
): RapMethodKind | undefined {
  if (extras.service) return extras.service.method.kind;
  if (extras.kind === 'channel') return 'duplex';
  if (extras.kind !== undefined) return extras.kind === 'stream' ? 'serverStream' : 'unary';
  if (isGenerator(prototype[name] as object)) return 'serverStream';
  if (!Reflect.hasMetadata(RETURN_TYPE_METADATA, prototype, name)) return undefined;
  const returned: unknown = Reflect.getMetadata(RETURN_TYPE_METADATA, prototype, name);
  if (returned === Object || returned === Promise) return undefined;
  return isStreamClass(returned) ? 'serverStream' : 'unary';
}

function isStreamClass(type: unknown): boolean {
  if (type === Observable) return true;
  const { prototype } = (type ?? {}) as { prototype?: unknown };
  if (!isObject(prototype)) return false;
  return prototype instanceof Observable || Symbol.asyncIterator in prototype;
}

function refusal(message: string): MethodCaller {
  return () => {
    throw new RegisteredError(message);
  };
}
