import { inspect } from 'node:util';
import {
  Inject,
  Module,
  type DynamicModule,
  type FactoryProvider,
  type InjectionToken,
  type ModuleMetadata,
  type OnModuleDestroy,
  type Provider,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { isObject } from '../protocol/values/unknown.js';
import { assertClientOptions, type RapClientOptions } from './client/client-options.js';
import { assertKnown } from './validation/known-options.js';
import { RapClient } from './client/rap-client.js';
import type { RapServer } from './server/rap-server.js';
import type { RapServiceDefinition } from './contract/contract.js';
import { serviceToken } from './contract/service-token.js';

/** A client of `RapModule.register`: its options, and the name by which it is injected. */
export interface RapClientDefinition extends RapClientOptions {
  name: string | symbol;
  /** Contracts of its server: each is injected with `@InjectRapService(contract)`. */
  services?: readonly RapServiceDefinition[] | undefined;
}

/** A client of `RapModule.registerAsync`. */
export interface RapAsyncClientDefinition extends Pick<ModuleMetadata, 'imports'> {
  name: string | symbol;
  useFactory: (...args: never[]) => RapClientOptions | Promise<RapClientOptions>;
  inject?: FactoryProvider['inject'] | undefined;
  /** Providers for the factory that no module exports, such as a processor. */
  extraProviders?: Provider[] | undefined;
  /** Contracts of its server: each is injected with `@InjectRapService(contract)`. */
  services?: readonly RapServiceDefinition[] | undefined;
}

/** Options of `RapModule.register`, instead of a list of clients. */
export interface RapModuleOptions {
  clients: readonly RapClientDefinition[];
  /** Every module may inject them, without an import. Default false. */
  isGlobal?: boolean | undefined;
}

/** Options of `RapModule.registerAsync`, instead of a list of clients. */
export interface RapAsyncModuleOptions {
  clients: readonly RapAsyncClientDefinition[];
  /** Every module may inject them, without an import. Default false. */
  isGlobal?: boolean | undefined;
}

/** Injects the `RapClient` that was registered under `name`. */
export const InjectRapClient = (name: string | symbol): PropertyDecorator & ParameterDecorator =>
  Inject(name);

/**
 * Injects the methods of a contract, as `client.service(contract)` gives them. One client names it among its `services`.
 *
 *     constructor(@InjectRapService(MathService) private readonly math: RapServiceClient<typeof MathService>) {}
 *
 * @throws RegisteredError if `service` is not a contract
 */
export const InjectRapService = (service: RapServiceDefinition): PropertyDecorator & ParameterDecorator =>
  Inject(serviceToken('@InjectRapService', service));

/** Makes clients injectable, and closes them when the application shuts down. */
@Module({})
export class RapModule {
  /**
   * Registers clients with options that are known now: a list of them, or `{ clients, isGlobal }`.
   *
   * @throws RangeError for anything else, an option that does not exist, and two clients with the same name or contract
   */
  static register(given: readonly RapClientDefinition[] | RapModuleOptions): DynamicModule {
    const { clients, isGlobal } = moduleOptions('RapModule.register', given);
    const providers: Provider[] = clients.map(({ name, services: _, ...options }) => {
      assertClientOptions(options);
      return { provide: name, useFactory: () => new RapClient(options) };
    });
    return moduleOf(clients, providers, isGlobal);
  }

  /**
   * Registers clients whose options come from other providers: a list of them, or `{ clients, isGlobal }`.
   *
   * @throws RangeError for anything else, an option that does not exist, and two clients with the same name or contract
   */
  static registerAsync(given: readonly RapAsyncClientDefinition[] | RapAsyncModuleOptions): DynamicModule {
    const { clients, isGlobal } = moduleOptions('RapModule.registerAsync', given);
    const providers: Provider[] = clients.flatMap((client) => {
      assertKnown('a client of RapModule.registerAsync', client, ASYNC_CLIENT);
      const { name, useFactory, inject, extraProviders = [] } = client;
      if (typeof useFactory !== 'function')
        throw new RangeError(`RapModule.registerAsync: the client ${String(name)} has no useFactory`);
      return [
        ...extraProviders,
        {
          provide: name,
          useFactory: async (...args: never[]) => new RapClient(await useFactory(...args)),
          inject: inject ?? [],
        },
      ];
    });
    const imports = clients.flatMap((client) => client.imports ?? []);
    return { ...moduleOf(clients, providers, isGlobal), imports };
  }

  /**
   * Drains a server as soon as the application shuts down. On SIGTERM, and when a hybrid application closes, Nest destroys
   * the modules before it closes the transport; without this, calls would still come in while providers are destroyed.
   */
  static drainOnShutdown(server: RapServer): DynamicModule {
    const drain: FactoryProvider<OnModuleDestroy> = {
      provide: Symbol('rap drain'),
      inject: [ModulesContainer],
      useFactory: (modules: ModulesContainer) => {
        moveToFront(modules, drain.provide);
        return { onModuleDestroy: () => server.drain() };
      },
    };
    return { module: RapModule, providers: [drain] };
  }
}

interface Named {
  readonly name: string | symbol;
  readonly services?: readonly RapServiceDefinition[] | undefined;
}

const ASYNC_CLIENT: Record<keyof Required<RapAsyncClientDefinition>, true> = {
  name: true,
  imports: true,
  useFactory: true,
  inject: true,
  extraProviders: true,
  services: true,
};

function moduleOptions<C extends Named>(
  what: string,
  given: readonly C[] | { clients: readonly C[]; isGlobal?: boolean | undefined },
): { readonly clients: readonly C[]; readonly isGlobal: boolean } {
  const isList = Array.isArray(given);
  const takes = `${what} takes a list of clients, or { clients, isGlobal }`;
  if (!isObject(given)) throw new RangeError(`${takes}, got ${inspect(given)}`);
  if (!isList) assertKnown(takes, given, MODULE);
  const { clients, isGlobal = false } = isList
    ? { clients: given as readonly C[] }
    : (given as { clients: readonly C[]; isGlobal?: boolean | undefined });
  if (!Array.isArray(clients)) throw new RangeError(takes);
  const names = new Set<unknown>();
  for (const { name } of clients as readonly C[]) {
    if (name === undefined || name === '') throw new RangeError(`${what}: a client has no name`);
    if (names.has(name)) throw new RangeError(`${what}: two clients have the name ${String(name)}`);
    names.add(name);
  }
  return { clients, isGlobal };
}

const MODULE = { clients: true, isGlobal: true };

function moduleOf(clients: readonly Named[], providers: Provider[], isGlobal: boolean): DynamicModule {
  assertNamedOnce(clients);
  const services = clients.flatMap(({ name, services: contracts = [] }) =>
    contracts.map((contract) => ({
      provide: serviceToken(`services of the client ${String(name)}`, contract),
      useFactory: (client: RapClient) => client.service(contract),
      inject: [name],
    })),
  );
  return {
    module: RapModule,
    ...(isGlobal ? { global: true } : {}),
    providers: [...providers, ...services],
    exports: [...clients.map(({ name }) => name), ...services.map(({ provide }) => provide)],
  };
}

/** Nest would inject the client that is named last. */
function assertNamedOnce(clients: readonly Named[]): void {
  const owners = new Map<RapServiceDefinition, string>();
  for (const { name, services = [] } of clients) {
    for (const contract of services) {
      const owner = owners.get(contract);
      if (owner !== undefined && owner !== String(name))
        throw new RangeError(
          `two clients, ${owner} and ${String(name)}, name the contract '${contract.group}'`,
        );
      owners.set(contract, String(name));
    }
  }
}

/** Nest destroys modules in the order of their distance from the root, which has 0: this one goes before it. */
function moveToFront(modules: ModulesContainer, token: InjectionToken): void {
  for (const module of modules.values()) if (module.providers.has(token)) module.distance = -1;
}
