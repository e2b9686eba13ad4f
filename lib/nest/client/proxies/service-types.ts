import type { Observable } from 'rxjs';
import type { RapCallOptions } from '../client-options.js';
import type { RapChannel } from '../../streams/rap-channel.js';
import type { RapContext } from '../../handlers/rap-context.js';
import type { RapIterable } from '../../streams/rap-stream.js';
import type { AnyRapMethod, RapServiceDefinition } from '../../contract/contract.js';

interface MethodTypes {
  readonly sent: unknown;
  readonly received: unknown;
  readonly returned: unknown;
  readonly answered: unknown;
}

type TypesOf<M extends AnyRapMethod> = M extends { readonly '~types'?: infer T extends MethodTypes }
  ? T
  : MethodTypes;

/** What a caller of a contract's method sends: its parameters, or each item: `InputOf<typeof MathService, 'sum'>`. */
export type InputOf<S extends RapServiceDefinition, K extends keyof S['methods']> = TypesOf<
  S['methods'][K]
>['sent'];
/** What a caller of a contract's method gets: its result, or each item: `OutputOf<typeof MathService, 'sum'>`. */
export type OutputOf<S extends RapServiceDefinition, K extends keyof S['methods']> = TypesOf<
  S['methods'][K]
>['answered'];

/** A result, now or later. */
export type RapResult<T> = T | Promise<T> | Observable<T>;
/** What a handler may stream with. An array is a value, no stream. */
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

/** A call's parameters; those that may be left out come without. */
export type CallParameters<Sent> = undefined extends Sent
  ? [input?: Sent, options?: RapCallOptions]
  : [input: Sent, options?: RapCallOptions];

/** Last argument of a method that opens a channel. */
export type ChannelOptions = RapCallOptions & { metadata?: unknown };

type CallerOf<M extends AnyRapMethod> = {
  unary: (...args: CallParameters<TypesOf<M>['sent']>) => Promise<TypesOf<M>['answered']>;
  serverStream: (...args: CallParameters<TypesOf<M>['sent']>) => RapIterable<TypesOf<M>['answered']>;
  clientStream: (
    items: AsyncIterable<TypesOf<M>['sent']> | Iterable<TypesOf<M>['sent']>,
    options?: ChannelOptions,
  ) => Promise<TypesOf<M>['answered']>;
  duplex: (options?: ChannelOptions) => Promise<RapChannel<TypesOf<M>['answered'], TypesOf<M>['sent']>>;
}[M['kind']];

/** What `client.service(S)` gives: one method each. */
export type RapServiceClient<S extends RapServiceDefinition> = {
  readonly [K in keyof S['methods']]: CallerOf<S['methods'][K]>;
};
