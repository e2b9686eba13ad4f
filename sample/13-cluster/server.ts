import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern } from '@nestjs/microservices';
import { RapServer } from 'nestjs-rap';

@Controller()
class OrdersController {
  @MessagePattern('price', { idempotent: true })
  async price(): Promise<number> {
    await sleep(5 + Math.random() * 10); // for example a query
    return 42;
  }
}

@Module({ controllers: [OrdersController] })
class AppModule {}

const server = new RapServer({ host: '127.0.0.1', port: Number(process.argv[2] ?? 9000) });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks(); // at SIGTERM it drains
await app.listen();
process.send?.(server.address());
