import {
  ConsoleLogger,
  type DynamicModule,
  type INestMicroservice,
  type LoggerService,
} from '@nestjs/common';
import { ModuleRef, ModulesContainer, NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import type { RapServer } from '../nest/server/rap-server.js';
import type { RapTestBedOptions, RapTestOverride } from './bed-options.js';

/** The module of a test bed. */
class RapTestBedModule {}

/** The application of a test bed, which does not listen yet. It is closed if it cannot be prepared. */
export async function makeApp(options: RapTestBedOptions, strategy: RapServer): Promise<INestMicroservice> {
  const logger = options.logger ?? ['error', 'warn', 'fatal'];
  const { overrides = [] } = options;
  const module = rootModule(options);
  const app =
    overrides.length > 0
      ? await overridden(module, { overrides, strategy, logger: loggerOf(logger) })
      : await NestFactory.createMicroservice<MicroserviceOptions>(module, {
          strategy,
          logger,
          abortOnError: false, // else Nest ends the process
        });
  try {
    for (const override of overrides) await overrideEnhancer(app, override);
    await options.prepare?.(app);
    return app;
  } catch (error) {
    await closeFailed(app);
    throw error;
  }
}

/** Closes what could not start. Why it could not is what counts: an error of closing is dropped. */
export async function closeFailed(failed: { close(): Promise<unknown> }): Promise<void> {
  try {
    await failed.close();
  } catch {
    // the caller throws the first error
  }
}

/** Global: the modules may inject the providers of the bed. */
function rootModule({ modules = [], providers = [], controllers = [] }: RapTestBedOptions): DynamicModule {
  return {
    module: RapTestBedModule,
    global: true,
    imports: [...modules],
    providers: [...providers],
    controllers: [...controllers],
    exports: providers.map((provider) => (typeof provider === 'function' ? provider : provider.provide)),
  };
}

interface Overridden {
  readonly overrides: readonly RapTestOverride[];
  readonly strategy: RapServer;
  readonly logger: LoggerService | false;
}

async function overridden(
  module: DynamicModule,
  { overrides, strategy, logger }: Overridden,
): Promise<INestMicroservice> {
  const { Test } = await loadTesting();
  const builder = Test.createTestingModule({ imports: [module] });
  if (logger) builder.setLogger(logger);
  for (const override of overrides) {
    const by = builder.overrideProvider(override.provide);
    if ('useValue' in override) by.useValue(override.useValue);
    else if ('useClass' in override) by.useClass(override.useClass);
    else by.useFactory({ factory: override.useFactory, inject: override.inject as never });
  }
  const testing = await builder.compile();
  const given = logger === false ? { strategy, logger } : { strategy };
  return testing.createNestMicroservice<MicroserviceOptions>(given);
}

/** Guards, interceptors, pipes and filters of handlers are not among the providers of a module. */
async function overrideEnhancer(app: INestMicroservice, override: RapTestOverride): Promise<void> {
  const { provide } = override;
  const wrappers = [...app.get(ModulesContainer).values()].flatMap(
    ({ injectables }) => injectables.get(provide) ?? [],
  );
  if (wrappers.length === 0) return;
  const useValue: unknown = await instanceOf(app, override);
  for (const wrapper of wrappers) wrapper.mergeWith({ provide, useValue });
}

async function instanceOf(app: INestMicroservice, override: RapTestOverride): Promise<unknown> {
  if ('useValue' in override) return override.useValue;
  const ref = app.get(ModuleRef, { strict: false });
  if ('useClass' in override) return ref.create(override.useClass);
  const dependencies = (override.inject ?? []).map((token) =>
    app.get<unknown, unknown>(token as never, { strict: false }),
  );
  return override.useFactory(...dependencies) as unknown;
}

function loggerOf(logger: NonNullable<RapTestBedOptions['logger']>): LoggerService | false {
  return Array.isArray(logger) ? new ConsoleLogger({ logLevels: logger }) : logger;
}

async function loadTesting(): Promise<typeof import('@nestjs/testing')> {
  try {
    return await import('@nestjs/testing');
  } catch (error) {
    throw new Error(
      'overrides of createRapTestBed need the package @nestjs/testing: npm install -D @nestjs/testing',
      {
        cause: error,
      },
    );
  }
}
