import type { Deserializer, Serializer } from '@nestjs/microservices';
import { copyOfBody } from '../../protocol/body-copy.js';
import type { IncomingCall } from '../../rpc/server/incoming-call.js';
import { handlerFault } from '../errors/handler-fault.js';
import type { Route } from '../handlers/handler.js';
import type { RapContext } from '../handlers/rap-context.js';
import type { CallFailures } from './call-failures.js';

/** How bodies come from the wire to handlers, and results go to the wire. */
export interface BodyCodec {
  /** Calls the handler. */
  handle(route: Route, body: unknown, context: RapContext): unknown;
  /** Answers a call with the result of its handler. */
  reply(call: IncomingCall, result: unknown): void | Promise<void>;
}

/** Bodies go through as they are. */
export const PLAIN: BodyCodec = {
  handle: (route, body, context): unknown => route.handler(body, context),
  reply: (call, result) => call.reply(result),
};

/** Bodies go through Nest's serializer and deserializer, which may be asynchronous. */
export class NestCodec implements BodyCodec {
  constructor(
    private readonly serializer: Serializer | undefined,
    private readonly deserializer: Deserializer | undefined,
    private readonly failures: CallFailures,
  ) {}

  async handle(route: Route, body: unknown, context: RapContext): Promise<unknown> {
    return route.handler(await this.#decode(route, body, context), context);
  }

  async reply(call: IncomingCall, result: unknown): Promise<void> {
    let encoded: unknown;
    try {
      encoded = await this.#encode(call, result);
    } catch (error) {
      const { fault, name } = handlerFault(this.failures.masked(error));
      call.fail(fault, name);
      return;
    }
    call.reply(encoded);
  }

  async #decode({ pattern }: Route, body: unknown, { correlationId }: RapContext): Promise<unknown> {
    if (!this.deserializer) return body;
    const packet = { id: String(correlationId), pattern, data: body };
    const read: unknown = await this.deserializer.deserialize(packet);
    return (read as { readonly data: unknown }).data;
  }

  async #encode({ id }: IncomingCall, result: unknown): Promise<unknown> {
    if (!this.serializer) return result;
    // the serializer may take its time, and the result may change meanwhile
    const packet = { id: String(id), response: copyOfBody(result), isDisposed: true };
    const written: unknown = await this.serializer.serialize(packet);
    return (written as { readonly response: unknown }).response;
  }
}
