import type { Balancer, PickedCall } from './balancing/balancer.js';
import type { Endpoint } from './endpoint.js';
import { type Usability, usableServers } from './failures/panic.js';

/** The servers that calls are spread over now. */
export class Selection {
  #candidates: readonly Endpoint[] = [];
  /** Ejected servers whose probe is due. */
  #due: readonly Endpoint[] = [];

  constructor(private readonly balancer: Balancer<Endpoint>) {}

  /** Servers that calls go to. */
  get size(): number {
    return this.#candidates.length;
  }

  /** Whether there are servers beside these. */
  hasOthers(tried: ReadonlySet<Endpoint>): boolean {
    return this.#candidates.some((each) => !tried.has(each));
  }

  /** Chooses again among the servers: some have changed their state. */
  update(endpoints: Iterable<Endpoint>, isReweighted = false): void {
    const all = [...endpoints];
    this.#due = all.filter(({ isProbeDue }) => isProbeDue);
    const next = usableServers(all, usabilityOf);
    if (!isReweighted && isSame(next, this.#candidates)) return;
    this.#candidates = next;
    this.balancer.update(next);
  }

  /**
   * The server for a call; `undefined` if none takes calls. It is a probe if the server is ejected and its probe due.
   *
   * @param mayProbe false for what says nothing about its server
   */
  pick(
    call: PickedCall | undefined,
    avoid: ReadonlySet<Endpoint> | undefined,
    mayProbe: boolean,
  ): Endpoint | undefined {
    if (mayProbe && this.#due.length > 0) {
      const due = this.#due.find((each) => each.isProbeDue && avoid?.has(each) !== true);
      if (due) return due;
    }
    return this.balancer.pick(call, avoid);
  }
}

function usabilityOf({ state, isOpen }: Endpoint): Usability {
  if (state === 'draining' || state === 'gone') return 'gone';
  if (state === 'ready') return 'healthy';
  return isOpen ? 'unhealthy' : 'closed';
}

function isSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((each, i) => each === b[i]);
}
