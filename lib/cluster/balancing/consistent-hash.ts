import type { BalancerOptions, Candidate, PickedCall } from './balancer.js';
import type { ConsistentHashOption } from './consistent-hash-option.js';
import { HashSlots } from './hash-slots.js';
import { isPromise, Mistakes } from './mistakes.js';
import { P2c } from './p2c.js';
import { TieredBalancer } from './tiers.js';
import { type InFlightWatcher, watch } from './traffic.js';
import { WeightedDraw } from './weighted-draw.js';

/** Random servers that are looked at if the best ones of a key are full, before all are. */
const MAX_DRAWS = 16;
const KEY_IS_PROMISE = 'the key function of consistentHash() has returned a promise: it must not be async';

/**
 * Calls with the same key go to the same server, as long as its calls in flight are at most `boundedLoad` times its share of all; then
 * to the next in the key's own order (rendezvous hashing with bounded load). A key whose eight best servers are full is spread
 * over all that are not. Calls without a key are spread by `P2c`, and so is what is no call, such as a session.
 */
export class ConsistentHash<C extends Candidate = Candidate>
  extends TieredBalancer<C>
  implements InFlightWatcher
{
  readonly #slots = new HashSlots<C>();
  readonly #keyless: P2c<C>;
  readonly #mistakes: Mistakes;
  #draw: WeightedDraw<C> | undefined;
  #watched: readonly C[] = [];
  #weightSum = 0;
  #inFlight = 0;

  constructor(
    private readonly hashing: ConsistentHashOption,
    options: BalancerOptions,
  ) {
    super(options);
    this.#keyless = new P2c(options);
    this.#mistakes = new Mistakes(options);
  }

  inFlightChanged(_slot: number, change: number): void {
    this.#inFlight += change;
  }

  protected updated(): void {
    const { active, weights } = this;
    watch(this, this.#watched, active);
    this.#watched = active;
    this.#inFlight = active.reduce((sum, { traffic }) => sum + traffic.inFlight, 0);
    this.#weightSum = weights.reduce((sum, weight) => sum + weight, 0);
    this.#slots.update(active, weights);
    this.#draw = new WeightedDraw(active, weights, this.options.random);
    this.#keyless.update(active);
  }

  protected choose(call: PickedCall | undefined, avoid: ReadonlySet<C> | undefined): C | undefined {
    const key = call && this.#keyOf(call);
    if (key === undefined) return this.#withoutKey(call, avoid);
    const bound = (this.hashing.boundedLoad * (this.#inFlight + 1)) / this.#weightSum;
    const order = this.#slots.orderOf(key);
    for (let rank = 0; ; rank += 1) {
      const member = this.#slots.at(order, rank);
      if (member === undefined) return this.#spread(bound, avoid);
      if (avoid?.has(member.candidate)) continue;
      if (hasRoom(member.candidate, member.weight, bound)) return member.candidate;
    }
  }

  #withoutKey(call: PickedCall | undefined, avoid: ReadonlySet<C> | undefined): C | undefined {
    const candidate = this.#keyless.pick(call, avoid);
    return candidate !== undefined && avoid?.has(candidate) ? undefined : candidate;
  }

  /** Any with room: some have, as the bound is above the mean. */
  #spread(bound: number, avoid: ReadonlySet<C> | undefined): C | undefined {
    const { active, weights } = this;
    for (let i = 0; i < MAX_DRAWS; i += 1) {
      const index = (this.#draw as WeightedDraw<C>).draw(avoid);
      const candidate = active[index];
      if (candidate === undefined) return undefined;
      if (hasRoom(candidate, weights[index] as number, bound)) return candidate;
    }
    return this.#leastLoaded(avoid);
  }

  #leastLoaded(avoid: ReadonlySet<C> | undefined): C | undefined {
    let least: C | undefined;
    let leastLoad = Infinity;
    this.active.forEach((candidate, index) => {
      const load = (candidate.traffic.inFlight + 1) / (this.weights[index] as number);
      if (load >= leastLoad || avoid?.has(candidate)) return;
      least = candidate;
      leastLoad = load;
    });
    return least;
  }

  /** Numbers count as their text, so that all clients agree; anything else is no key. */
  #keyOf(call: PickedCall): string | undefined {
    let key: unknown;
    try {
      key = this.hashing.keyOf(call);
    } catch (error) {
      this.#mistakes.tell('the key function of consistentHash() has thrown', error);
    }
    if (typeof key === 'string') return key;
    if (typeof key === 'number' || typeof key === 'bigint' || typeof key === 'boolean') return `${key}`;
    if (isPromise(key)) this.#mistakes.tell(KEY_IS_PROMISE);
    return undefined;
  }
}

function hasRoom({ traffic }: Candidate, weight: number, bound: number): boolean {
  return traffic.inFlight < Math.ceil(bound * weight);
}
