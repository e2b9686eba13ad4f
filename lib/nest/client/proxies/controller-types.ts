import type { Observable } from 'rxjs';
import type { ChannelOptions } from '../calls/rap-session.js';
import type { RapChannel } from '../../streams/rap-channel.js';
import type { RapContext } from '../../handlers/rap-context.js';
import type { RapIterable } from '../../streams/rap-stream.js';
import type { CallParameters } from './service-types.js';

type IsAny<T> = 0 extends 1 & T ? true : false;

/** The payload: the first parameter of a method, unless that is the context. */
type PayloadOf<M> = M extends (...args: infer A) => unknown
  ? A extends []
    ? void
    : IsAny<A[0]> extends true
      ? A[0]
      : A extends [RapContext?]
        ? void
        : A[0]
  : never;
type ResultOf<M> = M extends (...args: never[]) => infer R ? Awaited<R> : never;
/** `any` may be a stream or a value, and counts as a value. */
type ItemOf<R> =
  IsAny<R> extends true
    ? never
    : R extends AsyncIterable<infer I> | IterableIterator<infer I> | Observable<infer I>
      ? I
      : never;
type IsNever<T> = [T] extends [never] ? true : false;

type CallOf<M> =
  IsNever<ItemOf<ResultOf<M>>> extends true
    ? (...args: CallParameters<PayloadOf<M>>) => Promise<ResultOf<M>>
    : (...args: CallParameters<PayloadOf<M>>) => RapIterable<ItemOf<ResultOf<M>>>;

type UploadOf<Item, M> = (
  items: AsyncIterable<Item> | Iterable<Item>,
  options?: ChannelOptions,
) => Promise<ResultOf<M> extends Observable<infer R> ? R : ResultOf<M>>;

type CallerOf<M> =
  IsAny<PayloadOf<M>> extends true
    ? CallOf<M>
    : PayloadOf<M> extends RapChannel<infer In, infer Out>
      ? IsNever<Out> extends true
        ? UploadOf<In, M>
        : (options?: ChannelOptions) => Promise<RapChannel<Out, In>>
      : PayloadOf<M> extends AsyncIterable<infer Item>
        ? UploadOf<Item, M>
        : CallOf<M>;

/** What `client.controller(C)` returns: a function for each method of the class, without its context. */
export type RapControllerClient<T extends object> = {
  readonly [K in keyof T as T[K] extends (...args: never[]) => unknown ? K : never]: CallerOf<T[K]>;
};
