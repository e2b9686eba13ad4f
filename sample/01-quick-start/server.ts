import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { RapServer } from 'nestjs-rap';

interface SumParams {
  a: number;
  b: number;
}

@Controller()
class MathController {
  @MessagePattern('sync_sum')
  syncSum(@Payload() { a, b }: SumParams): number {
    return a + b;
  }

  @MessagePattern('async_sum')
  async asyncSum(@Payload() { a, b }: SumParams): Promise<number> {
    await sleep(10); // for example an I/O call
    return a + b;
  }
}

@Module({ controllers: [MathController] })
class AppModule {}

// main.ts passes 0, a free port, so that the sample does not collide with other processes
const server = new RapServer({ host: 'localhost', port: Number(process.argv[2] ?? 9000) });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
