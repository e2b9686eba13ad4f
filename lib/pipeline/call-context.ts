import type { AnyIncoming } from '../rpc/server/any-incoming.js';
import type { ConnectionHandle } from '../rpc/connection/connection-info.js';
import type { MessageKind, ProcessorContext, RapConnection } from './api.js';
import { connectionView } from './connection-view.js';

/** The context of one call or channel; its parts are created on first use. */
export class CallContext implements ProcessorContext {
  /** @internal The incoming call, for a plugin that must know when it is cancelled. */
  incoming: AnyIncoming | undefined;
  readonly #connection: ConnectionHandle;
  #state: Map<unknown, unknown> | undefined;

  constructor(
    connection: ConnectionHandle,
    readonly kind: MessageKind,
    readonly target: string,
    readonly id: number,
  ) {
    this.#connection = connection;
  }

  get side(): 'client' | 'server' {
    return this.#connection.role;
  }

  get peer(): RapConnection['peer'] {
    return this.#connection.remote;
  }

  get metadata(): Readonly<Record<string, unknown>> {
    return this.#connection.metadata;
  }

  get connection(): RapConnection {
    return connectionView(this.#connection);
  }

  get state(): Map<unknown, unknown> {
    this.#state ??= new Map();
    return this.#state;
  }
}
