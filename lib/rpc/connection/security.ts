import type { Fault } from '../../protocol/fault.js';
import type { FrameSeal } from '../../protocol/frame-seal.js';
import type { Link } from '../../protocol/link.js';

/** The key under which a processor offers {@link ConnectionSecurity}. Internal: its form may change at any time. */
export const SECURITY = Symbol.for('nestjs-rap.security');

/** How a processor takes part in DECLARE and secures what follows. One handshake belongs to one connection. Internal, too. */
export interface ConnectionSecurity {
  /** Bodies are JSON, which has no place for the extension `values`. */
  readonly isJson?: boolean;
  /** Where it can be used. */
  readonly side: 'client' | 'server';
  /** What the log should say once, when this is put to use. */
  readonly warning?: string | undefined;
  client(link: Link, hooks: SecurityHooks): ClientHandshake;
  server(link: Link, hooks: SecurityHooks): ServerHandshake;
}

/** What a handshake may ask of its connection. */
export interface SecurityHooks {
  /** The keys are used up: the connection should end soon, without harm to what runs. May be called at any moment. */
  readonly retire: () => void;
}

/** The client's part. */
export interface ClientHandshake {
  /** The link that calls go over; it may change bodies on their way. */
  readonly link: Link;
  /** What DECLARE carries beside its own. */
  declare(): Readonly<Record<string, unknown>>;
  /**
   * Reads the server's answer. Returns what seals the link from here on, where something does.
   *
   * @throws {@link Fault} where the server has not shown that it knows the key.
   */
  answered(answer: Readonly<Record<string, unknown>>, sent: Buffer, received: Buffer): FrameSeal | undefined;
  /** A frame of the server did not open. Returns why the connection ends. */
  failed(fault: Fault): Fault;
}

/** The server's part. */
export interface ServerHandshake {
  readonly link: Link;
  /** The client may know of a refused DECLARE by an answer; otherwise it sees nothing but the end. */
  readonly explains: boolean;
  /**
   * Reads DECLARE. `undefined`: nothing is secured, which is allowed.
   *
   * @throws {@link Fault} where the client is refused.
   */
  accept(declared: Readonly<Record<string, unknown>>, received: Buffer): AcceptedDeclare | undefined;
  /** The client's first sealed frame has opened. */
  proven(): void;
  /** A frame of the client did not open. Returns why the connection ends, for the own log. */
  failed(fault: Fault): Fault;
}

/** A DECLARE that was accepted. */
export interface AcceptedDeclare {
  /** What the answer carries beside its own. */
  readonly answer: Readonly<Record<string, unknown>>;
  /** What seals the link behind the answer; the client has then to prove itself by its first frame. */
  seal?(sent: Buffer): FrameSeal;
}
