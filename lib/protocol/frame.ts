/**
 * The frame: one msgpack array of four, back to back on the connection, with no length prefix.
 *
 *     [msg_type, correlation_id, header, body]
 */
export const MsgType = {
  /** A unary call, and its one answer under the same correlation id. */
  Msg: 101,
  /** One step in the life of a channel; the correlation id is the channel id. */
  Channel: 102,
  /** An event that the client started, and the server's answer to it. */
  ClientEvent: 103,
  /** An event that the server started, and the client's answer to it. */
  ServerEvent: 203,
} as const;

export type MsgType = (typeof MsgType)[keyof typeof MsgType];

/** Header of a frame: reserved keys of the protocol, and any that the application adds. */
export interface Header {
  readonly target?: string;
  readonly status_code?: number;
  readonly error?: unknown;
  readonly channel_life_cycle?: string;
  readonly session_id?: string;
  readonly timeout_ms?: number;
  readonly one_way?: boolean;
  readonly accept_stream?: boolean;
  readonly [key: string]: unknown;
}

/** Header keys, beside `target`, that only the transport writes. */
export const FRAME_KEYS = ['status_code', 'error', 'channel_life_cycle', 'one_way', 'accept_stream'] as const;

/** Header keys that an application may not set in an answer, and that are not metadata of a call. */
export const RESERVED_KEYS = ['target', 'session_id', 'timeout_ms', ...FRAME_KEYS] as const;

/** Keys that would touch the prototype of an object. */
export const PROTOTYPE_KEYS = ['__proto__', 'prototype', 'constructor'] as const;

/** Header keys that an application may not set. */
export const RESERVED: ReadonlySet<string> = new Set([...RESERVED_KEYS, ...PROTOTYPE_KEYS]);

/** The deadline of a Python client, in Unix seconds. */
export const PYTHON_DEADLINE_KEY = 'X-rap-deadline';

export type Frame = readonly [type: MsgType, id: number, header: Header, body: unknown];

/** Correlation ids are 1 to 2^32 - 1. */
export const MAX_ID = 0xffff_ffff;

const KNOWN_TYPES: ReadonlySet<unknown> = new Set(Object.values(MsgType));

/**
 * Says what is wrong with a decoded value as a frame; `undefined` if nothing is. The scanner has
 * already seen an array of four whose third item is a map and whose first two are unsigned integers.
 */
export function frameDefect(value: readonly unknown[]): string | undefined {
  const id = value[1];
  if (!KNOWN_TYPES.has(value[0])) return 'unknown message type';
  if (typeof id !== 'number' || id < 1 || id > MAX_ID) return 'correlation id out of range';
  return undefined;
}
