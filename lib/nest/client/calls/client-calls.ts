import type { ReadPacket } from '@nestjs/microservices';
import type { BalancedCalls, PeerSource, Placed } from '../../../cluster/peer-source.js';
import type { ClientPeer } from '../../../rpc/client/client-peer.js';
import { captureContext } from '../../../rpc/context/async-context.js';
import type { Fault } from '../../../protocol/fault.js';
import { Snapshot } from '../../../protocol/snapshot.js';
import type { Channel } from '../../../rpc/channel/channel.js';
import { ChannelLimit } from '../../../rpc/client/channel-limit.js';
import { systemClock } from '../../../rpc/time/system-clock.js';
import { type DeadlineQueue, TimeLimit } from '../../../rpc/time/deadline-queue.js';
import { callTimeout, type CallTiming } from '../../../rpc/client/call-timeout.js';
import type { CallPlanner } from './call-plan.js';
import type { CallPlan } from './client-routes.js';
import { headersFor, PlannedCall, PlannedEvent, PlannedRequest } from './planned-call.js';
import {
  Attempt,
  cancelChannelOn,
  cancelled,
  cancelledBy,
  type Outcome,
  unlessAborted,
} from './client-attempt.js';
import { ping } from './client-ping.js';
import type { RapCallOptions } from './rap-session.js';
import { callError, remember, traced } from '../../errors/failed-call.js';
import type { ClientCodec } from './client-codec.js';
import { copyOfBody } from '../../../protocol/body-copy.js';
import type { OpenStream } from '../../streams/rap-stream.js';

const NOTHING = (): void => {};

export interface ClientCallsOptions {
  readonly source: PeerSource;
  readonly deadlines: DeadlineQueue;
  readonly planner: CallPlanner;
  /** Nest's serializer and deserializer, if the client has one now. */
  readonly codec: () => ClientCodec | undefined;
}

/** How a channel is opened. */
interface Opening {
  readonly metadata?: unknown;
  readonly forStream?: boolean;
  /** False if its reader has left while it waited for a connection. */
  readonly isWanted?: () => boolean;
}

/** Sends calls and events, and opens channels, from packets of Nest. */
export class ClientCalls {
  constructor(private readonly options: ClientCallsOptions) {}

