import type { Balancer } from '../../../lib/cluster/balancing/balancer.js';
import { Ejector } from '../../../lib/cluster/failures/ejection.js';
import { ejectOptions, retryOptions } from '../../../lib/cluster/failures/failure-options.js';
import { type Usability, usableServers } from '../../../lib/cluster/failures/panic.js';
import { mayRepeat, type NextAttempt, repeatDelayMs } from '../../../lib/cluster/failures/retry-policy.js';
import type { Fault } from '../../../lib/protocol/fault.js';
import type { Ending } from '../../../lib/cluster/backoff.js';
import { SOON } from '../../../lib/cluster/search.js';
import { RetryBudget } from '../../../lib/cluster/failures/retry-budget.js';
import { verdictOf } from '../../../lib/cluster/failures/classify.js';
import { Attempt } from './attempt.js';
import type { Fleet } from './fleet.js';
import { FAULTS, type Outcome } from './outcome.js';
import type { SimCall } from './sim-call.js';
import { SimEndpoint } from './sim-endpoint.js';
import { SimHedges } from './sim-hedges.js';
import type { SimServer } from './sim-server.js';

const EJECT = ejectOptions(undefined) as NonNullable<ReturnType<typeof ejectOptions>>;
const RETRY = retryOptions(undefined) as NonNullable<ReturnType<typeof retryOptions>>;

/** A client over a fleet: what the real one does for each call, with connections that are only numbers. */
export class SimClient {
  readonly #endpoints = new Map<SimServer, SimEndpoint>();
  readonly #ejector: Ejector<SimEndpoint>;
  readonly #budget: RetryBudget;
  /** Ejected servers whose time is over. */
  #probeable: SimEndpoint[] = [];
  /** Calls that wait for any server. */
  #waiting: SimCall[] = [];
  /** Those in flight; each knows its place. */
  readonly #attempts: Attempt[] = [];
  readonly #hedges: SimHedges | undefined;
  /** The balancer has yet to learn which servers can be used: many may change before the next call. */
  #isStale = false;

