import type { EncodedHeader } from './bytes/encoded-frame.js';
import type { Fault } from './fault.js';
import type { FrameSeal } from './frame-seal.js';
import type { Frame, Header, MsgType } from './frame.js';

/** What TLS says of the other end. */
export interface TlsPeer {
  /** Whether its certificate was verified: without this, nothing below is more than a claim. */
  readonly authorized: boolean;
  /** Why not, in OpenSSL's word for it. */
  readonly authorizationError?: string | undefined;
  /** `TLSv1.2` or `TLSv1.3`. */
  readonly protocol?: string | undefined;
  /** The rest stands in its certificate, and is missing where it sent none. */
  readonly subject?: Readonly<Record<string, unknown>> | undefined;
  readonly issuer?: Readonly<Record<string, unknown>> | undefined;
  /** Names and addresses that the certificate is for, such as `DNS:localhost, IP Address:127.0.0.1`. */
  readonly subjectAltName?: string | undefined;
  /** SHA-256 of the certificate, in hex with colons. */
  readonly fingerprint256?: string | undefined;
  readonly serialNumber?: string | undefined;
  /** End of its time, as text. */
  readonly validTo?: string | undefined;
}

/** Who is at the other end. */
export interface RemoteAddress {
  /** IP address, or the path of a Unix socket. */
  readonly address: string;
  /** 0 for a Unix socket. */
  readonly port: number;
  readonly family: 'IPv4' | 'IPv6' | 'unix';
  /** Subject of the peer's TLS certificate, where it sent one that was verified. */
  readonly tlsSubject?: Readonly<Record<string, unknown>> | undefined;
  /** What TLS says of it; only where the connection is one of TLS. */
  readonly tls?: TlsPeer;
}

/**
 * One connection as frames: the only place where `rpc/` and `net/` meet. A link knows nothing of calls; it moves
 * frames in order, batches writes, and tells how much of what it was given the kernel has not taken yet.
 */
export interface Link {
  readonly remote: RemoteAddress;
  readonly local: RemoteAddress;
  /** Bytes that were sent and wait for the kernel. */
  readonly pendingBytes: number;
  /** Whether frames may have come that were not handed on: it is paused, or others have their turn. */
  readonly isBehind: boolean;
  /** When the frame that is handed on now had its turn, on the system clock, if the link has looked: a look costs as much as the rest. */
  readonly frameAt?: number;

  /** Tells `receiver` of the end of the connection; nothing is read before `start`. */
  attach(receiver: LinkReceiver): void;
  /** Starts reading. Called once. */
  start(receiver: LinkReceiver): void;
  /**
   * The handshake is done: frames may be as large as the limits allow, and as `peerMaxFrameBytes`, which the peer told.
   * `values`: both sides offered the extension.
   */
  admit(peerMaxFrameBytes?: number, values?: boolean): void;
  /**
   * Queues a frame; frames of one tick leave together.
   *
   * @returns its size in bytes.
   * @throws {@link Fault} where the frame cannot be encoded; the link is unharmed. A closed link takes and drops it.
   */
  send(type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown): number;
  /** As `send`, and returns the very bytes: what a handshake vouches for. */
  sendExact(type: MsgType, id: number, header: Header | null, body: unknown): Buffer;
  /** The bytes of the frame that was handed on last; for the time before `admit`. */
  readonly received: Buffer | undefined;
  /** Seals every frame from here on, both ways. Called once, before `admit`, while a frame is handed on. */
  secure(seal: FrameSeal): void;
  /** Stops handing on frames (and then reading) until as many `resume` calls have come. */
  pause(): void;
  resume(): void;
  /**
   * Writes what waits, then closes. Nothing is read any more. `isAwaited`: the peer knows of the end, and ends the connection,
   * too, when it has read all: it has some seconds for that.
   */
  end(isAwaited?: boolean): void;
  /** Closes at once and drops what waits. */
  destroy(): void;
}

/** What a link tells its owner. Nothing is called after `onClose`. */
export interface LinkReceiver {
  /**
   * A frame, its size in bytes, and what it costs to keep: its bytes, and `ITEM_COST` for each value in it. Must not throw.
   */
  onFrame(frame: Frame, bytes: number, cost: number): void;
  /** Bytes came in, whole frames or not: the peer is alive. */
  onBytes(): void;
  /** All that waited has been taken by the kernel. */
  onDrain(): void;
  /** The peer broke the wire: say so to it if you can, and close. No frame follows. */
  onFault(fault: Fault): void;
  /** The connection is gone, and why where that is known. */
  onClose(error: Error | undefined): void;
}
