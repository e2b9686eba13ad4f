import type { Observable } from 'rxjs';
import type { AnyRapMethod, RapServiceDefinition } from '../contract/contract.js';
import type { TypesOf } from '../contract/method-types.js';
import type { RapContext } from '../handlers/rap-context.js';
import type { RapChannel } from '../streams/rap-channel.js';

/** A result, synchronous or asynchronous. */
export type RapResult<T> = T | Promise<T> | Observable<T>;
/** What a handler may stream with. An array is a value, not a stream. */
export type RapStream<T> = AsyncIterable<T> | IterableIterator<T> | Observable<T>;

type HandlerOf<M extends AnyRapMethod> = {
  unary: (input: TypesOf<M>['received'], ctx: RapContext) => RapResult<TypesOf<M>['returned']>;
  serverStream: (
    input: TypesOf<M>['received'],
    ctx: RapContext,
  ) => RapStream<TypesOf<M>['returned']> | Promise<RapStream<TypesOf<M>['returned']>>;
  clientStream: (
    items: RapChannel<TypesOf<M>['received'], never>,
    ctx: RapContext,
  ) => RapResult<TypesOf<M>['returned']>;
  duplex: (
    channel: RapChannel<TypesOf<M>['received'], TypesOf<M>['returned']>,
    ctx: RapContext,
  ) => RapResult<void>;
}[M['kind']];

/**
 * What a controller of a service implements: one method each. Leave out the parameters that you do not use.
 *
 *     @RapService(MathService)
 *     class MathController implements RapHandlers<typeof MathService> { ... }
 */
export type RapHandlers<S extends RapServiceDefinition> = {
  [K in keyof S['methods']]: HandlerOf<S['methods'][K]>;
};
