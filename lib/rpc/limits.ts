import { inspect } from 'node:util';
import { DEFAULT_FRAME_LIMITS, ITEM_COST, type FrameLimits } from '../protocol/limits.js';
import { assertNames } from '../protocol/values/option-names.js';
import type { LoadLimits } from './load.js';

/**
 * Everything that limits what a peer can make this side do or hold. Every limit has a default that works; sizes are
 * in bytes, times in milliseconds.
 */
export interface RapLimits extends FrameLimits {
  /** Connections a server keeps. Default 1024, as Python's rap. Excess connections get CLOSE. */
  readonly maxConnections: number;
  /** Connections a server keeps of one address; IPv6 by /64. Default 128, as Python's rap. Raise it behind a proxy or NAT. */
  readonly maxConnectionsPerAddress: number;
  /** Connections in a TLS handshake or without DECLARE. Default 256; beyond, the oldest of the address with the most is dropped. */
  readonly maxPendingHandshakes: number;
  /** Time for a new connection to send DECLARE. Default 10 s, as RabbitMQ. */
  readonly declareTimeoutMs: number;
  /** Time for the TLS handshake of a client. Default 10 s; Node's is 120 s. */
  readonly tlsHandshakeTimeoutMs: number;
  /** Time to connect to a server, TLS included. Default 5 s. */
  readonly connectTimeoutMs: number;
  /** Time for a client until the server has answered DECLARE, connecting included. Default 9 s, as Python's rap. */
  readonly openTimeoutMs: number;
  /** Time for the rest of a frame that has begun, plus one second per 64 KiB received. Default 30 s, as Nest. */
  readonly incompleteFrameTimeoutMs: number;
  /** Bytes of unfinished frames that a whole server holds; beyond, the oldest is dropped. Default 256 MiB. */
  readonly maxUnfinishedBytes: number;
  /** Calls and events that run at once on a connection. Default 256, as Go's HTTP/2. A server answers 429 beyond, a client queues. */
  readonly maxInFlight: number;
  /** Calls and events that run at once on a server, streams that answer a call included. Default 8192; beyond, 429. */
  readonly maxInFlightTotal: number;
  /**
   * Calls of one address that run at once on a server, and as many channels; IPv6 addresses count by /64. Default half of
   * `maxInFlightTotal`, and half of `maxChannelsTotal` at most; beyond, 429. Raise it behind a proxy or NAT.
   */
  readonly maxInFlightPerAddress: number;
  /** Channels, streams included, that are open at once on a connection. Default 128, as RabbitMQ; beyond, 429. */
  readonly maxChannels: number;
  /** Channels that are open at once on a server, streams that were opened as channels included. Default 8192; beyond, 429. */
  readonly maxChannelsTotal: number;
  /**
   * Cost of what a connection makes this side hold: wire bytes, and 100 for each msgpack value, of calls that run,
   * metadata of channels, unread messages, and unsent answers. Default 64 MiB. Beyond, a server answers calls
   * and channels 429, messages and requests are not read, and answers wait. At least the cost of the largest frame.
   */
  readonly maxHeldBytes: number;
  /** The same for a whole server. Default 1 GiB. */
  readonly maxHeldBytesTotal: number;
  /** The same for the connections of one address; IPv6 addresses count by /64. Default half of `maxHeldBytesTotal`. */
  readonly maxHeldBytesPerAddress: number;
  /**
   * Delay of a server's event loop, as the median of the last second, beyond which new calls and channels are refused (429), while
   * those that run go on. Default 200; 0: never. One long handler does not count, several in a row do.
   */
  readonly maxLoopDelayMs: number;
  /** Sessions of a connection. Default 128; beyond, 429. */
  readonly maxSessions: number;
  /** Bytes of a channel that the peer may send ahead of the reader. Default 256 KiB. */
  readonly channelWindowBytes: number;
  /**
   * Time for which unread messages may stop the reading of a connection while none of them is read. Default 60 s, as nginx's
   * `proxy_read_timeout`: the time between two reads, not of all. Beyond, the channel ends with 1008, and the connection is read
   * again.
   */
  readonly pauseTimeoutMs: number;
  /** Frames for channels that do not exist, and unknown events, before a server closes the connection; one per second is forgiven. Default 100, as Node's HTTP/2. */
  readonly maxRejectedFrames: number;
  /** Calls and events that a client queues while `maxInFlight` run. Default 16,384; beyond, `OverloadError`. */
  readonly maxQueuedCalls: number;
  /** Bytes of calls that wait for a slot or a connection; beyond, `OverloadError`. Default 256 MiB. */
  readonly maxQueuedBytes: number;
  /**
   * Encoded bytes of an Observable's values that wait for the reader of its stream; beyond, the stream ends with 1008. Default
   * 16 MiB, similar to the pending limits of NATS clients. Iterables wait for their reader, and need no such limit.
   */
  readonly maxPushedBytes: number;
  /** Most frames of one connection that are handled in a turn, before other connections have theirs. Default 64, as Envoy limits requests per I/O cycle. A turn ends after 5 ms in any case. */
  readonly framesPerTick: number;
  /** Unsent bytes at which a server reads no further requests of the connection, and a client queues its calls. Default 1 MiB. */
  readonly sendBufferSoftBytes: number;
  /** Unsent bytes, answers excluded, at which a server drops a connection; unsent bytes at which a client refuses what it cannot queue. Default 16 MiB. */
  readonly sendBufferHardBytes: number;
  /**
   * Time in which a blocked connection must take some bytes. Default 30 s: the kernel reports room in its buffer only when a third of it is free,
   * 1.4 MB of Linux's 4 MiB, so that a reader of 50 KB/s makes visible progress every 28 s. NATS has 10 s for a write.
   */
  readonly writeStallTimeoutMs: number;
  /** Pings that a peer may send at once, and per second after that. Default 60 and 10: a Python client sends 3 in 1 to 3 s. */
  readonly pingBurst: number;
  readonly pingsPerSecond: number;
}

