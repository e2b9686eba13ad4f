import 'reflect-metadata';
import { RapChannel } from '../streams/rap-channel.js';
import type { RapPatternExtras } from './handler.js';

/** Keys under which Nest's decorators file what they were told. Nest 11 does not export them. */
const PATTERN_METADATA = 'microservices:pattern';
const PATTERN_HANDLER_METADATA = 'microservices:handler_type';
const PATTERN_EXTRAS_METADATA = 'microservices:pattern_extras';
const PARAM_TYPES_METADATA = 'design:paramtypes';
/** Nest's `PatternHandler.EVENT`. */
const EVENT = 2;

type Method = (...args: unknown[]) => unknown;

/** What a method that handles a pattern was decorated with. */
export interface PatternMetadata {
  readonly patterns: readonly unknown[];
  readonly isEvent: boolean;
  readonly extras: RapPatternExtras & Record<string, unknown>;
}

/** `undefined` where the method handles no pattern. */
export function patternMetadata(method: object): PatternMetadata | undefined {
  const patterns = Reflect.getMetadata(PATTERN_METADATA, method) as unknown[] | undefined;
  if (!patterns) return undefined;
  return {
    patterns,
    isEvent: Reflect.getMetadata(PATTERN_HANDLER_METADATA, method) === EVENT,
    extras: (Reflect.getMetadata(PATTERN_EXTRAS_METADATA, method) ?? {}) as PatternMetadata['extras'],
  };
}

export function setExtras(method: object, extras: object): void {
  Reflect.defineMetadata(PATTERN_EXTRAS_METADATA, extras, method);
}

/** Names of all methods that an instance has, inherited ones included. */
export function methodNames(prototype: object): string[] {
  const names = new Set<string>();
  for (
    let it: object | null = prototype;
    it && it !== Object.prototype;
    it = Object.getPrototypeOf(it) as object | null
  ) {
    for (const name of ownMethodNames(it)) names.add(name);
  }
  return [...names];
}

/** Names of the methods that a class itself has. Accessors are not called. */
export function ownMethodNames(prototype: object): string[] {
  return Object.entries(Object.getOwnPropertyDescriptors(prototype))
    .filter(([key, { value }]) => key !== 'constructor' && typeof value === 'function')
    .map(([key]) => key);
}

/** The method of this class; for an inherited one a double with the same metadata, so that the base class stays as it is. */
export function ownMethod(prototype: object, key: string): Method {
  const method = (prototype as Record<string, Method>)[key] as Method;
  if (Object.hasOwn(prototype, key)) return method;
  const double = {
    [key](this: unknown, ...args: unknown[]): unknown {
      return method.apply(this, args);
    },
  }[key] as Method;
  copyMetadata(method, double);
  Object.defineProperty(prototype, key, { value: double, writable: true, configurable: true });
  return double;
}

/** Gives a method that stands in for another one what Nest's decorators filed on that. */
export function copyMetadata(from: object, to: object): void {
  for (const key of Reflect.getMetadataKeys(from) as unknown[]) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, from), to);
  }
}

/** The types of a method's parameters; `undefined` if TypeScript has kept none. */
export function parameterTypes(target: object, key: string | symbol): unknown[] | undefined {
  return Reflect.getMetadata(PARAM_TYPES_METADATA, target, key) as unknown[] | undefined;
}

/** A pipe that builds instances of the declared type, as Nest's `ValidationPipe` does, must leave a channel alone. */
export function hideChannelType(target: object, key: string | symbol): void {
  const types = parameterTypes(target, key);
  if (!types) return;
  const hidden = types.map((type) => (type === RapChannel ? Object : type));
  Reflect.defineMetadata(PARAM_TYPES_METADATA, hidden, target, key);
}

/** Whether a call of the method gives a generator, whatever it is called with. */
export function isGenerator(method: object): boolean {
  return GENERATORS.has(Object.getPrototypeOf(method) as object);
}

const GENERATORS: ReadonlySet<object> = new Set([
  Object.getPrototypeOf(function* () {}) as object,
  Object.getPrototypeOf(async function* () {}) as object,
]);
