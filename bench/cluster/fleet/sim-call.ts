import type { PickedCall } from '../../../lib/cluster/balancing/balancer.js';
import type { Attempt } from './attempt.js';
import type { SimClient } from './sim-client.js';
import type { SimEndpoint } from './sim-endpoint.js';

const NO_HEADER: PickedCall['header'] = Object.freeze({});

/** A call of a client, over all its attempts. */
export class SimCall implements PickedCall {
  readonly header = NO_HEADER;
  /** It needs nothing more: an outcome, or the other one of two attempts that run at once. */
  isOver = false;
  /** The other one of two attempts that run at once. */
  twin: SimCall | undefined;
  /** Attempts that may have run. */
  ran = 0;
  /** Attempts that have not run, and went on elsewhere. */
  moves = 0;
  /** The attempt in flight. */
  attempt: Attempt | undefined;
  /** The servers that it has tried. */
  tried: Set<SimEndpoint> | undefined;

  constructor(
    readonly client: SimClient,
    readonly target: string,
    readonly startedUs: number,
    /** Its work, as a multiple of the mean. */
    readonly demand: number,
    /** The key by which it may be hashed. */
    readonly body: number | undefined,
  ) {}

  /** It has its outcome. */
  get isSettled(): boolean {
    return this.isOver && (this.twin === undefined || this.twin.isOver);
  }
}
