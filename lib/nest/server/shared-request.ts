import type { MessageHandler } from '@nestjs/microservices';

const requests = new WeakMap<object, SharedRequest>();

/**
 * The request context of a message, which its handlers share: request-scoped providers are made once for all of them.
 * Nest makes it in the first handler that needs one, and passes it to the `next` of that handler, as in its own chains.
 */
export class SharedRequest {
  #host: object | undefined;
  #onHandedOn: (() => void) | undefined;
  #isHandedOn = false;

  /** The next handler is called with this context. */
  join(context: object): void {
    this.#isHandedOn = false;
    requests.set(context, this);
  }

  /** Resolves when the next handler may begin: the last one has passed on what it made, or has ended without. */
  async handedOn(ended: Promise<unknown>): Promise<void> {
    if (this.#isHandedOn) return;
    const handedOn = new Promise<void>((resolve) => (this.#onHandedOn = resolve));
    await Promise.race([handedOn, ended]);
  }

  /** Makes a handler of Nest share the request context, if the event has several handlers. */
  static shareIn(handler: MessageHandler): MessageHandler {
    // a handler that was added by hand and names its parameters takes data and context, and makes no request context
    const isNests = handler.length === 0;
    return (data: unknown, context: object) => {
      const shared = requests.get(context);
      if (!shared) return handler(data, context);
      if (!isNests) {
        shared.handOn(undefined);
        return handler(data, context);
      }
      handler.next ??= handOn;
      const host = shared.#host;
      return host ? (handler as Rest)(host, data, context) : handler(data, context);
    };
  }

  /** @internal */
  handOn(host: object | undefined): void {
    this.#host ??= host;
    this.#isHandedOn = true;
    this.#onHandedOn?.();
  }
}

type Rest = (...args: unknown[]) => ReturnType<MessageHandler>;

/** Nest calls this with the arguments of a handler, after its request context if it has made one. */
const handOn: Rest = (...args) => {
  const context = args.at(-1) as object;
  requests.get(context)?.handOn(args.length > 2 ? (args[0] as object) : undefined);
  return Promise.resolve(undefined) as never;
};
