import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { type AgreedExtensions, Extension, sendWindow } from '../../protocol/extension.js';
import { hold } from '../../protocol/encoder.js';
import { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { LifeCycle } from '../../protocol/life-cycle.js';
import type { Link } from '../../protocol/link.js';
import { Status } from '../../protocol/status.js';
import { fromErrorFrame } from '../../protocol/wire-error.js';
import { Channel } from './channel.js';
import type { ChannelFlow } from './channel-flow.js';
import type { ChannelHost } from './channel-options.js';
import { isBeyond } from '../correlation-ids.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import type { RapLimits } from '../limits.js';
import { ReadingPause } from '../reading-pause.js';

/** Unsent bytes of the connection at which channels wait, so that their messages do not delay calls for long. */
const SEND_HIGH_WATER_BYTES = 256 * 1024;

/** Ids of channels that this side closed, whose late frames are ignored. The oldest are forgotten. */
const MAX_REMEMBERED = 4096;

/** What channels need from their connection. */
export interface ChannelConnection {
  /** Sends a frame and returns its size. */
  send(id: number, header: Header | EncodedHeader, body: unknown): number;
  /** A channel is closed. */
  released(): void;
  /** Charges the connection's account; a negative cost releases. */
  charge(cost: number): void;
  readonly deadlines: DeadlineQueue;
  /** Whether unread messages of a closed channel still count: on a server, until its handler has ended. */
  readonly keepsUnread: boolean;
}

/** The channels of one connection. */
export class ChannelTable {
  readonly #live = new Map<number, Channel>();
  /** Closed by this side: the peer may have sent more before it knew. */
  readonly #closedHere = new Set<number>();
  /** Channels that wait for room on the connection, round-robin. */
  readonly #blocked = new Set<Channel>();
  #agreed: AgreedExtensions = new Map();
  /** Channels whose slow reader pauses the connection. */
  #pausing = 0;

  constructor(
    private readonly link: Link,
    private readonly limits: RapLimits,
    private readonly connection: ChannelConnection,
  ) {}

  /** The extensions of the handshake. */
  agree(agreed: AgreedExtensions): void {
    this.#agreed = agreed;
  }

  get size(): number {
    return this.#live.size;
  }

  /** Channels whose messages wait for credit of the peer. */
  get waitingForCredit(): number {
    let count = 0;
    for (const channel of this.#live.values()) if (channel.needsCredit) count += 1;
    return count;
  }

  /** Whether a channel pauses the reading of the connection. */
  get isPausing(): boolean {
    return this.#pausing > 0;
  }

  isLive(id: number): boolean {
    return this.#live.has(id);
  }

  /** A new channel: `declaring` if its DECLARE has just been sent, else `open`. */
  create(id: number, state: 'declaring' | 'open', metadata: unknown, flow?: ChannelFlow): Channel {
    const host: ChannelHost = {
      send: (header, body) => this.connection.send(id, header, body),
      hold: (body) => hold(body, this.limits, flow !== undefined),
      hasRoom: () => this.#hasRoom(channel),
      charge: (cost) => this.connection.charge(cost),
      pauseReading: () => this.#pauseReading(channel),
      released: (peerKnows) => this.#released(channel, peerKnows),
    };
    const channel: Channel = new Channel({
      id,
      host,
      state,
      metadata,
      receiveWindow: this.limits.channelWindowBytes,
      sendWindow: sendWindow(this.#agreed),
      maxPushedBytes: this.limits.maxPushedBytes,
      halfClose: this.#agreed.has(Extension.HalfClose),
      fastOpen: this.#agreed.has(Extension.FastOpen),
      flow,
    });
    this.#live.set(id, channel);
    this.#closedHere.delete(id);
    return channel;
  }

  /**
   * A channel frame. Returns false if there is no such channel and the peer should know that. A frame that is not allowed
   * in the channel's state closes it with 1008, on both sides.
   */
  receive(id: number, header: Header, body: unknown, bytes: number, cost: number): boolean {
    const channel = this.#live.get(id);
    const lifeCycle = header.channel_life_cycle;
    const error = fromErrorFrame(header, body);
    if (!channel) {
      // an error is never answered with an error, or both sides would loop
      if (error) return true;
      if (lifeCycle === LifeCycle.Drop && this.#closedHere.delete(id)) return true;
      return this.#closedHere.has(id);
    }
    if (error) {
      channel.peerFailed(error, header, body, bytes);
      return true;
    }
    const wrong = channel.receive(lifeCycle, header, body, bytes, cost);
    if (wrong) channel.violated(channelFault(wrong));
    return true;
  }

  /** A message of the peer cannot be decoded: closes the channel on both sides. */
  violated(id: number, fault: Fault): void {
    this.#live.get(id)?.violated(fault);
  }

  /** Ignores further frames of an id that has no channel. */
  reject(id: number): void {
    this.#remember(id);
  }

  /** Fails the channel with the most unread cost. Returns whether there was one. */
  endSlowestReader(): boolean {
    let furthest: Channel | undefined;
    for (const channel of this.#live.values())
      if (channel.unreadCost > (furthest?.unreadCost ?? 0)) furthest = channel;
    furthest?.failSlowReader(slowReaderFault('maxHeldBytes'));
    return furthest !== undefined;
  }

  /** The connection has room: waiting channels send round-robin, one message at a time. */
  flush(): void {
    while (this.#blocked.size > 0 && this.link.pendingBytes < SEND_HIGH_WATER_BYTES) {
      const [channel] = this.#blocked;
      if (!channel) return;
      this.#blocked.delete(channel);
      if (channel.flushOne()) this.#blocked.add(channel);
    }
  }

  /** The connection is closed. `unsent` is for channels that the peer has not accepted. */
  failAll(fault: Fault, unsent: Fault, lastTaken?: number): void {
    for (const channel of this.#live.values()) channel.lost(isBeyond(channel.id, lastTaken) ? unsent : fault);
  }

  #hasRoom(channel: Channel): boolean {
    if (this.link.pendingBytes < SEND_HIGH_WATER_BYTES) return true;
    this.#blocked.add(channel);
    return false;
  }

  #pauseReading(channel: Channel): ReadingPause {
    return new ReadingPause({
      link: {
        pause: () => {
          this.#pausing += 1;
          this.link.pause();
        },
        resume: () => {
          this.#pausing -= 1;
          this.link.resume();
        },
      },
      deadlines: this.connection.deadlines,
      timeoutMs: this.limits.pauseTimeoutMs,
      onTimeout: () => channel.failSlowReader(slowReaderFault('channelWindowBytes')),
    });
  }

  #released(channel: Channel, peerKnows: boolean): void {
    this.#live.delete(channel.id);
    this.#blocked.delete(channel);
    if (!this.connection.keepsUnread) channel.uncharge();
    if (!peerKnows) this.#remember(channel.id);
    this.connection.released();
  }

  #remember(id: number): void {
    this.#closedHere.add(id);
    if (this.#closedHere.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#closedHere) {
      this.#closedHere.delete(oldest);
      return;
    }
  }
}

export function channelFault(message: string): Fault {
  return new Fault({ status: Status.Channel, message });
}

/** The fault for both sides of a channel that paused its connection for too long. */
function slowReaderFault(limit: keyof RapLimits): Fault {
  return channelFault(
    `nobody reads its messages, which are all that may wait (limits.pauseTimeoutMs, limits.${limit})`,
  );
}
