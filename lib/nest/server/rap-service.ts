import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import type { RapPatternExtras } from '../handlers/handler.js';
import {
  hideChannelType,
  ownMethod,
  ownMethodNames,
  patternMetadata,
  setExtras,
} from '../handlers/method-metadata.js';
import { RAP_TRANSPORT } from '../handlers/transport.js';
import {
  type AnyRapMethod,
  assertContract,
  LIFECYCLE_HOOKS,
  type RapServiceDefinition,
} from '../contract/contract.js';
import { InputGuard } from './input-guard.js';
import { ServiceBinding, ServiceMethod } from '../contract/service-binding.js';

/** How a class implements a service. */
export interface RapServiceOptions {
  /** Public methods that are not in the contract. Names that begin with `_` are always allowed. */
  allow?: readonly string[] | undefined;
}

/** Metadata keys of Nest's decorators. */
const CONTROLLER_METADATA = '__controller__';
const GUARDS_METADATA = '__guards__';
const HTTP_METHOD_METADATA = 'method';
const PARAMETERS_METADATA = '__routeArguments__';

/** The service of each class, without those of its base classes. */
const bindings = new WeakMap<object, ServiceBinding>();

/**
 * Makes a class the controller of a service: every method of the contract is registered under its name, for rap alone.
 * Methods that are missing, and public methods of the class that are not in the contract, fail the start of the server.
 *
 *     @RapService(MathService)
 *     export class MathController implements RapHandlers<typeof MathService> {
 *       sum({ a, b }: SumParams): number { return a + b; }
 *     }
 *
 * Beside `@Controller({ ... })`, write it above.
 *
 * @throws {@link RegisteredError} if `service` is not a contract
 */
export function RapService(service: RapServiceDefinition, options: RapServiceOptions = {}): ClassDecorator {
  return (target) => {
    assertContract(`@RapService of ${target.name}`, service);
    const prototype = target.prototype as object;
    const before = bindings.get(target);
    const binding = before ?? new ServiceBinding(service, target.name);
    if (before) {
      binding.problems.push(`${binding.name}: it cannot be service "${service.group}" as well`);
      return;
    }
    bindings.set(target, binding);
    for (const name of extraMethods(prototype, service, options)) {
      binding.problems.push(
        `${binding.name}: the method "${name}" is not in the contract; begin its name with "_" or "#", or allow it`,
      );
    }
    for (const [name, method] of Object.entries(service.methods)) {
      const takesData = !isChannel(method) && takesParameters(lookUp(prototype, name));
      register(prototype, new ServiceMethod(binding, name, method, takesData));
    }
    if (!Reflect.hasMetadata(CONTROLLER_METADATA, target)) Controller()(target);
  };
}

function extraMethods(
  prototype: object,
  { methods }: RapServiceDefinition,
  { allow = [] }: RapServiceOptions,
): string[] {
  return ownMethodNames(prototype).filter(
    (name) =>
      !Object.hasOwn(methods, name) &&
      !name.startsWith('_') &&
      !LIFECYCLE_HOOKS.has(name) &&
      !allow.includes(name) &&
      !handlesHttp((prototype as Record<string, object>)[name] as object),
  );
}

/** `@Get`, `@Post` and the like: the method is not for rap. */
function handlesHttp(method: object): boolean {
  return Reflect.hasMetadata(HTTP_METHOD_METADATA, method);
}

