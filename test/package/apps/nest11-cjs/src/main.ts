import 'reflect-metadata';
import * as assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { Controller, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, RpcException, type MicroserviceOptions } from '@nestjs/microservices';
import { FuncNotFoundError, InjectRapClient, RapClient, RapError, RapModule, RapServer } from 'nestjs-rap';
import { registerInEtcd } from 'nestjs-rap/etcd';
import { RedisRateStore } from 'nestjs-rap/redis';

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

async function main(): Promise<void> {
  // In a CommonJS app the import above is a require() of an ES module; both must give the same classes.
  assert.equal(require('nestjs-rap').RapServer, RapServer);
  assert.equal(require('nestjs-rap/redis').RedisRateStore, RedisRateStore);
  assert.equal(require('nestjs-rap/etcd').registerInEtcd, registerInEtcd);

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
  await assert.rejects(client.call('nope', {}), isNotFound);
  console.log(`nest11-cjs: sum = ${sum}`);

  await context.close();
  await app.close();
}

function isNotFound(error: unknown): boolean {
  assert.ok(error instanceof FuncNotFoundError, `expected FuncNotFoundError, got ${String(error)}`);
  assert.ok(error instanceof RapError);
  // This app's own RpcException: the package loaded no second @nestjs/microservices.
  assert.ok(error instanceof RpcException);
  assert.equal(error.status, 404);
  return true;
}

void main();