export const DEFAULT_LIMITS: RapLimits = {
  ...DEFAULT_FRAME_LIMITS,
  maxConnections: 1024,
  maxConnectionsPerAddress: 128,
  maxPendingHandshakes: 256,
  declareTimeoutMs: 10_000,
  tlsHandshakeTimeoutMs: 10_000,
  connectTimeoutMs: 5_000,
  openTimeoutMs: 9_000,
  incompleteFrameTimeoutMs: 30_000,
  maxUnfinishedBytes: 256 * 1024 * 1024,
  maxInFlight: 256,
  maxInFlightTotal: 8_192,
  maxInFlightPerAddress: 4_096,
  maxChannels: 128,
  maxChannelsTotal: 8_192,
  maxHeldBytes: 64 * 1024 * 1024,
  maxHeldBytesTotal: 1024 * 1024 * 1024,
  maxHeldBytesPerAddress: 512 * 1024 * 1024,
  maxLoopDelayMs: 200,
  maxSessions: 128,
  channelWindowBytes: 256 * 1024,
  pauseTimeoutMs: 60_000,
  maxRejectedFrames: 100,
  maxQueuedCalls: 16_384,
  maxQueuedBytes: 256 * 1024 * 1024,
  maxPushedBytes: 16 * 1024 * 1024,
  framesPerTick: 64,
  sendBufferSoftBytes: 1024 * 1024,
  sendBufferHardBytes: 16 * 1024 * 1024,
  writeStallTimeoutMs: 30_000,
  pingBurst: 60,
  pingsPerSecond: 10,
};

