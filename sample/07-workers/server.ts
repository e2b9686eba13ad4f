import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { inWorker, RapServer, RunInWorker } from 'nestjs-rap';
import { burn } from './heavy.js';

@Controller()
class WorkController {
  /** On the event loop: every other call waits until it is done. */
  @MessagePattern('burn_here')
  burnHere(@Payload() params: { ms: number }): number {
    return burn(params);
  }

  /** The same function in a thread. */
  @MessagePattern('burn')
  @RunInWorker(new URL('./heavy.js', import.meta.url), 'burn')
  burn(@Payload() _params: { ms: number }): Promise<number> {
    return inWorker();
  }

  @MessagePattern('ping')
  ping(): string {
    return 'pong';
  }
}

@Module({ controllers: [WorkController] })
class AppModule {}

const server = new RapServer({ host: 'localhost', port: Number(process.argv[2] ?? 9000) });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