  constructor(
    readonly fleet: Fleet,
    private readonly balancer: Balancer<SimEndpoint>,
  ) {
    const { time, random } = fleet;
    const now = (): number => time.now();
    this.#budget = new RetryBudget(RETRY.budget, now);
    this.#hedges = fleet.options.hedge ? new SimHedges(this, this.#budget) : undefined;
    this.#ejector = new Ejector({
      now,
      random: random.next,
      options: EJECT,
      onEject: (endpoint, _reason, untilMs) => this.#onEject(endpoint, untilMs),
      onReturn: () => (this.#isStale = true),
    });
  }

  // --- servers ------------------------------------------------------------------------------------------------

  /** The servers that it uses from now on. */
  use(servers: readonly SimServer[], areConnected: boolean): void {
    const added: SimEndpoint[] = [];
    for (const server of servers) {
      if (this.#endpoints.has(server)) continue;
      const endpoint = new SimEndpoint(this, server, server.options.weight);
      this.#endpoints.set(server, endpoint);
      this.#ejector.add(endpoint);
      added.push(endpoint);
    }
    const listed = new Set(servers);
    for (const [server, endpoint] of this.#endpoints) {
      if (listed.has(server)) continue;
      this.#endpoints.delete(server);
      this.#ejector.remove(endpoint);
      endpoint.leave();
    }
    for (const endpoint of added) {
      if (areConnected) endpoint.openAtOnce();
      else endpoint.connect();
    }
    this.#isStale = true;
  }

  /** Whether another server takes calls. */
  hasReadyBeside(endpoint: SimEndpoint): boolean {
    for (const each of this.#endpoints.values()) if (each !== endpoint && each.state === 'ready') return true;
    return false;
  }

  /** How long the next attempt to connect may wait. */
  patienceFor(endpoint: SimEndpoint): Pick<Ending, 'hasOthers' | 'isOutage' | 'isOneOfMany'> {
    const isOutage = !this.hasReadyBeside(endpoint);
    const hasOthers = this.fleet.search.mayWait(endpoint, this.#endpoints.values(), !isOutage);
    return { hasOthers, isOutage, isOneOfMany: this.#endpoints.size > SOON };
  }

  onReady(): void {
    this.fleet.measures.connected();
    this.#isStale = true;
    const calls = this.#waiting;
    this.#waiting = [];
    for (const call of calls) if (!call.isOver) this.attempt(call);
  }

  onGone(endpoint: SimEndpoint): void {
    this.#isStale = true;
    if (!this.hasReadyBeside(endpoint)) this.fleet.search.lostAll(this.#endpoints.values());
  }

  onSuspect(): void {
    this.#isStale = true;
  }

  onLost(endpoint: SimEndpoint, connection: number): void {
    const lost = this.#attempts.filter(
      (attempt) => attempt.endpoint === endpoint && attempt.connection === connection,
    );
    // the end of one may end its twin
    for (const attempt of lost) if (!attempt.isOver) this.settled(attempt, 'lost');
  }

  #onEject(endpoint: SimEndpoint, untilMs: number): void {
    const { time, measures } = this.fleet;
    measures.ejections += 1;
    time.after(untilMs - time.now(), () => this.#probeable.push(endpoint));
    this.#isStale = true;
  }

  #update(): void {
    this.#isStale = false;
    this.balancer.update(usableServers([...this.#endpoints.values()], this.#usabilityOf));
  }

  readonly #usabilityOf = (endpoint: SimEndpoint): Usability => {
    if (endpoint.state === 'draining' || endpoint.state === 'gone') return 'gone';
    if (endpoint.state !== 'ready') return 'closed';
    return endpoint.isSuspect || this.#ejector.isEjected(endpoint) ? 'unhealthy' : 'healthy';
  };

  // --- calls --------------------------------------------------------------------------------------------------

  call(call: SimCall): void {
    this.fleet.deadlines.add(call);
    this.#budget.called();
    this.attempt(call);
    this.#hedges?.began(call);
  }

  /** Sends the call to a server, or lets it wait for one. */
  attempt(call: SimCall): void {
    if (this.#isStale) this.#update();
    const probed = this.#probeable.length > 0 ? this.#nextProbe(call) : undefined;
    const endpoint = probed ?? this.balancer.pick(call, call.tried);
    if (!endpoint) return void this.#waiting.push(call);
    const attempt = new Attempt(call, endpoint, this.fleet.time);
    attempt.isProbe = probed !== undefined;
    call.attempt = attempt;
    this.fleet.measures.attempted(call, endpoint.server);
    attempt.place = this.#attempts.push(attempt) - 1;
    endpoint.send(attempt);
  }

  /** An ejected server that the call is to probe. */
  #nextProbe(call: SimCall): SimEndpoint | undefined {
    this.#probeable = this.#probeable.filter((endpoint) => this.#ejector.isEjected(endpoint));
    return this.#probeable.find(
      (endpoint) => endpoint.state === 'ready' && !call.tried?.has(endpoint) && this.#ejector.probe(endpoint),
    );
  }

  /** An attempt has its outcome. */
  settled(attempt: Attempt, outcome: Outcome): void {
    const { call } = attempt;
    this.#end(attempt, outcome);
    if (call.isOver) return;
    if (outcome === 'answered' || !this.#mayRepeat(call, FAULTS[outcome])) return this.#finish(call, outcome);
    const isSameServer = call.tried?.has(attempt.endpoint) ?? false;
    call.tried ??= new Set();
    call.tried.add(attempt.endpoint);
    const delayMs = this.#delayMs(call, isSameServer);
    if (delayMs === 0) this.attempt(call);
    else this.fleet.time.after(delayMs, () => call.isOver || this.attempt(call));
  }

  #mayRepeat(call: SimCall, fault: Fault): boolean {
    const mayHaveRun = fault.sent !== 'no';
    if (mayHaveRun) call.ran += 1;
    const repeat = mayRepeat(
      {
        fault,
        idempotent: this.fleet.options.traffic.isIdempotent,
        attempts: call.ran,
        maxAttempts: RETRY.maxAttempts,
        moves: call.moves,
        servers: this.#endpoints.size,
        remainingMs: this.#remainingMs(call),
      },
      this.#budget,
    );
    if (repeat === 'move') call.moves += 1;
    return repeat !== 'no';
  }

  /** How long it waits before the next attempt. */
  #delayMs(call: SimCall, isSameServer: boolean): number {
    const next: NextAttempt = {
      isSameServer,
      attempts: call.ran + call.moves,
      remainingMs: this.#remainingMs(call),
      baseDelayMs: RETRY.baseDelayMs,
      maxDelayMs: RETRY.maxDelayMs,
    };
    return repeatDelayMs(next, this.fleet.random.next);
  }

  #remainingMs(call: SimCall): number {
    const { time, options } = this.fleet;
    return call.startedUs / 1_000 + options.traffic.timeoutMs - time.now();
  }

  #end(attempt: Attempt, outcome: Outcome): void {
    const { endpoint, startedAt } = attempt;
    this.#forget(attempt);
    const verdict = outcome === 'answered' ? 'answered' : verdictOf(FAULTS[outcome]);
    endpoint.traffic.end(this.fleet.time.now(), startedAt, verdict === 'refused' ? 'failed' : verdict);
    if (attempt.isProbe) this.#ejector.probed(endpoint, verdict);
    else if (outcome === 'answered') this.#ejector.record(endpoint, verdict, startedAt);
    else this.#ejector.recordFault(endpoint, FAULTS[outcome], startedAt);
  }

  #forget(attempt: Attempt): void {
    attempt.isOver = true;
    const last = this.#attempts.pop() as Attempt;
    if (last === attempt) return;
    this.#attempts[attempt.place] = last;
    last.place = attempt.place;
  }

  #finish(call: SimCall, outcome: Outcome): void {
    call.isOver = true;
    if (outcome === 'answered') this.#hedges?.answered(call);
    // the other attempt goes on, or is no longer needed
    else if (!call.isSettled) return;
    if (call.twin) this.#cancel(call.twin);
    this.fleet.measures.ended(call, outcome);
  }

  #cancel(call: SimCall): void {
    const { attempt } = call;
    call.isOver = true;
    if (!attempt || attempt.isOver) return;
    this.#forget(attempt);
    attempt.endpoint.traffic.end(this.fleet.time.now(), attempt.startedAt, 'abandoned');
    if (attempt.isProbe) this.#ejector.probed(attempt.endpoint, 'ignored');
  }

  /** The time of a call is over. */
  expired(call: SimCall): void {
    this.#expire(call);
    if (call.twin) this.#expire(call.twin);
    this.fleet.measures.ended(call, 'expired');
  }

  #expire(call: SimCall): void {
    const { attempt } = call;
    call.isOver = true;
    if (attempt && !attempt.isOver) this.#end(attempt, 'expired');
  }
}
