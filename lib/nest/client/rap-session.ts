import { randomUUID } from 'node:crypto';
import type { Peer } from '../../rpc/connection/peer.js';
import { connectionLost } from '../../rpc/connection/connection-lost.js';
import type { RapCallOptions } from './client-options.js';
import type { RapChannel } from '../streams/rap-channel.js';
import { toRapError } from '../errors/to-rap-error.js';
import type { RapIterable } from '../streams/rap-stream.js';

/** What a session asks of its client. */
export interface SessionClient {
  call<T>(pattern: unknown, data?: unknown, options?: RapCallOptions): Promise<T>;
  stream<T>(pattern: unknown, data?: unknown, options?: RapCallOptions): RapIterable<T>;
  channel<In, Out>(
    pattern: unknown,
    options?: RapCallOptions & { metadata?: unknown },
  ): Promise<RapChannel<In, Out>>;
  /** @internal */
  executeIn<T>(
    session: RapSession,
    pattern: unknown,
    data: unknown,
    options?: RapCallOptions,
  ): Promise<T | RapIterable<T>>;
}

/**
 * Calls that belong together: all go over one connection and carry the session's id, and the server keeps one
 * `ctx.session` for them. Lost with its connection; it is never moved to another.
 */
export class RapSession {
  /** Id of the session, in the header of all its calls. */
  readonly id = randomUUID();
  #closed = false;

  /** @internal */
  constructor(
    private readonly client: SessionClient,
    private readonly peer: Peer,
  ) {}

  /** As the client's `call`. */
  call<T = unknown>(pattern: unknown, data?: unknown, options?: RapCallOptions): Promise<T> {
    return this.client.call<T>(pattern, data, { ...options, session: this });
  }

  /** As the client's `stream`. */
  stream<T = unknown>(pattern: unknown, data?: unknown, options?: RapCallOptions): RapIterable<T> {
    return this.client.stream<T>(pattern, data, { ...options, session: this });
  }

  /** As the client's `channel`. */
  channel<In = unknown, Out = unknown>(
    pattern: unknown,
    options?: RapCallOptions & { metadata?: unknown },
  ): Promise<RapChannel<In, Out>> {
    return this.client.channel<In, Out>(pattern, { ...options, session: this });
  }

  /** A value where the function answers with one, an async iterable where it answers with a stream. */
  execute<T = unknown>(
    pattern: unknown,
    data?: unknown,
    options?: RapCallOptions,
  ): Promise<T | RapIterable<T>> {
    return this.client.executeIn<T>(this, pattern, data, options);
  }

  /** Ends the session: the server forgets its state. May be called twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.peer.closeSession(this.id);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /** @internal Whether this is a session of that client. */
  belongsTo(client: SessionClient): boolean {
    return this.client === client;
  }

  /** @internal The connection that the session lives on. @throws ConnectionLostError where the session is gone */
  connection(): Peer {
    if (this.#closed) throw toRapError(connectionLost('the session is closed', undefined, 'no'));
    if (this.peer.state !== 'open') {
      throw toRapError(
        connectionLost('the session is gone: its connection was lost or is shutting down', undefined, 'no'),
      );
    }
    return this.peer;
  }
}
