import { Logger } from '@nestjs/common';
import { AsyncSubject, type Observable } from 'rxjs';
import { systemClock } from '../rpc/clock.js';
import { TokenBucket } from '../rpc/token-bucket.js';
import { TooManyRequestsError, toRapError } from './errors.js';

const logger = new Logger('RapClient');

/** Lines of the log at once, and each second after. */
const BURST = 10;
const PER_SECOND = 1;

/** What becomes of the events of a client: an Observable for each, and the log for those that are lost. */
export class EmittedEvents {
  readonly #allowance = new TokenBucket(systemClock, BURST, PER_SECOND);
  #untold = 0;

  constructor(private readonly describe: (pattern: unknown) => string) {}

  /** Sends an event at once, whether or not anybody subscribes. `toError` makes the error that subscribers see. */
  send<T>(
    pattern: unknown,
    dispatch: () => Promise<unknown>,
    toError: (error: unknown) => unknown,
  ): Observable<T> {
    const done = new AsyncSubject<T>();
    dispatch().then(
      () => {
        done.next(undefined as T);
        done.complete();
      },
      (error: unknown) => {
        const shown = toRapError(error);
        this.#lost(pattern, shown, done.observed);
        done.error(toError(shown));
      },
    );
    return done.asObservable();
  }

  /** Subscribers hear of it themselves; a refusal is logged all the same, since it is a limit that was met. */
  #lost(pattern: unknown, error: unknown, isObserved: boolean): void {
    if (isObserved && !(error instanceof TooManyRequestsError)) return;
    if (!this.#allowance.take()) {
      this.#untold += 1;
      return;
    }
    const more = this.#untold > 0 ? `; ${this.#untold} more since the last line` : '';
    this.#untold = 0;
    try {
      const why = error instanceof Error ? error.message : String(error);
      logger.warn(`the event ${this.describe(pattern)} was lost: ${why}${more}`);
    } catch {
      // what was thrown cannot even be logged
    }
  }
}
