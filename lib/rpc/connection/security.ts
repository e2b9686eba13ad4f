import type { Fault } from '../../protocol/fault.js';
import type { FrameSeal } from '../../protocol/frame-seal.js';
import type { Link } from '../../protocol/link.js';

/** The property under which a processor provides {@link ConnectionSecurity}. Internal: may change at any time. */
export const SECURITY = Symbol.for('nestjs-rap.security');

/** Takes part in DECLARE and secures the frames after it, with one handshake for each connection. Internal, too. */
export interface ConnectionSecurity {
  /** Bodies are JSON, which cannot carry the extension `values`. */
  readonly isJson?: boolean;
  /** The side that it is for. */
  readonly side: 'client' | 'server';
  /** Logged once, on first use. */
  readonly warning?: string | undefined;
  client(link: Link, hooks: SecurityHooks): ClientHandshake;
  server(link: Link, hooks: SecurityHooks): ServerHandshake;
}

/** What a handshake may do to its connection. */
export interface SecurityHooks {
  /** The keys are used up: drains the connection. May be called at any time. */
  readonly retire: () => void;
}

/** The client's half. */
export interface ClientHandshake {
  /** The link for calls; it may transform bodies. */
  readonly link: Link;
  /** Additional fields of DECLARE. */
  declare(): Readonly<Record<string, unknown>>;
  /**
   * Reads the server's answer. Returns the seal for the frames that follow, if they are sealed.
   *
   * @throws {@link Fault} if the server has not proven its key.
   */
  answered(answer: Readonly<Record<string, unknown>>, sent: Buffer, received: Buffer): FrameSeal | undefined;
  /** A frame of the server cannot be opened. Returns why the connection ends. */
  failed(fault: Fault): Fault;
}

/** The server's half. */
export interface ServerHandshake {
  readonly link: Link;
  /** Whether a refused DECLARE is answered with an error; otherwise the connection just ends. */
  readonly explains: boolean;
  /**
   * Reads DECLARE. `undefined`: the connection stays unsecured, which is allowed.
   *
   * @throws {@link Fault} if the client is refused.
   */
  accept(declared: Readonly<Record<string, unknown>>, received: Buffer): AcceptedDeclare | undefined;
  /** The client's first sealed frame was opened. */
  proven(): void;
  /** A frame of the client cannot be opened. Returns why the connection ends, for the server's log. */
  failed(fault: Fault): Fault;
}

export interface AcceptedDeclare {
  /** Additional fields of the answer. */
  readonly answer: Readonly<Record<string, unknown>>;
  /** The seal for the frames after the answer; the client's first frame must then prove its key. */
  seal?(sent: Buffer): FrameSeal;
}
