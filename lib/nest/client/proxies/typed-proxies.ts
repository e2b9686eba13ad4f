import type { PeerSource } from '../../../cluster/peer-source.js';
import { Extension } from '../../../protocol/extension.js';
import type { ClientCalls } from '../calls/client-calls.js';
import type { Type } from '@nestjs/common';
import type { ValuesCarried } from './carried-calls.js';
import type { HookedCalls } from '../calls/hooked-calls.js';
import type { NormalizePattern } from '../../handlers/pattern.js';
import type { RapServiceDefinition } from '../../contract/contract.js';
import { type ControllerCaller, controllerProxy } from './controller-proxy.js';
import type { RapControllerClient } from './controller-types.js';
import { serviceProxy } from './service-proxy.js';
import type { RapServiceClient } from './service-types.js';
import { undecidedCall } from './undecided-call.js';

export interface TypedProxiesOptions {
  readonly client: Omit<ControllerCaller, 'normalize' | 'undecided'>;
  readonly calls: HookedCalls;
  readonly normalize: NormalizePattern;
  readonly carried: ValuesCarried;
}

/** The typed proxies of a client, each made once. */
export class TypedProxies {
  readonly #made = new WeakMap<object, unknown>();

  constructor(private readonly options: TypedProxiesOptions) {}

  service<S extends RapServiceDefinition>(definition: S): RapServiceClient<S> {
    const { client, carried } = this.options;
    return this.#once(definition, () => serviceProxy(client, definition, carried));
  }

  controller<T extends object>(controller: Type<T>): RapControllerClient<T> {
    const { client, calls, normalize } = this.options;
    return this.#once(controller, () =>
      controllerProxy(
        {
          call: (...args) => client.call(...args),
          stream: (...args) => client.stream(...args),
          channel: (...args) => client.channel(...args),
          emit: (...args) => client.emit(...args),
          undecided: (target, data, options) => undecidedCall(calls, target, data, options),
          normalize,
        },
        controller,
      ),
    );
  }

  #once<T>(key: object, make: () => T): T {
    const known = this.#made.get(key) as T | undefined;
    if (known) return known;
    const made = make();
    this.#made.set(key, made);
    return made;
  }
}

/** What the connections of a client carry. */
export function valuesCarried(source: PeerSource, calls: ClientCalls): ValuesCarried {
  return {
    now: () => source.peer?.has(Extension.Values),
    soon: async (target, timeoutMs) => (await calls.acquire(target, timeoutMs)).has(Extension.Values),
  };
}
