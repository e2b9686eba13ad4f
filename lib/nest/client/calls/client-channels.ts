import type { ReadPacket } from '@nestjs/microservices';
import { clientChannel, isObserved } from '../../../diagnostics/channels.js';
import { FurtherAttempt, type MadeOperation } from '../../../diagnostics/made-operation.js';
import type { PeerSource, Placed, PlacedRequest } from '../../../cluster/peer-source.js';
import type { Clock } from '../../../protocol/clock.js';
import { Fault } from '../../../protocol/fault.js';
import type { Header } from '../../../protocol/frame.js';
import { heldValue } from '../../../protocol/held-body.js';
import type { Channel } from '../../../rpc/channel/channel.js';
import { callTimeout, type CallTiming } from '../../../rpc/client/call-timeout.js';
import { ChannelLimit } from '../../../rpc/client/channel-limit.js';
import type { DeadlineQueue } from '../../../rpc/time/deadline-queue.js';
import { callError, remember } from '../../errors/failed-call.js';
import type { OpenStream, StreamReader } from '../../streams/rap-stream.js';
import type { CallPlanner } from './call-plan.js';
import { cancelChannelOn, cancelled, cancelledBy, unlessAborted } from './client-attempt.js';
import type { CallPlan } from './client-routes.js';
import { observeChannel, observed } from './observed-call.js';
import { headersFor, withMore } from './planned-call.js';
import type { RapCallOptions } from './rap-session.js';

const NOTHING = (): void => {};

export interface ClientChannelsOptions {
  readonly source: PeerSource;
  readonly deadlines: DeadlineQueue;
  readonly planner: CallPlanner;
}

/** What is opened. */
interface Opening {
  readonly metadata?: unknown;
  /** Set if it is a stream. */
  readonly stream?: OpenedStream;
}

interface OpenedStream {
  readonly reader: StreamReader;
  /** The first message that is sent. */
  readonly parameters: unknown;
  /** The same for one more attempt: processors may change theirs. */
  readonly again: () => unknown;
}

/** A channel or stream as balancers see it: the parameters of a stream are its body. */
class OpenRequest implements PlacedRequest {
  readonly target: string;
  readonly header: PlacedRequest['header'];
  readonly timeoutMs: number;
  readonly idempotent = false;

  constructor(
    { route, header, timeoutMs }: CallPlan,
    readonly held: unknown,
    private readonly parameters: unknown,
  ) {
    this.target = route.target;
    this.header = header;
    this.timeoutMs = timeoutMs;
  }

  get body(): unknown {
    return heldValue(this.parameters);
  }
}

