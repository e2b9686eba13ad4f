import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { Channel } from '../channel/channel.js';

/** A call, event or channel to send. */
export interface CallRequest {
  readonly target: string;
  /** The header on the wire, target included. */
  readonly header: Header;
  /** The same, pre-encoded: for calls that add nothing to it. */
  readonly encodedHeader?: EncodedHeader | undefined;
  readonly body: unknown;
  /** The caller's timeout, in milliseconds. */
  readonly timeoutMs: number;
  /** The rest of it, if the call has waited for a connection. */
  readonly leftMs?: number | undefined;
  /** The server, for error messages. */
  readonly where?: string | undefined;
  /** Whether the deadline is sent: the caller set a limit that the server does not know. */
  readonly tellTimeLeft?: boolean;
  /** Whether it belongs to a session, and so never moves to another connection. */
  readonly pinned?: boolean;
}

/** Receives the one answer of a call. */
export interface ReplySink {
  /** `header`: that of the answer. */
  resolve(body: unknown, header?: Header | null): void;
  /** `fault.header`: that of an error answer. */
  reject(fault: Fault): void;
  /** The server answers with a stream. Without it, a stream is an error. */
  stream?(channel: Channel): void;
}

/** Time left, in milliseconds. */
export function timeLeftOf({ timeoutMs, leftMs }: CallRequest): number {
  return leftMs ?? timeoutMs;
}

/** A header with the time left, unless that is infinite. */
export function timeLeftHeader(header: Header, timeoutMs: number): Header {
  if (!Number.isSafeInteger(Math.ceil(timeoutMs))) return header;
  return { ...header, timeout_ms: Math.max(1, Math.ceil(timeoutMs)) };
}
