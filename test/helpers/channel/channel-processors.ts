import { LifeCycle } from '../../../lib/protocol/life-cycle.js';
import type { RapProcessor, RapRequest } from '../../../lib/pipeline/api.js';

/** How the processors of both sides work: there are none, they answer at once, or most of them when a step says so. */
export type Processing = 'none' | 'at once' | 'later';

/** Messages that processors work on until a test lets one of them go on, in any order. */
export class Delays {
  readonly #waiting: (() => void)[] = [];
  #count = 0;

  get size(): number {
    return this.#waiting.length;
  }

  /** One message in four is not delayed: the next must not overtake the last. */
  next(): Promise<void> | undefined {
    if (this.#count++ % 4 === 3) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Lets one message go on. */
  release(index: number): void {
    const [go] = this.#waiting.splice(index % Math.max(1, this.#waiting.length), 1);
    go?.();
  }
}

/** Wraps the body of each message that its side sends, and unwraps what comes in. A message without a wrapper fails. */
export class Sealing implements RapProcessor {
  constructor(
    private readonly side: 'client' | 'server',
    private readonly delays: Delays | undefined,
  ) {}

  processRequest(request: RapRequest): void | Promise<void> {
    return this.#process(request, this.side === 'client');
  }

  processResponse(response: RapRequest): void | Promise<void> {
    return this.#process(response, this.side === 'server');
  }

  #process(message: RapRequest, isOutgoing: boolean): void | Promise<void> {
    const delay = this.delays?.next();
    if (!delay) turn(message, isOutgoing);
    return delay?.then(() => turn(message, isOutgoing));
  }
}

function turn(message: RapRequest, isOutgoing: boolean): void {
  if (message.lifeCycle !== LifeCycle.Msg) return;
  if (isOutgoing) message.body = { sealed: message.body };
  else message.body = (message.body as { sealed: readonly [number] }).sealed;
}
