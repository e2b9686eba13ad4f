import type { EventHandler, VirtualTime } from '../time/virtual-time.js';
import type { Outcome } from './outcome.js';
import type { SimCall } from './sim-call.js';
import type { SimEndpoint } from './sim-endpoint.js';

const ARRIVES = 0;
const IS_SERVED = 1;
const IS_ANSWERED = 2;

/** One try of a call at one server, on its way there, in the server and back. */
export class Attempt implements EventHandler {
  /** Nobody waits for it any more: it has its outcome, or was given up. */
  isOver = false;
  /** It decides whether its server is no longer ejected. */
  isProbe = false;
  /** The server works on it, rather than waits for something. */
  isOnCore = false;
  /** How it ends, if it takes a time that its server sets, without a core. */
  held: Outcome | undefined;
  /** The process that works on it. */
  process = 0;
  /** Its place among those in flight at its client. */
  place = 0;
  /** The connection that carries it. */
  readonly connection: number;
  /** In milliseconds. */
  readonly startedAt: number;
  #outcome: Outcome = 'answered';

  constructor(
    readonly call: SimCall,
    readonly endpoint: SimEndpoint,
    private readonly time: VirtualTime,
  ) {
    this.connection = endpoint.connection;
    this.startedAt = time.now();
  }

  send(delayUs: number): void {
    this.time.at(this.time.nowUs + delayUs, this, ARRIVES);
  }

  /** The server is done with it after so long. */
  serve(us: number): void {
    this.time.at(this.time.nowUs + us, this, IS_SERVED);
  }

  answer(outcome: Outcome, delayUs: number): void {
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
