import { targetsOf, type AnyRapMethod, type RapServiceDefinition } from './contract.js';

/** A class that implements a service, and what is wrong with it: `RapServer` reports that when it starts. */
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

/** The method of a contract that a handler implements; it stands in the handler's extras. */
export class ServiceMethod {
  /** `/math/sum`, then the aliases. */
  readonly targets: readonly string[];

  constructor(
    readonly binding: ServiceBinding,
    readonly name: string,
    readonly method: AnyRapMethod,
    /** The handler takes what the caller sends, and that is not a channel. */
    readonly takesData: boolean,
  ) {
    this.targets = targetsOf(name, binding.service.group, name, method);
  }

  /** Nest's developer tools show extras; a schema is of no use there. */
  toJSON(): object {
    return { service: this.binding.service.group, method: this.name, kind: this.method.kind };
  }
}
