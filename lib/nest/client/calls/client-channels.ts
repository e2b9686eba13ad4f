import type { ReadPacket } from '@nestjs/microservices';
import type { PeerSource, Placed } from '../../../cluster/peer-source.js';
import type { Fault } from '../../../protocol/fault.js';
import type { Channel } from '../../../rpc/channel/channel.js';
import { callTimeout, type CallTiming } from '../../../rpc/client/call-timeout.js';
import { ChannelLimit } from '../../../rpc/client/channel-limit.js';
import type { DeadlineQueue } from '../../../rpc/time/deadline-queue.js';
import { systemClock } from '../../../rpc/time/system-clock.js';
import { callError, remember } from '../../errors/failed-call.js';
import type { OpenStream } from '../../streams/rap-stream.js';
import type { CallPlanner } from './call-plan.js';
import { cancelChannelOn, cancelled, cancelledBy, unlessAborted } from './client-attempt.js';
import type { CallPlan } from './client-routes.js';
import { headersFor } from './planned-call.js';
import type { RapCallOptions } from './rap-session.js';

const NOTHING = (): void => {};

export interface ClientChannelsOptions {
  readonly source: PeerSource;
  readonly deadlines: DeadlineQueue;
  readonly planner: CallPlanner;
}

/** How a channel is opened. */
interface Opening {
  readonly metadata?: unknown;
  readonly forStream?: boolean;
  /** False if its reader has left while it waited for a connection. */
  readonly isWanted?: () => boolean;
}

/** Opens channels and streams from packets of Nest. */
export class ClientChannels {
  constructor(private readonly options: ClientChannelsOptions) {}

  /** Opens a stream: perhaps much later, and several times. */
  opener(
    packet: () => ReadPacket,
    parameters: () => unknown,
    options: RapCallOptions | undefined,
  ): OpenStream {
    return async (reader) => {
      const body = parameters();
      const channel = await this.open(packet(), options, {
        forStream: true,
        isWanted: () => !reader.isOver,
      });
      // if the parameters cannot be sent, the reader gets the reason
      channel.write(body).catch((error: Fault) => channel.cancel(error));
      return channel;
    };
  }

  /** Opens a channel, or a stream, as soon as there is a connection; it is usable at once. */
  async open(packet: ReadPacket, options: RapCallOptions | undefined, what: Opening): Promise<Channel> {
    const { planner, source } = this.options;
    const plan = planner.plan(packet, options);
    const since = systemClock.now();
    try {
      return await this.#open(plan, since, what);
    } catch (error) {
      throw callError(error, { target: plan.route.target, where: source.where, since });
    }
  }

  async #open(
    plan: CallPlan,
    started: number,
    { metadata, forStream = false, isWanted }: Opening,
  ): Promise<Channel> {
    const { source } = this.options;
    const { timeoutMs, signals } = plan;
    const { target } = plan.route;
    if (timeoutMs <= 0) throw callTimeout(timingOf(plan, source.where), 'connect');
    for (const signal of signals) if (signal.aborted) throw cancelledBy(signal, target);
    const held = source.hold(metadata);
    const placed = await this.#place(plan, held);
    try {
      if (isWanted?.() === false) throw cancelled(target);
      const channel = this.#openOn(placed, plan, held, timeLeft(timeoutMs, started), forStream);
      channel.whenDone(() => placed.ended());
      return channel;
    } catch (error) {
      placed.ended();
      throw error;
    }
  }

  /** The peer for a channel, as soon as there is one. */
  async #place({ route, session, header, timeoutMs, signals }: CallPlan, held: unknown): Promise<Placed> {
    const { source } = this.options;
    const { target } = route;
    if (session || !source.balanced) {
      const acquired = session?.openPeer() ?? source.acquire(target, timeoutMs, held);
      const peer = await unlessAborted(Promise.resolve(acquired), signals, target);
      return { peer, where: peer.where ?? source.where, ended: NOTHING };
    }
    const placing = source.balanced.place({ target, header, body: undefined }, timeoutMs, held);
    try {
      return await unlessAborted(placing, signals, target);
    } catch (error) {
      placing.then(
        (placed) => placed.ended(), // it was cancelled meanwhile
        NOTHING,
      );
      throw error;
    }
  }

  #openOn(
    { peer, where }: Placed,
    plan: CallPlan,
    held: unknown,
    leftMs: number,
    forStream: boolean,
  ): Channel {
    const { route, timeoutMs, isLimited, signals } = plan;
    const channel = peer.openChannel({
      target: route.target,
      header: headersFor(plan, peer, forStream).header,
      body: held,
      timeoutMs,
      leftMs,
      tellTimeLeft: isLimited,
    });
    this.#begun(channel, plan, leftMs, where);
    this.#limit(channel, plan, leftMs, where);
    const unlisten = signals.map((signal) => cancelChannelOn(channel, signal, route.target));
    channel.whenDone(() => {
      for (const stop of unlisten) stop();
    });
    return channel;
  }

  /** The answer to a call is a stream. */
  answered(channel: Channel, plan: CallPlan, leftMs: number, where: string): void {
    this.#begun(channel, plan, leftMs, where);
    if (plan.isLimited) this.#limit(channel, plan, leftMs, where);
  }

  #begun(channel: Channel, { route, timeoutMs }: CallPlan, leftMs: number, where: string): void {
    remember(channel, { target: route.target, where, since: systemClock.now() - (timeoutMs - leftMs) });
  }

  #limit(channel: Channel, plan: CallPlan, leftMs: number, where: string): void {
    const { deadlines } = this.options;
    const limit = new ChannelLimit(channel, { ...timingOf(plan, where), whole: plan.isLimited }, systemClock);
    deadlines.add(limit, leftMs);
    channel.whenDone(() => deadlines.remove(limit));
  }
}

/** The time limit of a call, for the error of one that takes longer. */
export function timingOf({ route, timeoutMs }: CallPlan, where: string): CallTiming {
  return { target: route.target, timeoutMs, where };
}

/** What is left of the time of a call, at least 1 ms. */
export function timeLeft(timeoutMs: number, since: number): number {
  return Math.max(1, Math.ceil(timeoutMs - (systemClock.now() - since)));
}
