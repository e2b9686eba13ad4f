import type { EventHandler, VirtualTime } from '../time/virtual-time.js';
import type { SimCall } from './sim-call.js';
import type { SimEndpoint } from './sim-endpoint.js';

/**
 * What a client gets of an attempt.
 *
 * - `answered`: the value
 * - `failed`: an error of the handler
 * - `refused`: the server did not begin it
 * - `lost`: the connection was lost meanwhile
 * - `expired`: no answer in time
 */
export type AttemptOutcome = 'answered' | 'failed' | 'refused' | 'lost' | 'expired';

const ARRIVES = 0;
const IS_SERVED = 1;
const IS_ANSWERED = 2;

/** One try of a call at one server, on its way there, in the server and back. */
export class Attempt implements EventHandler {
  /** Nobody waits for it any more: it has its outcome, or was given up. */
  isOver = false;
  readonly startedAt: number;
  /** The server works on it, rather than waits for something. */
  isOnCore = false;
  /** The life of the server that works on it. */
  life = 0;
  #outcome: AttemptOutcome = 'answered';

  constructor(
    readonly call: SimCall,
    readonly endpoint: SimEndpoint,
    /** The connection that carries it. */
    readonly connection: number,
    /** Its work, as a multiple of the mean. */
    readonly demand: number,
    private readonly time: VirtualTime,
  ) {
    this.startedAt = time.now();
  }

  send(delayUs: number): void {
    this.time.at(this.time.nowUs + delayUs, this, ARRIVES);
  }

  /** The server works on it for so long. */
  serve(us: number): void {
    this.time.at(this.time.nowUs + us, this, IS_SERVED);
  }

  answer(outcome: AttemptOutcome, delayUs: number): void {
    this.#outcome = outcome;
    this.time.at(this.time.nowUs + delayUs, this, IS_ANSWERED);
  }

  onEvent(stage: number): void {
    const { endpoint } = this;
    if (stage === ARRIVES) endpoint.server.arrive(this);
    else if (stage === IS_SERVED) endpoint.server.served(this);
    else endpoint.answered(this, this.#outcome);
  }
}
