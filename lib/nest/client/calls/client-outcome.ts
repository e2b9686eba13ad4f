/* oxlint-disable typescript/unbound-method -- a function that runs in a context is called on its object */
import type { WritePacket } from '@nestjs/microservices';
import { map, Observable, type Observer } from 'rxjs';
import type { Channel } from '../../../rpc/channel/channel.js';
import { type CapturedContext, captureContext } from '../../../rpc/context/async-context.js';
import type { Outcome } from './client-attempt.js';
import { RapChannel } from '../../streams/rap-channel.js';
import type { StreamView } from '../../streams/rap-stream.js';

/** Delivers the outcome in the async context of the running code, whatever connection or timer it comes from. */
export function inThisContext<T>(outcome: Outcome<T>): Outcome<T> {
  return new ScopedOutcome(outcome, captureContext());
}

class ScopedOutcome<T> implements Outcome<T> {
  readonly stream: Outcome<T>['stream'];

  constructor(
    private readonly outcome: Outcome<T>,
    private readonly context: CapturedContext,
  ) {
    const { stream } = outcome;
    this.stream = stream && ((channel) => context.runInAsyncScope(stream, outcome, channel));
  }

  resolve(value: T): void {
    this.context.runInAsyncScope(this.outcome.resolve, this.outcome, value);
  }

  reject(error: unknown): void {
    this.context.runInAsyncScope(this.outcome.reject, this.outcome, error);
  }
}

/** The outcome of a call as values of an Observable. `view` converts what comes over a stream. */
export class ObserverOutcome<T> implements Outcome<T> {
  constructor(
    private readonly observer: Observer<T>,
    private readonly view: StreamView<T>,
  ) {}

  resolve(value: T): void {
    this.observer.next(value);
    this.observer.complete();
  }

  reject(error: unknown): void {
    this.observer.error(error);
  }

  stream(channel: Channel): void {
    const { observer, view } = this;
    const values = new RapChannel(channel).toObservable().pipe(map((value) => view.value(value)));
    values.subscribe({
      next: (value) => observer.next(value),
      error: (error) => observer.error(view.error(error)),
      complete: () => observer.complete(),
    });
  }
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
