import type { EncodedHeader } from '../../../lib/protocol/bytes/encoded-frame.js';
import { Fault } from '../../../lib/protocol/fault.js';
import type { Header } from '../../../lib/protocol/frame.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../../../lib/protocol/life-cycle.js';
import { Channel } from '../../../lib/rpc/channel/channel.js';
import type { ChannelHost, ChannelOptions } from '../../../lib/rpc/channel/channel-options.js';
import { DeadlineQueue } from '../../../lib/rpc/time/deadline-queue.js';
import { ReadingPause } from '../../../lib/rpc/reading-pause.js';
import { FakeClock } from '../fake-clock.js';

/** A body that no frame can carry. */
export const UNSENDABLE = Symbol('cannot be encoded');

/** A frame that a channel sent: life cycle, body, and the rest of its header if there is any. */
export type SentFrame = readonly [lifeCycle: string, body: unknown, header?: Header];

/** The connection of a channel under test, which keeps what the channel asks of it. */
export class FakeChannelHost implements ChannelHost {
  readonly sent: SentFrame[] = [];
  /** Whether the connection takes more. */
  room = true;
  /** Pauses that no resume has followed, and pauses ever. */
  pauses = 0;
  pausedTimes = 0;
  /** What waits in the connection is read when reading goes on, and before `resume` returns. */
  onResume: (() => void) | undefined;
  /** `peerKnows` of each release. */
  readonly releases: boolean[] = [];

  /** A frame is as large as its body, if that is a number; else one byte. */
  send(header: Header | EncodedHeader, body: unknown): number {
    if (body === UNSENDABLE) throw new Fault({ status: 1002, message: 'the body cannot be encoded' });
    const { channel_life_cycle: lifeCycle = '', ...rest } = plainHeader(header);
    this.sent.push(Object.keys(rest).length > 0 ? [lifeCycle, body, rest] : [lifeCycle, body]);
    return typeof body === 'number' ? body : 1;
  }

  hold(body: unknown): unknown {
    return body;
  }

  /** What is kept of the peer. */
  held = 0;

  charge(cost: number): void {
    this.held += cost;
  }

  hasRoom(): boolean {
    return this.room;
  }

  pauseReading(): ReadingPause {
    return new ReadingPause({
      link: { pause: () => this.#paused(), resume: () => this.#resumed() },
      deadlines: new DeadlineQueue(new FakeClock()),
      timeoutMs: 1000,
      onTimeout: () => {},
    });
  }

  #paused(): void {
    this.pauses += 1;
    this.pausedTimes += 1;
  }

  #resumed(): void {
    this.pauses -= 1;
    if (this.pauses < 0) throw new Error('reading was resumed that was not paused');
    this.onResume?.();
  }

  released(peerKnows: boolean): void {
    this.releases.push(peerKnows);
  }

  /** Bodies of the frames with a life cycle. */
  bodies(lifeCycle: LifeCycle): unknown[] {
    return this.sent.filter(([sent]) => sent === lifeCycle).map(([, body]) => body);
  }
}

/** A channel, its connection, and the frames of its peer. */
export class ChannelLab {
  readonly host = new FakeChannelHost();
  readonly channel: Channel;

  /** Open on both sides, with every extension and windows of 100 bytes, if nothing else is asked for. */
  constructor(options: Partial<ChannelOptions> = {}) {
    this.channel = new Channel({
      id: 5,
      host: this.host,
      state: 'open',
      metadata: undefined,
      receiveWindow: 100,
      sendWindow: 100,
      maxPushedBytes: 1024,
      halfClose: true,
      fastOpen: true,
      ...options,
    });
  }

  /** A frame of the peer; its size is its body's, as for the host. Returns what is wrong with it. */
  readonly receive = (lifeCycle: unknown, body: unknown = null, header: Header = {}): string | undefined =>
    this.channel.receive(lifeCycle, header, body, typeof body === 'number' ? body : 1, 1);

  /** A message of the peer. */
  readonly message = (body: unknown): string | undefined => this.receive(LifeCycle.Msg, body);
}

/** A header as an object, also where it was encoded ahead. */
export function plainHeader(header: Header | EncodedHeader): Header {
  for (const lifeCycle of Object.values(LifeCycle)) {
    if (LIFE_CYCLE_HEADER[lifeCycle] === header) return { channel_life_cycle: lifeCycle };
  }
  return header as Header;
}
