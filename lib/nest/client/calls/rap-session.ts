import { randomUUID } from 'node:crypto';
import { type Keys, unknownOption } from '../../validation/known-options.js';
import type { BalancedCalls, PinnedLease } from '../../../cluster/peer-source.js';
import type { ClientPeer } from '../../../rpc/client/client-peer.js';
import { connectionLost } from '../../../rpc/connection/connection-lost.js';
import type { HeaderListener } from '../../streams/peer-header.js';
import type { RapChannel } from '../../streams/rap-channel.js';
import { toRapError } from '../../errors/to-rap-error.js';
import type { RapIterable } from '../../streams/rap-stream.js';

/** The last argument of a call. */
export interface RapCallOptions {
  /** More headers of the call. Keys of the protocol are left out, so that `ctx.header` can be passed on. */
  header?: Readonly<Record<string, unknown>> | undefined;
  /** Time for this call in milliseconds. Default: the client's `callTimeoutMs`. */
  timeoutMs?: number | undefined;
  /** Moment at which the call times out, as `Date.now()` counts; the earlier of it and `timeoutMs` applies. */
  deadline?: number | Date | undefined;
  /** Cancels the call: it rejects with `CallCancelledError`. */
  signal?: AbortSignal | undefined;
  /** The session that the call belongs to, for calls without `session.call` or `withSession`. */
  session?: RapSession | undefined;
  /**
   * Repeating the call does no harm: after a failure it may go to another server, at most `retry.maxAttempts` times, also if
   * the first may have run it. Without it, a call is repeated only if no handler has begun. For clients of several servers.
   */
  idempotent?: boolean | undefined;
  /** Inside a handler, a call inherits the time that the handler has left, and its cancellation; with true, neither. */
  detached?: boolean | undefined;
  /**
   * Gets the header that the server has set (`ctx.setHeader`), without keys of the protocol. Of a call: once, before its promise
   * settles, also if the answer is an error; not if there is no answer. Of a stream or channel: for each item or message that has
   * one, before it is handed over, and for the end. If it throws, the call rejects with that; a stream or channel ends.
   */
  onHeader?: HeaderListener | undefined;
}

/** The options of a call that may be repeated, and that has no others. */
export const IDEMPOTENT: RapCallOptions = Object.freeze({ idempotent: true });

/** The last argument of what opens a channel. */
export type ChannelOptions = RapCallOptions & { metadata?: unknown };

/** Without a prototype: `constructor` is not an option. */
const CALL_OPTIONS: Readonly<Record<string, unknown>> = Object.assign(
  Object.create(null) as Record<string, unknown>,
  {
    header: true,
    timeoutMs: true,
    deadline: true,
    signal: true,
    session: true,
    idempotent: true,
    detached: true,
    onHeader: true,
    metadata: true,
  } satisfies Keys<ChannelOptions>,
);

/**
 * Not called for a call without options; for the others it reads the keys without an allocation.
 *
 * @throws RangeError that names the key which is not an option, and the nearest option; for an `onHeader` that is no function
 */
export function assertCallOptions(options: RapCallOptions): void {
  for (const name in options)
    if (!(name in CALL_OPTIONS)) throw unknownOption('options of a call', name, CALL_OPTIONS);
  const { onHeader } = options;
  if (onHeader !== undefined && typeof onHeader !== 'function')
    throw new RangeError('onHeader must be a function');
}

/** What a session needs of its client. */
export interface SessionClient {
  call<T>(pattern: unknown, data?: unknown, options?: RapCallOptions): Promise<T>;
  stream<T>(pattern: unknown, data?: unknown, options?: RapCallOptions): RapIterable<T>;
  channel<In, Out>(pattern: unknown, options?: ChannelOptions): Promise<RapChannel<In, Out>>;
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
    private readonly lease: PinnedLease,
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
    options?: ChannelOptions,
  ): Promise<RapChannel<In, Out>> {
    return this.client.channel<In, Out>(pattern, { ...options, session: this });
  }

  /** A value if the function answers with one, an async iterable if it answers with a stream. */
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
    this.lease.peer.closeSession(this.id);
    this.lease.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /** @internal Whether this is a session of that client. */
  belongsTo(client: SessionClient): boolean {
    return this.client === client;
  }

  /** @internal What its calls go through, if the client has several servers. */
  get balanced(): BalancedCalls | undefined {
    return this.lease.balanced;
  }

  /** @internal The peer at the other end of the session's connection. @throws ConnectionLostError if the session is gone */
  openPeer(): ClientPeer {
    if (this.#closed) throw toRapError(connectionLost('the session is closed', undefined, 'no'));
    const { peer } = this.lease;
    if (peer.state !== 'open') {
      throw toRapError(
        connectionLost('the session is gone: its connection was lost or is shutting down', undefined, 'no'),
      );
    }
    return peer;
  }
}
