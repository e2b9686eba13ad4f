import { Expiring } from '../../rpc/time/deadline-queue.js';
import type { Incoming } from '../../rpc/server/incoming.js';
import { allowManyListeners, onAbort } from '../../rpc/context/listeners.js';
import { callTimeIsOver } from '../../rpc/time/own-timeout.js';
import type { HandlerTime } from '../handlers/rap-context.js';

/** Time limit of one of several handlers of a message. */
export class HandlerTimeLimit extends Expiring implements HandlerTime {
  readonly #controller = new AbortController();
  #unlisten: (() => void) | undefined;

  constructor(
    private readonly incoming: Incoming,
    ms: number,
  ) {
    super();
    allowManyListeners(this.signal);
    const { signal, deadlines } = incoming;
    const abort = (): void => this.#controller.abort(signal.reason);
    if (signal.aborted) abort();
    else {
      this.#unlisten = onAbort(signal, abort);
      deadlines.add(this, ms);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get timeLeftMs(): number | undefined {
    return this.incoming.deadlines.timeLeftMs(this) ?? this.incoming.timeLeftMs;
  }

  /** Aborts the signal of this handler; the others go on. */
  override expire(): void {
    this.end();
    this.#controller.abort(callTimeIsOver().fault);
  }

  /** The handler has ended. */
  end(): void {
    this.incoming.deadlines.remove(this);
    this.#unlisten?.();
  }
}
