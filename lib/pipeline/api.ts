import type { RemoteAddress } from '../protocol/link.js';

/** What a message belongs to. `event` is a call without an answer. */
export type MessageKind = 'call' | 'event' | 'channel';

/** A message on its way in or out, as middleware and processors see it. `header` and `body` may be replaced. */
export interface RapMessageView {
  readonly kind: MessageKind;
  /**
   * `DECLARE`, `MSG` or `DROP` for a message of a channel, of a stream, or of a call that is answered by a stream;
   * `undefined` for a call and its one answer. `END` and credits do not pass processors.
   */
  readonly lifeCycle: string | undefined;
  /** Correlation id on the connection. */
  readonly id: number;
  /** `/<group>/<name>` of the function, also if the frame itself does not carry it. */
  readonly target: string;
  readonly group: string;
  readonly name: string;
  /** Size on the wire of an incoming message, in bytes; 0 for an outgoing one. */
  readonly bytes: number;
  /** A copy. Changes to `target`, `status_code` and the life cycle are undone: they belong to the protocol. */
  header: Record<string, unknown>;
  body: unknown;
}

/** A message towards the handler. */
export interface RapRequest extends RapMessageView {}

/** The error of an answer. Every `RapError` has this form. */
export interface RapFault {
  /** Status on the wire. */
  readonly status: number;
  /** Stable code: `'ERR_RAP_...'`. */
  readonly code: string;
  readonly message: string;
  readonly details?: unknown;
}

/** A message towards the caller. */
export interface RapResponse extends RapMessageView {
  /** Set if the answer is an error. It may be replaced; if it is removed, `body` is the answer. */
  error?: RapFault | undefined;
}

/** A connection as middleware and processors see it. */
export interface RapConnection {
  /** Unique name, assigned by the server; on a client empty until DECLARE is answered. */
  readonly id: string;
  /** Address of the other side. */
  readonly peer: RemoteAddress;
  /** Metadata of the client; `{}` before DECLARE. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** For the application; discarded with the connection. */
  readonly state: Map<unknown, unknown>;
  /** Resolves when the connection is closed, for whatever reason. */
  readonly closed: Promise<void>;
  /** Closes the connection: a client gets CLOSE with the reason, and is disconnected within 100 ms. */
  close(reason?: string): void;
}

/** The context of one call or channel: the same object for all its messages. */
export interface ProcessorContext {
  readonly side: 'client' | 'server';
  readonly kind: MessageKind;
  readonly target: string;
  /** Correlation id on the connection. */
  readonly id: number;
  readonly peer: RemoteAddress;
  /** Metadata of the connection. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly connection: RapConnection;
  /** For the processors; discarded with the call or channel. */
  readonly state: Map<unknown, unknown>;
}

/**
 * Processes each message of a connection, on a server or a client. A plain object with the same methods works too.
 * Every method is optional and may return a promise; a message waits for it, and those of one channel keep their order.
 *
 * Requests pass the processors in the order in which they were loaded, responses in reverse. A throw becomes the error
 * of the call, or ends the channel.
 */
export abstract class RapProcessor {
  /** A message towards the handler. Change it in place, or return another. */
  processRequest?(
    request: RapRequest,
    context: ProcessorContext,
  ): void | RapRequest | Promise<void | RapRequest>;
  /** A message towards the caller. Change it in place, or return another. */
  processResponse?(
    response: RapResponse,
    context: ProcessorContext,
  ): void | RapResponse | Promise<void | RapResponse>;
  /** A call or channel begins, before its first message. */
  onContextEnter?(context: ProcessorContext): void | Promise<void>;
  /** A call or channel has ended, also by cancel, timeout or connection loss; once for each `onContextEnter`, with its error. */
  onContextExit?(context: ProcessorContext, error?: unknown): void | Promise<void>;
  /** Before the server listens. A throw aborts its start. */
  onServerStart?(server: object): unknown;
  /** When the server has stopped. */
  onServerStop?(server: object): unknown;
  /** Before the client connects for the first time. A throw fails the connection. */
  onClientStart?(client: object): unknown;
  /** When the client was closed. */
  onClientStop?(client: object): unknown;
}

/**
 * Accepts or refuses a connection of a server before anything is read from it. `next()` serves it and resolves when it is
 * closed; returning without calling it, or throwing, closes the connection.
 */
export abstract class ConnectionMiddleware {
  readonly scope = 'connection' as const;
  abstract use(connection: RapConnection, next: () => Promise<void>): void | Promise<void>;
  onServerStart?(server: object): unknown;
  onServerStop?(server: object): unknown;
}

/**
 * Wraps the handler of a call, event or stream of a server, not of a channel. `next()` runs the rest and resolves with its
 * result, or rejects with its error; what `use` returns is the answer. `next()` may be called once.
 */
export abstract class MessageMiddleware {
  readonly scope = 'message' as const;
  abstract use(request: RapRequest, next: () => Promise<unknown>, context: ProcessorContext): unknown;
  onServerStart?(server: object): unknown;
  onServerStop?(server: object): unknown;
}

export type RapMiddleware = ConnectionMiddleware | MessageMiddleware;