/** What an attempt to open it needs. */
interface Attempted {
  readonly plan: CallPlan;
  readonly stream: OpenedStream | undefined;
  readonly since: number;
  /** The metadata as they are now. */
  readonly held: unknown;
  /** It as subscribers of the tracing channels see it; `undefined` without them. */
  readonly operation: MadeOperation | undefined;
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
    return (reader) => {
      const stream = { reader, parameters: parameters(), again: parameters };
      return this.open(packet(), options, { stream });
    };
  }

  /**
   * Opens a channel, or a stream, as soon as there is a connection. To one server, it is usable at once. Of several servers, one
   * has taken it: those that refuse it before a handler begins are left for others.
   */
  async open(packet: ReadPacket, options: RapCallOptions | undefined, what: Opening): Promise<Channel> {
    const { planner, source, deadlines } = this.options;
    const { clock } = deadlines;
    const plan = planner.plan(packet, options);
    if (!isObserved(clientChannel, source.balanced !== undefined)) return this.#open(plan, what);
    const kind = what.stream ? 'stream' : 'channel';
    return observed({ kind, plan, where: source.where, clock }, async (it, operation) => {
      try {
        const channel = await this.#open(it, what, operation);
        observeChannel(channel, operation, clock);
        return channel;
      } catch (error) {
        if (what.stream?.reader.isOver) operation.giveUp(clock.now());
        else operation.finish(clock.now(), error);
        throw error;
      }
    });
  }

  async #open(plan: CallPlan, what: Opening, operation?: MadeOperation): Promise<Channel> {
    const { source } = this.options;
    const { target } = plan.route;
    const { clock } = this.options.deadlines;
    const since = clock.now();
    let placed: Placed | undefined;
    try {
      if (plan.timeoutMs <= 0) throw callTimeout(timingOf(plan, source.where), 'connect');
      assertNotAborted(plan.signals, target);
      const attempted = { plan, stream: what.stream, since, held: source.hold(what.metadata), operation };
      placed = await this.#place(attempted);
      let attempt: FurtherAttempt | undefined;
      for (let number = 2; ; number += 1) {
        try {
          const channel = await this.#openOn(placed, attempted, attempt?.header);
          attempt?.finish(undefined);
          return channel;
        } catch (failure) {
          attempt?.finish(failure);
          placed = await this.#elsewhere(placed, plan, failure);
          const { where: server } = placed;
          attempt = operation && FurtherAttempt.start(operation, { server, number, failure });
        }
      }
    } catch (error) {
      throw callError(error, { target, where: placed?.where ?? source.where, since, clock });
    }
  }

  /** The peer for a channel, as soon as there is one. */
  async #place({ plan, held, stream }: Attempted): Promise<Placed> {
    const { source } = this.options;
    const { route, session, timeoutMs, signals } = plan;
    const { target } = route;
    const pinned = session?.openPeer();
    const balanced = session ? session.balanced : source.balanced;
    if (balanced) {
      const request = new OpenRequest(plan, held, stream?.parameters);
      return this.#unlessAborted(balanced.place(request), plan);
    }
    const acquired = pinned ?? source.acquire(target, timeoutMs, held);
    const peer = await unlessAborted(Promise.resolve(acquired), signals, target);
    return { peer, where: peer.where ?? source.where, body: held, ended: NOTHING };
  }

  /** The peer for another attempt. @throws why the first has failed, if there is none */
  #elsewhere(placed: Placed, plan: CallPlan, error: unknown): Promise<Placed> {
    placed.ended(error instanceof Fault ? error : cancelled(plan.route.target));
    if (!placed.elsewhere || !(error instanceof Fault)) throw error;
    return this.#unlessAborted(placed.elsewhere(error), plan);
  }

  #unlessAborted(placing: Promise<Placed>, { signals, route }: CallPlan): Promise<Placed> {
    const placed = unlessAborted(placing, signals, route.target);
    if (placed !== placing)
      placed.catch(() => placing.then((late) => late.ended(cancelled(route.target)), NOTHING));
    return placed;
  }

  /** Opens it on one server. Of several, waits until that has taken it. @throws Fault if it has not */
  async #openOn(
    placed: Placed,
    { plan, since, stream, operation }: Attempted,
    more?: Header,
  ): Promise<Channel> {
    const { route, timeoutMs, isLimited, signals } = plan;
    const { peer, where, body } = placed;
    if (operation) operation.whereabouts = { server: where };
    const mayMove = placed.elsewhere !== undefined;
    assertNotAborted(signals, route.target); // while it waited for the server
    if (stream?.reader.isOver) throw cancelled(route.target);
    const leftMs = timeLeft(timeoutMs, since, this.options.deadlines.clock);
    const channel = peer.openChannel({
      target: route.target,
      header: withMore(headersFor(plan, peer, stream !== undefined), more).header,
      body,
      timeoutMs,
      leftMs,
      tellTimeLeft: isLimited,
    });
    channel.onHeader = plan.onHeader;
    channel.whenDone(() => placed.ended(channel.fault));
    this.#begun(channel, plan, leftMs, where);
    this.#limit(channel, plan, leftMs, where);
    const unlisten = signals.map((signal) => cancelChannelOn(channel, signal, route.target));
    channel.whenDone(() => {
      for (const stop of unlisten) stop();
    });
    if (stream) {
      const parameters = mayMove ? stream.again() : stream.parameters;
      // if the parameters cannot be sent, the reader gets the reason
      channel.write(parameters).catch((error: Fault) => channel.cancel(error));
    }
    if (placed.taken) {
      const isTaken = taken(channel, stream?.reader, placed);
      if (mayMove) await isTaken;
      else isTaken.catch(NOTHING); // its user finds out by the channel
    }
    return channel;
  }

  /** The answer to a call is a stream. */
  answered(channel: Channel, plan: CallPlan, leftMs: number, where: string): void {
    channel.onHeader = plan.onHeader;
    this.#begun(channel, plan, leftMs, where);
    if (plan.isLimited) this.#limit(channel, plan, leftMs, where);
  }

  #begun(channel: Channel, { route, timeoutMs }: CallPlan, leftMs: number, where: string): void {
    const { clock } = this.options.deadlines;
    remember(channel, { target: route.target, where, since: clock.now() - (timeoutMs - leftMs), clock });
  }

  #limit(channel: Channel, plan: CallPlan, leftMs: number, where: string): void {
    const { deadlines } = this.options;
    const limit = new ChannelLimit(
      channel,
      { ...timingOf(plan, where), whole: plan.isLimited },
      deadlines.clock,
    );
    deadlines.add(limit, leftMs);
    channel.whenDone(() => deadlines.remove(limit));
  }
}

/** @throws Fault `ERR_RAP_CALL_CANCELLED` if one has aborted */
function assertNotAborted(signals: readonly AbortSignal[], target: string): void {
  for (const signal of signals) if (signal.aborted) throw cancelledBy(signal, target);
}

/**
 * Resolves when the server has taken a channel: with its answer to DECLARE; a stream, which limits of the server may refuse later
 * than that, with its first item or its end. The reader of a stream may leave before.
 *
 * @throws the fault of a channel that the server has not taken
 */
function taken(channel: Channel, reader: StreamReader | undefined, placed: Placed): Promise<void> {
  return new Promise((resolve, reject) => {
    const decide = (): void => {
      const { fault } = channel;
      if (fault) return reject(fault);
      if (!reader?.isOver) placed.taken?.(); // else it is not known
      resolve();
    };
    if (!reader) return channel.whenDeclared(decide);
    reader.whenLeft = () => channel.cancel();
    channel.whenReadable(decide);
  });
}

/** The time limit of a call, for the error of one that takes longer. */
export function timingOf({ route, timeoutMs }: CallPlan, where: string): CallTiming {
  return { target: route.target, timeoutMs, where };
}

/** What is left of the time of a call, at least 1 ms. */
export function timeLeft(timeoutMs: number, since: number, clock: Clock): number {
  return Math.max(1, Math.ceil(timeoutMs - (clock.now() - since)));
}
