import type { ChannelOptions, RapCallOptions } from '../calls/rap-session.js';
import type { RapChannel } from '../../streams/rap-channel.js';
import type { RapIterable } from '../../streams/rap-stream.js';
import type { AnyRapMethod, RapServiceDefinition } from '../../contract/contract.js';
import type { TypesOf } from '../../contract/method-types.js';

/** Parameters of a call: an optional input may be left out. */
export type CallParameters<Sent> = undefined extends Sent
  ? [input?: Sent, options?: RapCallOptions]
  : [input: Sent, options?: RapCallOptions];

type CallerOf<M extends AnyRapMethod> = {
  unary: (...args: CallParameters<TypesOf<M>['sent']>) => Promise<TypesOf<M>['answered']>;
  serverStream: (...args: CallParameters<TypesOf<M>['sent']>) => RapIterable<TypesOf<M>['answered']>;
  clientStream: (
    items: AsyncIterable<TypesOf<M>['sent']> | Iterable<TypesOf<M>['sent']>,
    options?: ChannelOptions,
  ) => Promise<TypesOf<M>['answered']>;
  duplex: (options?: ChannelOptions) => Promise<RapChannel<TypesOf<M>['answered'], TypesOf<M>['sent']>>;
}[M['kind']];

/** What `client.service(S)` returns: one function for each method. */
export type RapServiceClient<S extends RapServiceDefinition> = {
  readonly [K in keyof S['methods']]: CallerOf<S['methods'][K]>;
};
