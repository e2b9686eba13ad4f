/* oxlint-disable typescript/unbound-method -- an outcome is made of functions */
import type { WritePacket } from '@nestjs/microservices';
import { map, Observable, type Observer } from 'rxjs';
import { captureContext } from '../../../rpc/context/async-context.js';
import type { Outcome } from './client-attempt.js';
import { RapChannel } from '../../streams/rap-channel.js';
import type { StreamView } from '../../streams/rap-stream.js';

/** Delivers the outcome in the async context of the running code, whatever connection or timer it comes from. */
export function inThisContext<T>(outcome: Outcome<T>): Outcome<T> {
  const context = captureContext();
  const { stream } = outcome;
  return {
    resolve: (value) => context.runInAsyncScope(outcome.resolve, outcome, value),
    reject: (error) => context.runInAsyncScope(outcome.reject, outcome, error),
    stream: stream && ((channel) => context.runInAsyncScope(stream, undefined, channel)),
  };
}

/** The outcome of a call as values of an Observable. `view` converts what comes over a stream. */
export function outcomeFor<T>(observer: Observer<T>, view: StreamView<T>): Outcome<T> {
  return {
    resolve(value) {
      observer.next(value);
      observer.complete();
    },
    reject: (error) => observer.error(error),
    stream(channel) {
      const values = new RapChannel(channel).toObservable().pipe(map((value) => view.value(value)));
      values.subscribe({
        next: (value) => observer.next(value),
        error: (error) => observer.error(view.error(error)),
        complete: () => observer.complete(),
      });
    },
  };
}

/** The values of a call as packets of Nest: one for each, then one for the end. */
export function packetsFor(callback: (packet: WritePacket) => void): Observer<unknown> {
  return {
    next: (response) => callback({ response }),
    error: (err) => callback({ err }),
    complete: () => callback({ isDisposed: true }),
  };
}

/** The same Observable, but each subscriber is called in the async context in which it subscribed. */
export function inSubscribersContext<T>(source: Observable<T>): Observable<T> {
  return new Observable((observer) => {
    const context = captureContext();
    return source.subscribe({
      next: (value) => context.runInAsyncScope(() => observer.next(value)),
      error: (error) => context.runInAsyncScope(() => observer.error(error)),
      complete: () => context.runInAsyncScope(() => observer.complete()),
    });
  });
}
