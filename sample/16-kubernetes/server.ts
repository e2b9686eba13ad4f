import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { RapServer } from 'nestjs-rap';

const { VERSION: version = 'v1', PORT: port = '9000', PROBES_PORT: probesPort = '8080' } = process.env;

@Controller()
class OrdersController {
  /** Takes a while, so that a pod that ends has calls in flight. */
  @MessagePattern('order', { idempotent: true })
  async order(@Payload() { id }: { id: number }): Promise<{ id: number; version: string }> {
    await sleep(50);
    return { id, version };
  }
}

@Module({ controllers: [OrdersController] })
class AppModule {}

const server = new RapServer({
  host: '0.0.0.0',
  port: Number(port),
  closeTimeoutMs: 15_000, // below terminationGracePeriodSeconds, minus the preStop hook
  probes: { port: Number(probesPort) },
});
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks(); // SIGTERM: not ready, drain, close
await app.listen();
process.send?.({ address: server.address(), probes: server.probesAddress() });
