import type { EncodedHeader } from './bytes/encoded-frame.js';
import type { Fault } from './fault.js';
import type { FrameSeal } from './frame-seal.js';
import type { Frame, Header, MsgType } from './frame.js';

/** What TLS says of the other end. */
export interface TlsPeer {
  /** Whether its certificate was verified: without this, nothing below is more than a claim. */
  readonly authorized: boolean;
  /** Why not: OpenSSL's error code. */
  readonly authorizationError?: string | undefined;
  /** `TLSv1.2` or `TLSv1.3`. */
  readonly protocol?: string | undefined;
  /** The rest is from its certificate, and is missing if it sent none. */
  readonly subject?: Readonly<Record<string, unknown>> | undefined;
  readonly issuer?: Readonly<Record<string, unknown>> | undefined;
  /** Names and addresses that the certificate is for, such as `DNS:localhost, IP Address:127.0.0.1`. */
  readonly subjectAltName?: string | undefined;
  /** SHA-256 of the certificate, in hex with colons. */
  readonly fingerprint256?: string | undefined;
  readonly serialNumber?: string | undefined;
  /** End of its validity, as text. */
  readonly validTo?: string | undefined;
}

/** The other end of a connection. */
export interface RemoteAddress {
  /** IP address, or the path of a Unix socket. */
  readonly address: string;
  /** 0 for a Unix socket. */
  readonly port: number;
  readonly family: 'IPv4' | 'IPv6' | 'unix';
  /** Subject of the peer's TLS certificate, if it sent one that was verified. */
  readonly tlsSubject?: Readonly<Record<string, unknown>> | undefined;
  /** What TLS says of it; only if the connection is encrypted with TLS. */
  readonly tls?: TlsPeer;
}

/**
 * One connection as frames: the only interface between `rpc/` and `net/`. A link knows nothing of calls; it moves
 * frames in order, batches writes, and says how much of what was sent the kernel has not taken yet.
 */
export interface Link {
  readonly remote: RemoteAddress;
  readonly local: RemoteAddress;
  /** Bytes that were sent and wait for the kernel. */
  readonly pendingBytes: number;
  /** Whether frames may have come that were not delivered: it is paused, or other links have their turn. */
  readonly isBehind: boolean;
  /** When the frame that is delivered now had its turn, on the system clock, if the link has read it: a read costs as much as the rest. */
  readonly frameAt?: number;

  /** Tells `receiver` of the end of the connection; nothing is read before `start`. */
  attach(receiver: LinkReceiver): void;
  /** Starts reading. Called once. */
  start(receiver: LinkReceiver): void;
  /**
   * The handshake is done: frames may be as large as the limits allow, and as `peerMaxFrameBytes`, the peer's limit.
   * `values`: both sides offered the extension.
   */
  admit(peerMaxFrameBytes?: number, values?: boolean): void;
  /**
   * Queues a frame; frames of one tick are sent together.
   *
   * @returns its size in bytes.
   * @throws {@link Fault} if the frame cannot be encoded; the link is unharmed. A closed link drops the frame.
   */
  send(type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown): number;
  /** As `send`, and returns the exact bytes, which a handshake authenticates. */
  sendExact(type: MsgType, id: number, header: Header | null, body: unknown): Buffer;
  /** The bytes of the frame that was delivered last; only before `admit`. */
  readonly received: Buffer | undefined;
  /** Seals every frame from now on, in both directions. Called once, before `admit`, while a frame is delivered. */
  secure(seal: FrameSeal): void;
  /** Stops delivering frames (and then reading) until `resume` was called as often. */
  pause(): void;
  resume(): void;
  /**
   * Writes what waits, then closes. Nothing is read any more.
   *
   * @param isAwaited the peer knows of the end, and ends the connection too when it has read all: it has some seconds for that
   */
  end(isAwaited?: boolean): void;
  /** Closes at once and drops what waits. */
  destroy(): void;
}

/** Callbacks of a link. Nothing is called after `onClose`. */
export interface LinkReceiver {
  /**
   * A frame, its size in bytes, and what it costs to keep: its bytes, and `ITEM_COST` for each value in it. Must not throw.
   */
  onFrame(frame: Frame, bytes: number, cost: number): void;
  /** Bytes came in, whole frames or not: the peer is alive. */
  onBytes(): void;
  /** The kernel has taken all that waited. */
  onDrain(): void;
  /** The peer broke the protocol: tell it if possible, and close. No frame follows. */
  onFault(fault: Fault): void;
  /** The connection is closed; why, if that is known. */
  onClose(error: Error | undefined): void;
}
