import type { ReadPacket } from '@nestjs/microservices';
import { clientCall, isObserved } from '../../../diagnostics/channels.js';
import type { MadeOperation } from '../../../diagnostics/made-operation.js';
import type { BalancedCalls, PeerSource, StartedCall } from '../../../cluster/peer-source.js';
import type { ClientPeer } from '../../../rpc/client/client-peer.js';
import { captureContext } from '../../../rpc/context/async-context.js';
import { Snapshot } from '../../../protocol/snapshot.js';
import { type DeadlineQueue, TimeLimit } from '../../../rpc/time/deadline-queue.js';
import { callTimeout } from '../../../rpc/client/call-timeout.js';
import type { CallPlanner } from './call-plan.js';
import type { CallPlan } from './client-routes.js';
import { observed, ObservedOutcome } from './observed-call.js';
import { headersFor, PlannedCall, PlannedEvent, PlannedRequest } from './planned-call.js';
import { Attempt, type Outcome } from './client-attempt.js';
import { ClientChannels, timeLeft, timingOf } from './client-channels.js';
import { ping } from './client-ping.js';
import type { RapCallOptions } from './rap-session.js';
import { callError, traced } from '../../errors/failed-call.js';
import type { ClientCodec } from './client-codec.js';
import { copyOfBody } from '../../../protocol/body-copy.js';

const NOTHING = (): void => {};

export interface ClientCallsOptions {
  readonly source: PeerSource;
  readonly deadlines: DeadlineQueue;
  readonly planner: CallPlanner;
  /** Nest's serializer and deserializer, if the client has one now. */
  readonly codec: () => ClientCodec | undefined;
}

/** Sends calls and events from packets of Nest. */
export class ClientCalls {
  readonly channels: ClientChannels;

  constructor(private readonly options: ClientCallsOptions) {
    this.channels = new ClientChannels(options);
  }

  /**
   * Sends a call now, or as soon as there is a connection. Returns what cancels it.
   *
   * @throws as {@link CallPlanner.plan}
   */
  start<T>(packet: ReadPacket, options: RapCallOptions | undefined, outcome: Outcome<T>): () => void {
    const { planner, source, deadlines } = this.options;
    const { clock } = deadlines;
    const plan = planner.plan(packet, options);
    if (!isObserved(clientCall, source.balanced !== undefined)) return this.#start(packet, plan, outcome);
    return observed({ kind: 'unary', plan, where: source.where, clock }, (it, operation) => {
      const seen = new ObservedOutcome(outcome, operation, clock);
      const abandon = this.#start(packet, it, seen, operation);
      return () => {
        abandon();
        seen.abandoned();
      };
    });
  }

