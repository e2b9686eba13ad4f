import type { Balancer, Candidate, PickedCall } from '../../../lib/cluster/balancing/balancer.js';
import { Traffic } from '../../../lib/cluster/balancing/traffic.js';
import type { LoadReport } from '../../../lib/rpc/connection/load-report.js';

export const CALL: PickedCall = { target: '/default/sum', header: {}, body: undefined };

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function seeded(seed = 1): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function server(index: number, weight = 1): Candidate {
  return { address: `10.0.${index >> 8}.${index & 255}:9000`, weight, traffic: new Traffic() };
}

export function servers(weights: readonly number[]): Candidate[] {
  return weights.map((weight, index) => server(index, weight));
}

export function equalServers(count: number): Candidate[] {
  return servers(Array.from({ length: count }, () => 1));
}

export function loadReport(report: Partial<LoadReport>): LoadReport {
  return {
    inFlight: undefined,
    latencyMs: undefined,
    loopDelayMs: undefined,
    refused: undefined,
    mos: undefined,
    ...report,
  };
}

/** How often each server is picked, in their order. */
export function shares(
  balancer: Balancer,
  of: readonly Candidate[],
  picks: number,
  callOf: (index: number) => PickedCall = () => CALL,
  avoid?: ReadonlySet<Candidate>,
): number[] {
  const counts = new Map<Candidate | undefined, number>();
  for (let i = 0; i < picks; i += 1) {
    const picked = balancer.pick(callOf(i), avoid);
    counts.set(picked, (counts.get(picked) ?? 0) + 1);
  }
  return of.map((candidate) => (counts.get(candidate) ?? 0) / picks);
}

/** A clock that is set by hand. */
export class Now {
  ms = 0;
  readonly now = (): number => this.ms;
}

/** Calls that run at simulated servers: each is picked, begins, and ends after its time. */
export class Workload {
  readonly #ends: { at: number; startedAt: number; on: Candidate; failed: boolean }[] = [];
  readonly picks = new Map<Candidate, number>();

  constructor(
    private readonly balancer: Balancer,
    private readonly time: Now,
    private readonly timeOf: (on: Candidate) => number,
    private readonly fails: (on: Candidate) => boolean = () => false,
  ) {}

  /** One call each `everyMs`, for so long. */
  run(forMs: number, everyMs: number, afterEach?: () => void): void {
    const until = this.time.ms + forMs;
    for (let next = this.time.ms + everyMs; next <= until; next += everyMs) {
      this.#settle(next);
      this.time.ms = next;
      this.start();
      afterEach?.();
    }
  }

  start(): void {
    const on = this.balancer.pick(CALL);
    if (!on) throw new Error('nobody was picked');
    const { ms } = this.time;
    on.traffic.begin(ms);
    this.picks.set(on, (this.picks.get(on) ?? 0) + 1);
    this.#ends.push({ at: ms + this.timeOf(on), startedAt: ms, on, failed: this.fails(on) });
  }

  #settle(until: number): void {
    this.#ends.sort((a, b) => a.at - b.at);
    while (this.#ends.length > 0 && this.#ends[0]!.at <= until) {
      const { at, startedAt, on, failed } = this.#ends.shift()!;
      this.time.ms = at;
      on.traffic.end(at, startedAt, failed ? 'failed' : 'answered');
    }
  }
}
