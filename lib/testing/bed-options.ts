import type {
  ClassProvider,
  DynamicModule,
  FactoryProvider,
  ForwardReference,
  INestMicroservice,
  LoggerService,
  LogLevel,
  Provider,
  Type,
  ValueProvider,
} from '@nestjs/common';
import type { RapClientOptions } from '../nest/client/client-options.js';
import type { RapServerOptions } from '../nest/server/server-options.js';
import { assertKnown, assertList, assertObject, type Keys } from '../nest/validation/known-options.js';

/** A provider, guard, interceptor, pipe or filter that takes the place of the one with this token, in all modules. */
export type RapTestOverride = ValueProvider | ClassProvider | FactoryProvider;

/** Options of {@link createRapTestBed}; all have a default. */
export interface RapTestBedOptions {
  /** Modules of the application: its own, or some of them. */
  modules?: readonly (Type | DynamicModule | Promise<DynamicModule> | ForwardReference)[] | undefined;
  /** Providers beside those of the modules, which may inject them. */
  providers?: readonly Provider[] | undefined;
  /** Controllers beside those of the modules. */
  controllers?: readonly Type[] | undefined;
  /**
   * What takes the place of providers of the modules, such as `{ provide: Database, useValue: fake }`, or
   * `{ provide: 'MATH', useValue: mockClient({ ... }) }` for a client of `RapModule`. Needs the package `@nestjs/testing`.
   */
  overrides?: readonly RapTestOverride[] | undefined;
  /**
   * Options of the server, as in production: limits, processors, middleware, TLS. `host`, `port` and `path` have no effect. Default
   * of `limits.maxLoopDelayMs` here: 0, since the machine of a test may be busy.
   */
  server?: RapServerOptions | undefined;
  /** Options of the client. */
  client?: RapClientOptions | undefined;
  /** `'manual'`: time stands still until `bed.clock.advance(ms)`. Default `'real'`. */
  clock?: 'real' | 'manual' | undefined;
  /** The address that the server sees of its clients; one that is not loopback makes them remote callers. Default `127.0.0.1`. */
  address?: string | undefined;
  /** Called before the server starts, as the code of a `main.ts`: `(app) => app.useGlobalPipes(new ValidationPipe())`. */
  prepare?: ((app: INestMicroservice) => unknown) | undefined;
  /** Nest's log, of the whole process as in any Nest application. Default: errors and warnings. */
  logger?: LoggerService | LogLevel[] | false | undefined;
}

const BED_OPTIONS: Keys<RapTestBedOptions> = {
  modules: true,
  providers: true,
  controllers: true,
  overrides: true,
  server: true,
  client: true,
  clock: true,
  address: true,
  prepare: true,
  logger: true,
};

/** @throws RangeError that names an option which does not exist, or has another type */
export function assertBedOptions(options: RapTestBedOptions): void {
  assertKnown('options of createRapTestBed', options, BED_OPTIONS);
  for (const name of ['modules', 'providers', 'controllers', 'overrides'] as const)
    assertList(name, options[name]);
  for (const name of ['server', 'client'] as const) assertObject(name, options[name]);
  const { clock, overrides = [] } = options;
  if (clock !== undefined && clock !== 'real' && clock !== 'manual')
    throw new RangeError(`clock must be 'real' or 'manual', got ${JSON.stringify(clock)}`);
  overrides.forEach((override, i) => {
    const { provide } = (override ?? {}) as Partial<RapTestOverride>;
    const isComplete = ['useValue', 'useClass', 'useFactory'].some((key) => key in (override ?? {}));
    if (provide === undefined || !isComplete)
      throw new RangeError(`overrides[${i}] needs provide, and useValue, useClass or useFactory`);
  });
}
