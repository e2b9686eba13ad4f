import type { Balancer, PickedCall } from './balancing/balancer.js';
import type { Endpoint } from './endpoint.js';

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
    const ready: Endpoint[] = [];
    const open: Endpoint[] = [];
    const due: Endpoint[] = [];
    let count = 0;
    for (const endpoint of endpoints) {
      if (endpoint.state === 'draining' || endpoint.state === 'gone') continue;
      count += 1;
      if (endpoint.isProbeDue) due.push(endpoint);
      if (endpoint.state === 'ready') ready.push(endpoint);
      if (endpoint.isOpen) open.push(endpoint);
    }
    this.#due = due;
    // too few healthy ones would break under the load of all: then doubtful ones serve, too
    const next = ready.length * 2 < count ? open : ready;
    if (!isReweighted && isSame(next, this.#candidates)) return;
    this.#candidates = next;
    this.balancer.update(next);
  }

  /** The server for a call; `undefined` if none takes calls. It is a probe if the server is ejected and its probe due. */
  pick(call: PickedCall, avoid: ReadonlySet<Endpoint> | undefined): Endpoint | undefined {
    if (this.#due.length > 0) {
      const due = this.#due.find((each) => each.isProbeDue && avoid?.has(each) !== true);
      if (due) return due;
    }
    return this.balancer.pick(call, avoid);
  }

  /** The same for what cannot be a probe, as it has no outcome: a channel. */
  pickUnprobed(call: PickedCall, avoid: ReadonlySet<Endpoint> | undefined): Endpoint | undefined {
    return this.balancer.pick(call, avoid);
  }
}

function isSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((each, i) => each === b[i]);
}
