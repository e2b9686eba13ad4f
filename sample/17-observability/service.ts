import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { RapServer } from 'nestjs-rap';
import { startMetrics, startTracing } from './telemetry.js';

/** Serves an application over rap, with traces and metrics. */
export async function serve(name: string, module: Type): Promise<void> {
  startTracing(name);
  const metrics = await startMetrics();
  const server = new RapServer({ host: '127.0.0.1', port: Number(process.argv[2] ?? 0) });
  const app = await NestFactory.createMicroservice(module, { strategy: server, logger: ['warn', 'error'] });
  app.enableShutdownHooks();
  await app.listen();
  if (process.send) process.send({ ...(server.address() as object), metrics });
  else console.log(`${name}: ${metrics}`); // it was started alone
}
