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
import type { RapClientOptions } from './client-options.js';
import { RapClient } from './rap-client.js';
import type { RapServer } from './rap-server.js';

/** A client of `RapModule.register`: its options, and the name by which it is injected. */
export interface RapClientDefinition extends RapClientOptions {
  name: string | symbol;
}

/** A client of `RapModule.registerAsync`. */
export interface RapAsyncClientDefinition extends Pick<ModuleMetadata, 'imports'> {
  name: string | symbol;
  useFactory: (...args: never[]) => RapClientOptions | Promise<RapClientOptions>;
  inject?: FactoryProvider['inject'];
  /** What the factory needs and no module exports, such as a processor that is a provider. */
  extraProviders?: Provider[];
}

/** Injects the `RapClient` that was registered under `name`. */
export const InjectRapClient = (name: string | symbol): PropertyDecorator & ParameterDecorator =>
  Inject(name);

/** Makes clients injectable, and closes them when the application shuts down. */
@Module({})
export class RapModule {
  /** Registers clients with options that are known now. */
  static register(clients: readonly RapClientDefinition[]): DynamicModule {
    const providers: Provider[] = clients.map(({ name, ...options }) => ({
      provide: name,
      useFactory: () => new RapClient(options),
    }));
    return { module: RapModule, providers, exports: clients.map(({ name }) => name) };
  }

  /** Registers clients whose options come from other providers. */
  static registerAsync(clients: readonly RapAsyncClientDefinition[]): DynamicModule {
    const providers: Provider[] = clients.flatMap(({ name, useFactory, inject, extraProviders = [] }) => [
      ...extraProviders,
      {
        provide: name,
        useFactory: async (...args: never[]) => new RapClient(await useFactory(...args)),
        inject: inject ?? [],
      },
    ]);
    const imports = clients.flatMap((client) => client.imports ?? []);
    return { module: RapModule, imports, providers, exports: clients.map(({ name }) => name) };
  }

  /**
   * Lets a server drain as soon as the application shuts down. On SIGTERM, and whenever a hybrid application closes, Nest
   * destroys the modules before it closes the transport; without this, calls would still come in while providers go.
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

/** Nest destroys modules in the order of their distance from the root, which has 0: this one goes before it. */
function moveToFront(modules: ModulesContainer, token: InjectionToken): void {
  for (const module of modules.values()) if (module.providers.has(token)) module.distance = -1;
}