  #start<T>(packet: ReadPacket, plan: CallPlan, outcome: Outcome<T>, operation?: MadeOperation): () => void {
    const { source, codec, deadlines } = this.options;
    const attempt: Attempt<T> = new Attempt(
      outcome,
      plan,
      source.where,
      deadlines.clock,
      outcome.stream &&
        ((channel) => this.channels.answered(channel, plan, attempt.leftMs(), attempt.server)),
    );
    if (operation) {
      attempt.operation = operation;
      operation.whereabouts = attempt;
    }
    if (plan.timeoutMs <= 0) attempt.reject(callTimeout(timingOf(plan, source.where), 'connect'));
    for (const signal of plan.signals) attempt.cancelOn(signal, plan.route.target);
    if (attempt.over) return NOTHING;
    const bodies = codec();
    const pinned = plan.session?.openPeer();
    const balanced = this.#balancedOf(plan);
    const peer = pinned ?? (balanced ? undefined : source.peer);
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
    const { clock } = this.options.deadlines;
    const since = clock.now();
    try {
      return planner.pin()?.openPeer() ?? (await source.acquire(what, timeoutMs));
    } catch (error) {
      throw traced(callError(error, { target: what, where: source.where, since, clock }));
    }
  }

  /** Measures the round trip to the server, in milliseconds. */
  ping(): Promise<number> {
    const { planner, source, deadlines } = this.options;
    const { callTimeoutMs: timeoutMs } = planner;
    return this.acquire('ping').then((peer) =>
      ping(peer, { target: 'ping', timeoutMs, where: peer.where ?? source.where }, deadlines.clock),
    );
  }

  /** Sends an event as soon as there is a connection. */
  async emit(packet: ReadPacket): Promise<void> {
    const { planner, source, deadlines } = this.options;
    const { clock } = deadlines;
    const plan = planner.plan(packet, undefined);
    if (!isObserved(clientCall, source.balanced !== undefined)) return this.#emit(packet, plan);
    return observed({ kind: 'event', plan, where: source.where, clock }, async (it, operation) => {
      try {
        await this.#emit(packet, it, operation);
      } catch (error) {
        operation.finish(clock.now(), error);
        throw error;
      }
      operation.finish(clock.now(), undefined);
    });
  }

  async #emit(packet: ReadPacket, plan: CallPlan, operation?: MadeOperation): Promise<void> {
    const { source, codec } = this.options;
    const { route, header, session, timeoutMs } = plan;
    const { clock } = this.options.deadlines;
    const since = clock.now();
    let started: StartedCall | undefined;
    let peer: ClientPeer | undefined;
    try {
      const bodies = codec();
      const balanced = this.#balancedOf(plan);
      peer = session?.openPeer() ?? (balanced ? undefined : source.peer);
      let body = packet.data as unknown;
      // what is not sent at once is sent as it is now
      if (bodies) body = await bodies.encode(copied(packet));
      else if (!peer) body = source.hold(body);
      if (balanced) {
        const event = new PlannedEvent(
          plan,
          packet.data,
          source.hold(body),
          timeLeft(timeoutMs, since, clock),
          { operation },
        );
        return await new Promise<void>((resolve, reject) => {
          started = balanced.event(event, { resolve: () => resolve(), reject });
        });
      }
      peer ??= await source.acquire(route.target, timeoutMs, body);
      await peer.emit({
        target: route.target,
        header,
        body,
        timeoutMs,
        leftMs: timeLeft(timeoutMs, since, clock),
        where: peer.where ?? source.where,
        pinned: session !== undefined,
      });
    } catch (error) {
      const where = started?.where ?? peer?.where ?? source.where;
      throw callError(error, { target: route.target, where, since, clock });
    } finally {
      if (operation) operation.whereabouts = { server: started?.where ?? peer?.where ?? source.where };
    }
  }

  /** Sends a call that must wait for a connection, or for a serializer of Nest, which may be asynchronous. */
  async #sendLater<T>(
    plan: CallPlan,
    packet: ReadPacket,
    bodies: ClientCodec | undefined,
    attempt: Attempt<T>,
  ): Promise<void> {
    const { source } = this.options;
    const { clock } = this.options.deadlines;
    const { route, session, timeoutMs } = plan;
    try {
      const started = (attempt.since = clock.now());
      let body = packet.data as unknown;
      if (bodies) {
        this.#limit(attempt, plan, started);
        body = await bodies.encode(copied(packet));
        const { decode } = bodies as { decode: typeof attempt.decode };
        const context = captureContext();
        attempt.decode = decode && ((answer) => context.runInAsyncScope(decode, undefined, answer));
      } else body = source.hold(body);
      const pinned = session?.openPeer();
      const balanced = this.#balancedOf(plan);
      if (balanced && attempt.over) return;
      if (balanced)
        return this.#sendBalanced(balanced, plan, body, timeLeft(timeoutMs, started, clock), attempt);
      const peer = pinned ?? (await source.acquire(route.target, timeoutMs, body));
      if (attempt.over) return;
      this.#sendTo(peer, plan, body, timeLeft(timeoutMs, started, clock), attempt);
    } catch (error) {
      attempt.reject(error);
    }
  }

  /** What spreads calls over several servers; those of a session go through its own. */
  #balancedOf({ session }: CallPlan): BalancedCalls | undefined {
    return session ? session.balanced : this.options.source.balanced;
  }

  #sendTo<T>(
    peer: ClientPeer,
    plan: CallPlan,
    body: unknown,
    leftMs: number | undefined,
    attempt: Attempt<T>,
  ): void {
    const headers = headersFor(plan, peer, attempt.stream !== undefined);
    if (peer.where !== undefined) attempt.where = peer.where;
    const request = new PlannedRequest(plan, headers, body, leftMs, attempt.where);
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
      call = new PlannedCall(plan, body, this.options.source.hold(body), leftMs, {
        operation: attempt.operation,
        acceptsStream: attempt.stream !== undefined,
      });
    } catch (error) {
      return attempt.reject(error);
    }
    attempt.pending = balanced.call(call, attempt);
  }

  /** Serializer and deserializer may hang: the time limit of the call covers them, too. */
  #limit<T>(attempt: Attempt<T>, plan: CallPlan, started: number): void {
    const { deadlines } = this.options;
    const limit = new TimeLimit(() => attempt.timeOut(timingOf(plan, attempt.server)));
    deadlines.add(limit, plan.timeoutMs - (deadlines.clock.now() - started));
    attempt.whenOver(() => deadlines.remove(limit));
  }
}

/** With a copy of the body: a serializer may be asynchronous, and may return what it got. */
function copied(packet: ReadPacket): ReadPacket {
  return { ...packet, data: copyOfBody(packet.data) };
}
