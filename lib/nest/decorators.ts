import 'reflect-metadata';
import { MessagePattern } from '@nestjs/microservices';
import { RapChannel } from './rap-channel.js';
import type { RapPatternExtras } from './handler-registry.js';

/** Keys under which Nest's decorators file what they were told. Nest 11 does not export them. */
const PATTERN_METADATA = 'microservices:pattern';
const PARAM_TYPES_METADATA = 'design:paramtypes';
const PATTERN_EXTRAS_METADATA = 'microservices:pattern_extras';

/**
 * Handles a duplex channel: the payload is a `RapChannel`, and the channel ends when the method does. An error it
 * throws arrives at the other side.
 *
 *     @ChannelPattern('chat')
 *     async chat(@Payload() channel: RapChannel<string, string>) {
 *       for await (const line of channel) await channel.write(line.toUpperCase());
 *     }
 */
export function ChannelPattern(
  pattern: unknown,
  extras: Omit<RapPatternExtras, 'kind'> = {},
): MethodDecorator {
  const decorate = MessagePattern(pattern as string, { ...extras, kind: 'channel' });
  return (target, key, descriptor) => {
    hideChannelType(target, key);
    return decorate(target, key, descriptor as never) as never;
  };
}

/** A pipe that builds instances of the declared type, as Nest's `ValidationPipe` does, must leave a channel alone. */
function hideChannelType(target: object, key: string | symbol): void {
  const types = Reflect.getMetadata(PARAM_TYPES_METADATA, target, key) as unknown[] | undefined;
  if (!types) return;
  const hidden = types.map((type) => (type === RapChannel ? Object : type));
  Reflect.defineMetadata(PARAM_TYPES_METADATA, hidden, target, key);
}

/**
 * Sets the group of all patterns of a controller that name none: `@RapGroup('math')` makes `@MessagePattern('sum')` the
 * target `/math/sum`. Inherited handlers belong to the group as well, without a change to the class they come from.
 */
export function RapGroup(group: string): ClassDecorator {
  return ({ prototype, name }) => {
    for (const key of methodNames(prototype as object)) {
      const method = ownMethod(prototype as Record<string, unknown>, key);
      if (!Reflect.hasMetadata(PATTERN_METADATA, method)) continue;
      const extras = Reflect.getMetadata(PATTERN_EXTRAS_METADATA, method) as RapPatternExtras | undefined;
      const isClassGroup = extras?.group === undefined || extras.isClassGroup === true;
      const grouped = { ...extras, isClassGroup, handlerName: `${name}.${key}` };
      if (isClassGroup) grouped.group = group;
      Reflect.defineMetadata(PATTERN_EXTRAS_METADATA, grouped, method);
    }
  };
}

function methodNames(prototype: object): string[] {
  const names = new Set<string>();
  for (
    let it: object | null = prototype;
    it && it !== Object.prototype;
    it = Object.getPrototypeOf(it) as object | null
  ) {
    for (const [key, { value }] of Object.entries(Object.getOwnPropertyDescriptors(it))) {
      if (key !== 'constructor' && typeof value === 'function') names.add(key);
    }
  }
  return [...names];
}

/** The method of this class; an inherited one that handles a pattern gets a double with the same metadata. */
function ownMethod(prototype: Record<string, unknown>, key: string): object {
  const method = prototype[key] as (...args: unknown[]) => unknown;
  if (Object.hasOwn(prototype, key) || !Reflect.hasMetadata(PATTERN_METADATA, method)) return method;
  const double = {
    [key](this: unknown, ...args: unknown[]): unknown {
      return method.apply(this, args);
    },
  }[key] as object;
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