/** When a silent peer is pinged, and when it counts as lost. Times in milliseconds. */
export interface KeepAliveOptions {
  /** Silence after which a ping is sent. Default: server 30 s ± 10 %, client 15 s. 0 disables pings and the idle timeout. */
  readonly intervalMs: number;
  /** Time for the answer. Default: server 10 s, client 5 s. */
  readonly timeoutMs: number;
  /** Unanswered pings after which the connection counts as lost. Default: server 2, client 1. */
  readonly maxMissed: number;
  /** A server closes a connection without calls after this time. Default 1200 s, as Python's rap; 0: never. */
  readonly idleTimeoutMs: number;
  /**
   * Silence after which a client with calls in flight sends a ping. If no answer comes within twice the longest round trip that
   * pings have measured, but at least 250 ms, the server counts as suspect: a client with several servers prefers others. Default
   * 1 s; 0: only the options above hold.
   */
  readonly busyIntervalMs: number;
  /** Silence after which a client with calls in flight, or open channels, ends the connection. Default 10 s: as long as a call may take. */
  readonly busyTimeoutMs: number;
}

export const SERVER_KEEP_ALIVE: KeepAliveOptions = {
  intervalMs: 30_000,
  timeoutMs: 10_000,
  maxMissed: 2,
  idleTimeoutMs: 1_200_000,
  busyIntervalMs: 0,
  busyTimeoutMs: 0,
};
export const CLIENT_KEEP_ALIVE: KeepAliveOptions = {
  intervalMs: 15_000,
  timeoutMs: 5_000,
  maxMissed: 1,
  idleTimeoutMs: 0,
  busyIntervalMs: 1_000,
  busyTimeoutMs: 10_000,
};

/** All options optional, `undefined` included. */
export type Given<T> = { readonly [K in keyof T]?: T[K] | undefined };

/**
 * Fills in the defaults.
 *
 * @throws RangeError that names the option if a value is not a non-negative number, or the option is unknown.
 */
export function withDefaults<T extends object>(what: string, given: Given<T> | undefined, defaults: T): T {
  assertNames(what, given ?? {}, defaults as Record<string, unknown>);
  const merged = { ...defaults } as Record<string, unknown>;
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === undefined) continue;
    if (typeof value !== 'number' || !(value >= 0)) {
      throw new RangeError(`${what}.${name} must be a number of at least 0, got ${inspect(value)}`);
    }
    merged[name] = value;
  }
  return merged as T;
}

/** Deeper values overflow V8's stack. */
const MAX_DEPTH = 1000;

/** Fills in the defaults; the hard send limit is at least four frames, and the held limits fit the largest frame. */
export function resolveLimits(given: Given<RapLimits> | undefined): RapLimits {
  const limits = withDefaults('limits', given, DEFAULT_LIMITS);
  if (!(limits.maxDepth <= MAX_DEPTH)) {
    throw new RangeError(`limits.maxDepth must be at most ${MAX_DEPTH}, got ${limits.maxDepth}`);
  }
  if (!(limits.channelWindowBytes > 0)) throw new RangeError('limits.channelWindowBytes must be above 0');
  const largest = limits.maxFrameBytes + ITEM_COST * Math.min(limits.maxItems, limits.maxFrameBytes);
  return {
    ...limits,
    sendBufferHardBytes: Math.max(limits.sendBufferHardBytes, 4 * limits.maxFrameBytes),
    maxInFlightPerAddress: given?.maxInFlightPerAddress ?? Math.ceil(limits.maxInFlightTotal / 2),
    maxHeldBytes: Math.max(limits.maxHeldBytes, largest),
    maxHeldBytesTotal: Math.max(limits.maxHeldBytesTotal, largest),
    maxHeldBytesPerAddress: Math.max(
      given?.maxHeldBytesPerAddress ?? Math.ceil(limits.maxHeldBytesTotal / 2),
      largest,
    ),
  };
}

/** Limits of the whole server. */
export function serverLoad(limits: RapLimits): LoadLimits {
  return {
    calls: limits.maxInFlightTotal,
    channels: limits.maxChannelsTotal,
    held: limits.maxHeldBytesTotal,
  };
}

/** Limits of one address. */
export function addressLoad(limits: RapLimits): LoadLimits {
  return {
    calls: limits.maxInFlightPerAddress,
    channels: Math.min(limits.maxInFlightPerAddress, Math.ceil(limits.maxChannelsTotal / 2)),
    held: limits.maxHeldBytesPerAddress,
  };
}