function register(prototype: object, service: ServiceMethod): void {
  const { binding, name, method, targets } = service;
  standInWhereMissing(prototype, service);
  const isOwn = Object.hasOwn(prototype, name);
  const { length } = lookUp(prototype, name) as { length: number };
  const handler = ownMethod(prototype, name);
  const known = patternMetadata(handler);
  if (known && isOwn) {
    binding.problems.push(
      `${binding.name}: the method "${name}" has a pattern of its own; name aliases in the contract`,
    );
  }
  // extras of an inherited method that belong to another pattern or contract are removed
  if (known) setExtras(handler, Object.fromEntries(Object.entries(known.extras).filter(isForeign)));
  const guards = (Reflect.getMetadata(GUARDS_METADATA, handler) ?? []) as unknown[];
  const own = guards.filter((guard) => !(guard instanceof InputGuard));
  if (method.input && !isChannel(method)) own.push(new InputGuard(method.input));
  if (own.length > 0 || guards.length > 0) Reflect.defineMetadata(GUARDS_METADATA, own, handler);
  if (isChannel(method)) hideChannelType(prototype, name);
  decorateParameters(prototype, name, length);
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name) as TypedPropertyDescriptor<unknown>;
  MessagePattern([...targets] as never, RAP_TRANSPORT, extrasOf(service))(
    prototype,
    name,
    descriptor as never,
  );
}

/**
 * Decorates the parameters of a handler that have no decorators: beside decorated ones, Nest would pass nothing to them.
 * Without any decorator Nest passes the data alone, which is faster.
 */
function decorateParameters(prototype: object, name: string, length: number): void {
  const decorated = Reflect.getMetadata(PARAMETERS_METADATA, prototype.constructor, name) as
    Record<string, { readonly index: number }> | undefined;
  if (!decorated && length <= 1) return;
  const indices = new Set(Object.values(decorated ?? {}).map(({ index }) => index));
  if (!indices.has(0)) Payload()(prototype, name, 0);
  if (!indices.has(1) && length > 1) Ctx()(prototype, name, 1);
}

/** Whether a method takes parameters, including those with a default, which `length` does not count. */
function takesParameters(method: unknown): boolean {
  if (typeof method !== 'function') return false;
  return method.length > 0 || !/^[^(]*\(\s*\)/.test(Function.prototype.toString.call(method));
}

/** Nest binds only methods with a pattern: a missing method gets a stand-in, so that the start can report it. */
function standInWhereMissing(prototype: object, { binding, name }: ServiceMethod): void {
  if (typeof lookUp(prototype, name) === 'function') return;
  const problem = `${binding.name}: the method "${name}" is missing`;
  binding.problems.push(problem);
  const standIn = (): never => {
    throw new Error(problem);
  };
  Object.defineProperty(prototype, name, { value: standIn, writable: true, configurable: true });
}

/** What an instance has under a name, without calling an accessor. The methods of `Object` are not handlers. */
function lookUp(prototype: object, name: string): unknown {
  for (
    let it: object | null = prototype;
    it && it !== Object.prototype;
    it = Object.getPrototypeOf(it) as object | null
  ) {
    const descriptor = Object.getOwnPropertyDescriptor(it, name);
    if (descriptor) return descriptor.value;
  }
  return undefined;
}

/** Extras that the contract sets. */
const OWN_EXTRAS: ReadonlySet<string> = new Set<keyof RapPatternExtras>([
  'group',
  'private',
  'timeoutMs',
  'kind',
  'idempotent',
  'doc',
  'input',
  'output',
  'service',
  'handlerName',
  'isClassGroup',
]);

function isForeign([key]: [string, unknown]): boolean {
  return !OWN_EXTRAS.has(key);
}

export function isChannel({ kind }: AnyRapMethod): boolean {
  return kind === 'clientStream' || kind === 'duplex';
}

function extrasOf(service: ServiceMethod): RapPatternExtras {
  const { binding, name, method } = service;
  const extras: RapPatternExtras = { service, handlerName: `${binding.className}.${name}` };
  if (isChannel(method)) extras.kind = 'channel';
  else extras.kind = method.kind === 'serverStream' ? 'stream' : 'unary';
  if (method.timeoutMs !== undefined) extras.timeoutMs = method.timeoutMs;
  if (method.private) extras.private = true;
  if (method.idempotent) extras.idempotent = true;
  if (method.doc !== undefined) extras.doc = method.doc;
  return extras;
}
