import type { RemoteAddress } from '../protocol/link.js';

/** What a message belongs to. `event` is a call without an answer. */
export type MessageKind = 'call' | 'event' | 'channel';

/** A message on its way in or out, as middleware and processors see it. `header` and `body` may be replaced. */
export interface RapMessageView {
  readonly kind: MessageKind;
  /**
   * `DECLARE`, `MSG` or `DROP` for a message of a channel, of a stream, or of a call that is answered by a stream;
   * `undefined` for a call and its one answer. `END` and credits are the transport's own, and pass by.
   */
  readonly lifeCycle: string | undefined;
  /** Correlation id on the connection. */
  readonly id: number;
  /** `/<group>/<name>` of the function, also where the frame itself does not carry it. */
  readonly target: string;
  readonly group: string;
  readonly name: string;
  /** Size on the wire of a message that came in, in bytes; 0 for one that goes out. */
  readonly bytes: number;
  /** An own copy. `target`, `status_code` and the life cycle in it are the protocol's: changes to them are undone. */
  header: Record<string, unknown>;
  body: unknown;
}

/** A message towards the handler. */
export interface RapRequest extends RapMessageView {}

/** What an answer says that is an error. Every `RapError` has this form. */
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
  /** Set where the answer is an error, which may be replaced; taken away, `body` is the answer. */
  error?: RapFault | undefined;
}

/** A connection as middleware and processors see it. */
export interface RapConnection {
  /** Unique name, which the server gives; on a client empty before DECLARE is answered. */
  readonly id: string;
  /** Who is at the other end. */
  readonly peer: RemoteAddress;
  /** What the client said about itself; `{}` before DECLARE. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** The application's own, for as long as the connection lives. */
  readonly state: Map<unknown, unknown>;
  /** Resolves when the connection is gone, however it went. */
  readonly closed: Promise<void>;
  /** Ends the connection: a client is told CLOSE and the reason, and is gone within 100 ms. */
  close(reason?: string): void;
}

/** What all messages of one call or channel share: the same object for each of them. */
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
  /** The processors' own, gone with the call or channel. */
  readonly state: Map<unknown, unknown>;
}

/**
 * Works on each message of a connection, on a server or on a client. A plain object with the same methods works too.
 * Every method is optional and may return a promise; a message waits for it, and those of one channel keep their order.
 *
 * Requests pass the processors in the order in which they were loaded, responses in reverse. A throw becomes the error
 * of the call, or ends the channel.
 */
export abstract class RapProcessor {
  /** A message towards the handler. Changes it in place, or returns another. */
  processRequest?(
    request: RapRequest,
    context: ProcessorContext,
  ): void | RapRequest | Promise<void | RapRequest>;
  /** A message towards the caller. Changes it in place, or returns another. */
  processResponse?(
    response: RapResponse,
    context: ProcessorContext,
  ): void | RapResponse | Promise<void | RapResponse>;
  /** A call or channel begins, before its first message. */
  onContextEnter?(context: ProcessorContext): void | Promise<void>;
  /** It is over; called once for each that was entered, with what it failed with: also on cancel, timeout and loss. */
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
 * Decides on a connection of a server before anything is read from it. `next()` lets it be served and resolves when it is
 * gone; returning without it, or throwing, closes the connection.
 */
export abstract class ConnectionMiddleware {
  readonly scope = 'connection' as const;
  abstract use(connection: RapConnection, next: () => Promise<void>): void | Promise<void>;
  onServerStart?(server: object): unknown;
  onServerStop?(server: object): unknown;
}

/**
 * Works around the handler of a call, event or stream of a server, not of a channel. `next()` runs the rest and resolves with its result, or
 * rejects with its error; what `use` returns is the answer. `next()` may be called once.
 */
export abstract class MessageMiddleware {
  readonly scope = 'message' as const;
  abstract use(request: RapRequest, next: () => Promise<unknown>, context: ProcessorContext): unknown;
  onServerStart?(server: object): unknown;
  onServerStop?(server: object): unknown;
}

export type RapMiddleware = ConnectionMiddleware | MessageMiddleware;
