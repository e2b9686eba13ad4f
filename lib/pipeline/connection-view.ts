import type { ConnectionHandle } from '../rpc/connection/connection-info.js';
import type { RapConnection } from './api.js';

const views = new WeakMap<ConnectionHandle, RapConnection>();

/** A connection as middleware and processors see it: always the same object. */
export function connectionView(connection: ConnectionHandle): RapConnection {
  let view = views.get(connection);
  if (!view) views.set(connection, (view = new ConnectionView(connection)));
  return view;
}

class ConnectionView implements RapConnection {
  readonly #connection: ConnectionHandle;
  #state: Map<unknown, unknown> | undefined;
  #closed: Promise<void> | undefined;

  constructor(connection: ConnectionHandle) {
    this.#connection = connection;
  }

  get id(): string {
    return this.#connection.id;
  }

  get peer(): RapConnection['peer'] {
    return this.#connection.remote;
  }

  get metadata(): Readonly<Record<string, unknown>> {
    return this.#connection.metadata;
  }

  get state(): Map<unknown, unknown> {
    this.#state ??= new Map();
    return this.#state;
  }

  get closed(): Promise<void> {
    this.#closed ??= new Promise((resolve) => this.#connection.whenClosed(resolve));
    return this.#closed;
  }

  close(reason = 'closed by the application'): void {
    this.#connection.close(reason);
  }
}