  /**
   * Sends a call now, or as soon as there is a connection. Returns what cancels it.
   *
   * @throws as {@link CallPlanner.plan}
   */
  start<T>(packet: ReadPacket, options: RapCallOptions | undefined, outcome: Outcome<T>): () => void {
    const { planner, source, codec } = this.options;
    const plan = planner.plan(packet, options);
    const attempt: Attempt<T> = new Attempt(
      outcome,
      plan,
      source.where,
      outcome.stream && ((channel) => this.#begunAsStream(channel, plan, attempt.leftMs(systemClock))),
    );
    if (plan.timeoutMs <= 0) attempt.reject(callTimeout(this.#timingOf(plan), 'connect'));
    for (const signal of plan.signals) attempt.cancelOn(signal, plan.route.target);
    if (attempt.over) return NOTHING;
    const bodies = codec();
    const balanced = plan.session ? undefined : source.balanced;
    const peer = plan.session ? plan.session.openPeer() : !balanced && source.peer;
    if (balanced && !bodies) this.#sendBalanced(balanced, plan, packet.data, plan.timeoutMs, attempt);
    else if (peer && !bodies) this.#sendTo(peer, plan, packet.data, undefined, attempt);
    else void this.#sendLater(plan, packet, bodies, attempt);
    return () => attempt.abandon();
  }

  /** A body as it is now, to be sent later, perhaps several times. If it cannot be encoded, that throws only then. */
  held(body: unknown): () => unknown {
    const { source, codec } = this.options;
    // a serializer of Nest gets the value, not its encoded form
    const hold = codec() ? copyOfBody : (it: unknown): unknown => source.hold(it);
    try {
      const held = hold(body);
      // a serializer or processor may change its copy
      return () => hold(held instanceof Snapshot ? held.value : held);
    } catch (error) {
      return () => {
        throw error;
      };
    }
  }

  /** A peer as soon as there is one. @throws the public error of a call to `what` */
  async acquire(what: string, timeoutMs = this.options.planner.callTimeoutMs): Promise<ClientPeer> {
    const { source, planner } = this.options;
    const since = systemClock.now();
    try {
      return planner.pin()?.openPeer() ?? (await source.acquire(what, timeoutMs));
    } catch (error) {
      throw traced(callError(error, { target: what, where: source.where, since }));
    }
  }

  /** Measures the round trip to the server, in milliseconds. */
  ping(): Promise<number> {
    const { planner, source } = this.options;
    const timing = { target: 'ping', timeoutMs: planner.callTimeoutMs, where: source.where };
    return this.acquire('ping').then((peer) => ping(peer, timing));
  }

  /** Sends an event as soon as there is a connection. */
  async emit(packet: ReadPacket): Promise<void> {
    const { planner, source, codec } = this.options;
    const plan = planner.plan(packet, undefined);
    const { route, header, session, timeoutMs } = plan;
    const since = systemClock.now();
    try {
      const bodies = codec();
      const balanced = session ? undefined : source.balanced;
      let peer = session?.openPeer() ?? (balanced ? undefined : source.peer);
      let body = packet.data as unknown;
      // what is not sent at once is sent as it is now
      if (bodies) body = await bodies.encode(copied(packet));
      else if (!peer) body = source.hold(body);
      if (balanced) {
        const event = new PlannedEvent(plan, packet.data, source.hold(body), timeLeft(timeoutMs, since));
        return await new Promise<void>((resolve, reject) => {
          balanced.event(event, { resolve: () => resolve(), reject });
        });
      }
      peer ??= await source.acquire(route.target, timeoutMs, body);
      await peer.emit({
        target: route.target,
        header,
        body,
        timeoutMs,
        leftMs: timeLeft(timeoutMs, since),
        where: source.where,
        pinned: session !== undefined,
      });
    } catch (error) {
      throw callError(error, { target: route.target, where: source.where, since });
    }
  }

  /** Opens a stream: perhaps much later, and several times. */
  opener(
    packet: () => ReadPacket,
    parameters: () => unknown,
    options: RapCallOptions | undefined,
  ): OpenStream {
    return async (reader) => {
      const body = parameters();
      const channel = await this.openChannel(packet(), options, {
        forStream: true,
        isWanted: () => !reader.isOver,
      });
      // if the parameters cannot be sent, the reader gets the reason
      channel.write(body).catch((error: Fault) => channel.cancel(error));
      return channel;
    };
  }

  /** Opens a channel, or a stream, as soon as there is a connection; it is usable at once. */
  async openChannel(
    packet: ReadPacket,
    options: RapCallOptions | undefined,
    what: Opening,
  ): Promise<Channel> {
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
    if (timeoutMs <= 0) throw callTimeout(this.#timingOf(plan), 'connect');
    for (const signal of signals) if (signal.aborted) throw cancelledBy(signal, target);
    const held = source.hold(metadata);
    const placed = await this.#place(plan, held);
    try {
      if (isWanted?.() === false) throw cancelled(target);
      const channel = this.#openOn(placed.peer, plan, held, timeLeft(timeoutMs, started), forStream);
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
      return { peer, where: source.where, ended: NOTHING };
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

  #openOn(peer: ClientPeer, plan: CallPlan, held: unknown, leftMs: number, forStream: boolean): Channel {
    const { route, timeoutMs, isLimited, signals } = plan;
    const channel = peer.openChannel({
      target: route.target,
      header: headersFor(plan, peer, forStream).header,
      body: held,
      timeoutMs,
      leftMs,
      tellTimeLeft: isLimited,
    });
    this.#remember(channel, plan, leftMs);
    this.#limitChannel(channel, plan, leftMs);
    const unlisten = signals.map((signal) => cancelChannelOn(channel, signal, route.target));
    channel.whenDone(() => {
      for (const stop of unlisten) stop();
    });
    return channel;
  }

  /** Sends a call that must wait for a connection, or for a serializer of Nest, which may be asynchronous. */
  async #sendLater<T>(
    plan: CallPlan,
    packet: ReadPacket,
    bodies: ClientCodec | undefined,
    attempt: Attempt<T>,
  ): Promise<void> {
    const { source } = this.options;
    const { route, session, timeoutMs } = plan;
    try {
      const started = (attempt.since = systemClock.now());
      let body = packet.data as unknown;
      if (bodies) {
        this.#limit(attempt, plan, started);
        body = await bodies.encode(copied(packet));
        const { decode } = bodies as { decode: typeof attempt.decode };
        const context = captureContext();
        attempt.decode = decode && ((answer) => context.runInAsyncScope(decode, undefined, answer));
      } else body = source.hold(body);
      const balanced = session ? undefined : source.balanced;
      if (balanced && attempt.over) return;
      if (balanced) return this.#sendBalanced(balanced, plan, body, timeLeft(timeoutMs, started), attempt);
      const peer = session?.openPeer() ?? (await source.acquire(route.target, timeoutMs, body));
      if (attempt.over) return;
      this.#sendTo(peer, plan, body, timeLeft(timeoutMs, started), attempt);
    } catch (error) {
      attempt.reject(error);
    }
  }

  #sendTo<T>(
    peer: ClientPeer,
    plan: CallPlan,
    body: unknown,
    leftMs: number | undefined,
    attempt: Attempt<T>,
  ): void {
    const headers = headersFor(plan, peer, attempt.stream !== undefined);
    const request = new PlannedRequest(plan, headers, body, leftMs, this.options.source.where);
    attempt.pending = peer.call(request, attempt);
  }

  /** Sends a call to one of several servers, or to one after the other. */
  #sendBalanced<T>(
    balanced: BalancedCalls,
    plan: CallPlan,
    body: unknown,
    leftMs: number,
    attempt: Attempt<T>,
  ): void {
    let call: PlannedCall;
    try {
      call = new PlannedCall(
        plan,
        body,
        this.options.source.hold(body),
        leftMs,
        attempt.stream !== undefined,
      );
    } catch (error) {
      return attempt.reject(error);
    }
    attempt.pending = balanced.call(call, attempt);
  }

  #timingOf({ route, timeoutMs }: CallPlan): CallTiming {
    return { target: route.target, timeoutMs, where: this.options.source.where };
  }

  /** Serializer and deserializer may hang: the time limit of the call covers them, too. */
  #limit<T>(attempt: Attempt<T>, plan: CallPlan, started: number): void {
    const { deadlines } = this.options;
    const limit = new TimeLimit(() => attempt.timeOut(this.#timingOf(plan)));
    deadlines.add(limit, plan.timeoutMs - (systemClock.now() - started));
    attempt.whenOver(() => deadlines.remove(limit));
  }

  /** The answer to a call is a stream. */
  #begunAsStream(channel: Channel, plan: CallPlan, leftMs: number): void {
    this.#remember(channel, plan, leftMs);
    if (plan.isLimited) this.#limitChannel(channel, plan, leftMs);
  }

  #remember(channel: Channel, { route, timeoutMs }: CallPlan, leftMs: number): void {
    const since = systemClock.now() - (timeoutMs - leftMs);
    remember(channel, { target: route.target, where: this.options.source.where, since });
  }

  #limitChannel(channel: Channel, plan: CallPlan, leftMs: number): void {
    const { deadlines } = this.options;
    const limit = new ChannelLimit(channel, { ...this.#timingOf(plan), whole: plan.isLimited }, systemClock);
    deadlines.add(limit, leftMs);
    channel.whenDone(() => deadlines.remove(limit));
  }
}

/** With a copy of the body: a serializer may be asynchronous, and may return what it got. */
function copied(packet: ReadPacket): ReadPacket {
  return { ...packet, data: copyOfBody(packet.data) };
}

function timeLeft(timeoutMs: number, since: number): number {
  return Math.max(1, Math.ceil(timeoutMs - (systemClock.now() - since)));
}
