import { hedgeOptions } from '../../../lib/cluster/failures/failure-options.js';
import { HedgePolicy, type HedgePolicyInit } from '../../../lib/cluster/failures/hedge-policy.js';
import { SimCall } from './sim-call.js';
import type { SimClient } from './sim-client.js';
import type { SimEndpoint } from './sim-endpoint.js';

const HEDGE = hedgeOptions({}) as NonNullable<ReturnType<typeof hedgeOptions>>;

/** What a client that hedges does beside its calls: a second attempt for those that take long, as `HedgedCall`. */
export class SimHedges {
  readonly #policy: HedgePolicy;

  constructor(
    private readonly client: SimClient,
    budget: HedgePolicyInit['budget'],
  ) {
    const { time } = client.fleet;
    this.#policy = new HedgePolicy({ options: HEDGE, budget, now: () => time.now() });
  }

  began(call: SimCall): void {
    this.#policy.called();
    const delayMs = this.#policy.delayFor(call.target);
    if (delayMs !== undefined) this.client.fleet.time.after(delayMs, () => this.#hedge(call));
  }

  answered(call: SimCall): void {
    this.#policy.answered(call.target, this.client.fleet.time.now() - call.startedUs / 1_000);
  }

  #hedge(call: SimCall): void {
    const endpoint = call.attempt?.endpoint;
    if (call.isOver || !endpoint || !this.client.hasReadyBeside(endpoint) || !this.#policy.take()) return;
    const twin = new SimCall(this.client, call.target, call.startedUs, call.demand, call.body);
    twin.tried = new Set<SimEndpoint>([endpoint]);
    twin.twin = call;
    call.twin = twin;
    this.client.fleet.measures.hedged(call);
    this.client.attempt(twin);
  }
}
