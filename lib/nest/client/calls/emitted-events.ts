import { Logger } from '@nestjs/common';
import { AsyncSubject, type Observable } from 'rxjs';
import { textOf } from '../../../protocol/values/unknown.js';
import { peerLog } from '../../lifecycle/bounded-log.js';
import { TooManyRequestsError } from '../../errors/errors.js';
import { toRapError } from '../../errors/to-rap-error.js';

const logger = new Logger('RapClient');

/** Sends the events of a client: an Observable for each, and a log line for those that are lost. */
export class EmittedEvents {
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

  /** Subscribers get the error; a refusal is logged even so, since a limit was reached. */
  #lost(pattern: unknown, error: unknown, isObserved: boolean): void {
    if (isObserved && !(error instanceof TooManyRequestsError)) return;
    peerLog.write(
      (line) => logger.warn(line),
      () => {
        return `the event ${this.describe(pattern)} was lost: ${textOf(error)}`;
      },
    );
  }
}
