import type { Type } from '@nestjs/common';
import type { ValuesCarried } from './carried-calls.js';
import type { RapServiceDefinition } from '../../contract/contract.js';
import { type ControllerCaller, controllerProxy } from './controller-proxy.js';
import type { RapControllerClient } from './controller-types.js';
import { serviceProxy } from './service-proxy.js';
import type { RapServiceClient } from './service-types.js';

/** What a client does for its proxies alone. */
type Internals = Pick<ControllerCaller, 'normalize' | 'undecided'>;

/** The typed proxies of a client, each made once. */
export class TypedProxies {
  readonly #made = new WeakMap<object, unknown>();

  constructor(
    private readonly client: Omit<ControllerCaller, keyof Internals>,
    private readonly internals: Internals,
    private readonly carried: ValuesCarried,
  ) {}

  service<S extends RapServiceDefinition>(definition: S): RapServiceClient<S> {
    return this.#once(definition, () => serviceProxy(this.client, definition, this.carried));
  }

  controller<T extends object>(controller: Type<T>): RapControllerClient<T> {
    const { client, internals } = this;
    return this.#once(controller, () =>
      controllerProxy(
        {
          call: (...args) => client.call(...args),
          stream: (...args) => client.stream(...args),
          channel: (...args) => client.channel(...args),
          emit: (...args) => client.emit(...args),
          ...internals,
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
