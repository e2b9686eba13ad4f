import type { Deserializer, ReadPacket, Serializer, WritePacket } from '@nestjs/microservices';
import { hold } from '../../protocol/encoder.js';
import { heldValue } from '../../protocol/held-body.js';
import { DEFAULT_FRAME_LIMITS } from '../../protocol/limits.js';
import type { BodyCodec } from './call-dispatcher.js';

/** Runs bodies through Nest's serializer and deserializer where the user gave one; `undefined` costs nothing. */
export function nestCodec(
  serializer: Serializer | undefined,
  deserializer: Deserializer | undefined,
): BodyCodec | undefined {
  if (!serializer && !deserializer) return undefined;
  return {
    async decode({ pattern }, { id, body }) {
      if (!deserializer) return body;
      const packet = (await deserializer.deserialize({ id: String(id), pattern, data: body })) as {
        data: unknown;
      };
      return packet.data;
    },
    async encode(_route, { id }, response) {
      if (!serializer) return response;
      const copy = { id: String(id), response: copyOf(response), isDisposed: true };
      const packet = (await serializer.serialize(copy)) as {
        response: unknown;
      };
      return packet.response;
    },
  };
}

/** What a serializer gets: it may take its time, and what it was made of may change meanwhile. */
export function copyOf(body: unknown): unknown {
  return heldValue(hold(body, DEFAULT_FRAME_LIMITS, true));
}

/** The same for a client. */
export interface ClientCodec {
  encode(packet: ReadPacket): Promise<unknown>;
  /** `undefined` where answers stay as they are. */
  readonly decode: ((response: unknown) => Promise<unknown>) | undefined;
}

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
