import type { Balancer } from '../../../lib/cluster/balancing/balancer.js';
import { Attempt, type AttemptOutcome } from './attempt.js';
import type { Fleet } from './fleet.js';
import { NETWORK } from './network.js';
import type { SimCall } from './sim-call.js';
import { SimEndpoint } from './sim-endpoint.js';
import type { SimServer } from './sim-server.js';

/** A client over a fleet: what the real one does for each call, with connections that are only numbers. */
export class SimClient {
  readonly endpoints: readonly SimEndpoint[];
  /** Calls that wait for any server. */
  #waiting: SimCall[] = [];
  readonly #attempts = new Set<Attempt>();

  constructor(
    readonly fleet: Fleet,
    servers: readonly SimServer[],
    private readonly balancer: Balancer<SimEndpoint>,
  ) {
    this.endpoints = servers.map((server) => new SimEndpoint(this, server));
    for (const endpoint of this.endpoints) endpoint.openAtOnce();
    this.#update();
  }

  // --- calls --------------------------------------------------------------------------------------------------

  call(call: SimCall): void {
    this.fleet.deadlines.add(call);
    this.#try(call);
  }

  #try(call: SimCall): void {
    const endpoint = this.balancer.pick(call, call.tried);
    if (!endpoint) return void this.#waiting.push(call);
    const { time } = this.fleet;
    const attempt = new Attempt(call, endpoint, endpoint.connection, call.demand, time);
    call.attempts += 1;
    call.attempt = attempt;
    this.fleet.measures.attempted(call);
    endpoint.traffic.begin(attempt.startedAt);
    this.#attempts.add(attempt);
    attempt.send(NETWORK.oneWayUs);
  }

  /** An attempt has its outcome. */
  settled(attempt: Attempt, outcome: AttemptOutcome): void {
    const { call } = attempt;
    this.#end(attempt, outcome);
    if (call.isOver) return;
    if (outcome !== 'answered' && this.#mayRetry(call, outcome)) {
      call.tried ??= new Set();
      call.tried.add(attempt.endpoint);
      this.#try(call);
    } else this.#finish(call, outcome);
  }

  #end(attempt: Attempt, outcome: AttemptOutcome): void {
    attempt.isOver = true;
    this.#attempts.delete(attempt);
    const isFailure = outcome === 'failed' || outcome === 'lost' || outcome === 'expired';
    const traffic = isFailure ? 'failed' : outcome === 'answered' ? 'answered' : 'ignored';
    attempt.endpoint.traffic.end(this.fleet.time.now(), attempt.startedAt, traffic);
  }

  #mayRetry(call: SimCall, outcome: AttemptOutcome): boolean {
    if (call.attempts >= 3) return false;
    return outcome === 'refused' || this.fleet.options.traffic.isIdempotent;
  }

  #finish(call: SimCall, outcome: AttemptOutcome): void {
    call.isOver = true;
    this.fleet.measures.ended(call, outcome);
  }

  /** The time of a call is over. */
  expired(call: SimCall): void {
    if (call.attempt && !call.attempt.isOver) this.#end(call.attempt, 'expired');
    this.#finish(call, 'expired');
  }

  // --- servers ------------------------------------------------------------------------------------------------

  onReady(_endpoint: SimEndpoint): void {
    this.#update();
    const calls = this.#waiting;
    this.#waiting = [];
    for (const call of calls) if (!call.isOver) this.#try(call);
  }

  onGone(_endpoint: SimEndpoint): void {
    this.#update();
  }

  onLost(endpoint: SimEndpoint, connection: number): void {
    const lost = [...this.#attempts].filter(
      (attempt) => attempt.endpoint === endpoint && attempt.connection === connection,
    );
    for (const attempt of lost) this.settled(attempt, 'lost');
  }

  #update(): void {
    this.balancer.update(this.endpoints.filter(({ state }) => state === 'ready'));
  }
}
