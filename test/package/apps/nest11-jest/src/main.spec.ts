import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Controller, Module } from '@nestjs/common';
import type { INestMicroservice } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  FuncNotFoundError,
  inWorker,
  RapClient,
  RapModule,
  RapServer,
  RunInWorker,
  registerError,
  RapError,
} from 'nestjs-rap';
import { RedisRateStore } from 'nestjs-rap/redis';
import { RunInWorker as SameRunInWorker } from 'nestjs-rap/workers';

class OutOfStockError extends RapError {}
registerError(OutOfStockError);

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(@Payload() d: { a: number; b: number }): number {
    return d.a + d.b;
  }

  @MessagePattern('count')
  async *count(@Payload() { n }: { n: number }): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield i;
  }

  @MessagePattern('double')
  @RunInWorker(join(__dirname, 'heavy.js'), 'double')
  double(@Payload() _params: { n: number }): Promise<number> {
    return inWorker();
  }

  @MessagePattern('buy')
  buy(): never {
    throw new OutOfStockError('no more');
  }
}

@Module({ controllers: [MathController] })
class ServerModule {}

describe('the package in a CommonJS project with Jest as Nest sets it up', () => {
  let app: INestMicroservice;
  let client: RapClient;

  beforeAll(async () => {
    const strategy = new RapServer({ port: 0 });
    const module = await Test.createTestingModule({ imports: [ServerModule] }).compile();
    app = module.createNestMicroservice({ strategy });
    await app.listen();
    const { port } = strategy.address() as AddressInfo;
    const context = await Test.createTestingModule({
      imports: [RapModule.register([{ name: 'MATH', host: 'localhost', port }])],
    }).compile();
    client = context.get<RapClient>('MATH');
  });

  afterAll(async () => {
    await client.close();
    await app.close();
  });

  it('calls, streams and runs in a worker', async () => {
    expect(await client.call<number>('sum', { a: 1, b: 2 })).toBe(3);
    const items: number[] = [];
    for await (const item of client.stream<number>('count', { n: 3 })) items.push(item);
    expect(items).toEqual([0, 1, 2]);
    expect(await client.call<number>('double', { n: 21 })).toBe(42);
  });

  it('gives errors their class', async () => {
    const error: unknown = await client.call('nope', {}).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(FuncNotFoundError);
    expect(error).toBeInstanceOf(RpcException);
    await expect(client.call('buy', {})).rejects.toBeInstanceOf(OutOfStockError);
  });

  it('has its subpaths', () => {
    expect(typeof RedisRateStore).toBe('function');
    expect(SameRunInWorker).toBe(RunInWorker);
  });
});
