import { MessagePattern } from '@nestjs/microservices';
import type { RapPatternExtras } from './handler.js';
import {
  hideChannelType,
  isGenerator,
  methodNames,
  ownMethod,
  patternMetadata,
  setExtras,
} from './method-metadata.js';

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

/**
 * Sets the group of all patterns of a controller that name none: `@RapGroup('math')` makes `@MessagePattern('sum')` the
 * target `/math/sum`. Inherited handlers belong to the group as well, without a change to the class they come from.
 */
export function RapGroup(group: string): ClassDecorator {
  return ({ prototype, name }) => {
    for (const key of methodNames(prototype as object)) {
      const method = (prototype as Record<string, object>)[key] as object;
      const pattern = patternMetadata(method);
      if (!pattern) continue;
      const { extras } = pattern;
      const isClassGroup = extras.group === undefined || extras.isClassGroup === true;
      const grouped: typeof extras = { ...extras, isClassGroup, handlerName: `${name}.${key}` };
      if (isClassGroup) grouped.group = group;
      if (isGenerator(method)) grouped.kind ??= 'stream';
      setExtras(ownMethod(prototype as object, key), grouped);
    }
  };
}
