import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { Channel } from '../channel/channel.js';

/** What a caller wants sent. */
export interface CallRequest {
  readonly target: string;
  /** The header on the wire; it holds the target. */
  readonly header: Header;
  /** The same, encoded ahead: for calls that have nothing more to say. */
  readonly encodedHeader?: EncodedHeader | undefined;
  readonly body: unknown;
  /** Time that the caller has given for the answer, in milliseconds. */
  readonly timeoutMs: number;
  /** What is left of it, if the call has waited before it came here. */
  readonly leftMs?: number | undefined;
  /** The server in messages. */
  readonly where?: string | undefined;
  /** Whether the peer is told how much time is left: the caller asked for a limit that the server does not know. */
  readonly tellTimeLeft?: boolean;
  /** Whether it belongs to a session, and so to its connection: it never goes elsewhere. */
  readonly pinned?: boolean;
}

/** Takes the one answer of a call. */
export interface ReplySink {
  resolve(body: unknown): void;
  reject(fault: Fault): void;
  /** The server answers with a stream. Without it, a stream is an error. */
  stream?(channel: Channel): void;
}

/** Time that a call has from here on, in milliseconds. */
export function timeLeftOf({ timeoutMs, leftMs }: CallRequest): number {
  return leftMs ?? timeoutMs;
}

/** A header with the time that is left, if that is a time: a caller may say that it has no end. */
export function timeLeftHeader(header: Header, timeoutMs: number): Header {
  if (!Number.isSafeInteger(Math.ceil(timeoutMs))) return header;
  return { ...header, timeout_ms: Math.max(1, Math.ceil(timeoutMs)) };
}
