import { isObservable, type Observable } from 'rxjs';
import type { ItemLink } from './item-link.js';
import { pumpObservable } from './observable-source.js';
import { isStream, pumpIterable, type StreamSink } from './stream-source.js';

/** The result of a handler that may answer with several values: an Observable, or a stream. */
export type Values = Observable<unknown> | AsyncIterable<unknown> | Iterable<unknown>;

export function isValues(value: unknown): value is Values {
  return isObservable(value) || isStream(value);
}

/** Writes values to their end. @throws the error of the source */
export function pump(values: Values, sink: StreamSink, link?: ItemLink): Promise<void> {
  return isObservable(values) ? pumpObservable(values, sink, link) : pumpIterable(values, sink);
}
