import 'reflect-metadata';
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { Controller, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { InjectRapClient, RapClient, RapModule, RapServer } from 'nestjs-rap';
import { etcdResolver } from 'nestjs-rap/etcd';
import { RedisConnStore } from 'nestjs-rap/redis';

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(@Payload() d: { a: number; b: number }): number {
    return d.a + d.b;
  }
}

@Module({ controllers: [MathController] })
class ServerModule {}

@Injectable()
class Calculator {
  constructor(@InjectRapClient('MATH') readonly client: RapClient) {}
}

class ClientModule {}

const logger: ['error', 'warn'] = ['error', 'warn'];

const server = new RapServer({ port: 0 });
const app = await NestFactory.createMicroservice<MicroserviceOptions>(ServerModule, {
  strategy: server,
  logger,
});
await app.listen();
const { port } = server.address() as AddressInfo;

const context = await NestFactory.createApplicationContext(
  {
    module: ClientModule,
    imports: [RapModule.register([{ name: 'MATH', host: 'localhost', port }])],
    providers: [Calculator],
  },
  { logger },
);
const { client } = context.get(Calculator);

const sum = await client.call<number>('sum', { a: 1, b: 2 });
assert.equal(sum, 3);
console.log(`nest12-esm: sum = ${sum}`);

assert.throws(() => etcdResolver({ endpoints: [], service: 'math' }), /endpoints/);

// the stores load without ioredis: the client is whatever has its `call`
const store = new RedisConnStore({ call: () => Promise.resolve(1) });
const limit = { maxConnections: 1, blockTimeMs: 0, leaseMs: 1000 };
assert.equal(await store.acquire({ key: 'all', id: 'one' }, limit), true);

await context.close();
await app.close();
