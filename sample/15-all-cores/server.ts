import 'reflect-metadata';
import cluster from 'node:cluster';
import { availableParallelism } from 'node:os';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { RapServer } from 'nestjs-rap';

const port = Number(process.argv[2] ?? 9000); // 0: all workers get the same free port

@Controller()
class PrimesController {
  @MessagePattern('primes')
  primes(@Payload() { below }: { below: number }): { count: number; pid: number } {
    let count = 0;
    for (let n = 2; n < below; n++) if (isPrime(n)) count += 1;
    return { count, pid: process.pid };
  }
}

function isPrime(n: number): boolean {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return true;
}

@Module({ controllers: [PrimesController] })
class AppModule {}

/** Holds the port, and gives connections to the workers in turn. */
function startWorkers(): void {
  for (let i = 0; i < availableParallelism(); i++) cluster.fork();
  cluster.on('exit', (worker, _code, signal) => {
    if (!worker.exitedAfterDisconnect && signal !== 'SIGTERM') cluster.fork(); // it has crashed
  });
  let listening = 0;
  cluster.on('listening', (_worker, address) => {
    listening += 1;
    if (listening === availableParallelism()) process.send?.({ ...address, workers: listening });
  });
  // the workers drain; this process ends after the last one
  process.once('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGTERM');
    process.disconnect?.();
  });
}

async function serve(): Promise<void> {
  const server = new RapServer({ host: '127.0.0.1', port });
  const app = await NestFactory.createMicroservice(AppModule, {
    strategy: server,
    logger: ['warn', 'error'],
  });
  app.enableShutdownHooks();
  await app.listen();
}

if (cluster.isPrimary) startWorkers();
else await serve();
