import type { BalancerOptions, Candidate, PickedCall } from './balancer.js';
import { Mistakes } from './mistakes.js';
import { P2c } from './p2c.js';
import { TieredBalancer } from './tiers.js';

/**
 * Picks the server of a call: one of those given, which are all that the call has not tried. If it throws or returns anything else,
 * `p2c` picks, and the client tells of it once. For what is no call, such as a session, `p2c` picks at once.
 */
export type PickFunction = (servers: readonly Candidate[], call: PickedCall) => Candidate | undefined;

const FAILED = Symbol('failed');
const RETURNED_NOTHING = 'the balancer function has returned undefined';
const RETURNED_OTHER = 'the balancer function has returned something that is none of the servers it may pick';

/** Asks a function of the user. */
export class FunctionBalancer<C extends Candidate = Candidate> extends TieredBalancer<C> {
  readonly #fallback: P2c<C>;
  readonly #mistakes: Mistakes;
  #members: ReadonlySet<unknown> = new Set();

  constructor(
    private readonly ask: PickFunction,
    options: BalancerOptions,
  ) {
    super(options);
    this.#fallback = new P2c(options);
    this.#mistakes = new Mistakes(options);
  }

  protected updated(): void {
    this.#members = new Set(this.active);
    Object.freeze(this.active); // a function that sorts them would sort them for the next call, too
    this.#fallback.update(this.active);
  }

  protected choose(call: PickedCall | undefined, avoid: ReadonlySet<C> | undefined): C | undefined {
    return call ? this.#askedFor(call, avoid) : this.#fallback.pick(call, avoid);
  }

  #askedFor(call: PickedCall, avoid: ReadonlySet<C> | undefined): C | undefined {
    const { active } = this;
    const untried = avoid ? Object.freeze(active.filter((candidate) => !avoid.has(candidate))) : active;
    if (untried.length === 0) return undefined;
    const picked = this.#asked(untried, call);
    if (this.#members.has(picked) && !avoid?.has(picked as C)) return picked as C;
    if (picked !== FAILED) this.#mistakes.tell(picked === undefined ? RETURNED_NOTHING : RETURNED_OTHER);
    return this.#fallback.pick(call, avoid);
  }

  #asked(untried: readonly C[], call: PickedCall): unknown {
    try {
      return this.ask(untried, call);
    } catch (error) {
      this.#mistakes.tell('the balancer function has thrown', error);
      return FAILED;
    }
  }
}
