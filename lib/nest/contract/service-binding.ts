import { targetsOf, type AnyRapMethod, type RapServiceDefinition } from './contract.js';

/** A class that implements a service, and what is wrong with it: `RapServer` tells when it starts. */
export class ServiceBinding {
  readonly problems: string[] = [];

  constructor(
    readonly service: RapServiceDefinition,
    readonly className: string,
  ) {}

  /** `MathController, service "math"`, for messages. */
  get name(): string {
    return `${this.className}, service "${this.service.group}"`;
  }
}

/** What a handler's extras say of the contract that it fulfils. */
export class ServiceMethod {
  /** `/math/sum`, then the aliases. */
  readonly targets: readonly string[];

  constructor(
    readonly binding: ServiceBinding,
    readonly name: string,
    readonly method: AnyRapMethod,
    /** The handler takes what the caller sends, and that is no channel. */
    readonly takesData: boolean,
  ) {
    this.targets = targetsOf(name, binding.service.group, name, method);
  }

  /** Extras are shown by Nest's developer tools; a schema is nothing to look at. */
  toJSON(): object {
    return { service: this.binding.service.group, method: this.name, kind: this.method.kind };
  }
}
