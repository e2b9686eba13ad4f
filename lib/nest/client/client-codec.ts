import type { Deserializer, ReadPacket, Serializer, WritePacket } from '@nestjs/microservices';

/** Nest's serializer and deserializer of a client. */
export interface ClientCodec {
  encode(packet: ReadPacket): Promise<unknown>;
  /** `undefined` if answers stay as they are. */
  readonly decode: ((response: unknown) => Promise<unknown>) | undefined;
}

/** `undefined` if the user has set neither. */
export function clientCodec(
  serializer: Serializer | undefined,
  deserializer: Deserializer | undefined,
): ClientCodec | undefined {
  if (!serializer && !deserializer) return undefined;
  return {
    async encode(packet) {
      if (!serializer) return packet.data;
      const serialized = (await serializer.serialize(packet)) as ReadPacket;
      return serialized.data;
    },
    decode:
      deserializer &&
      (async (response) => {
        const packet = (await deserializer.deserialize({ response, isDisposed: true })) as WritePacket;
        return packet.response as unknown;
      }),
  };
}
