import 'reflect-metadata';
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import {
  ChannelError,
  FuncNotFoundError,
  inWorker,
  RapClient,
  RapError,
  RapServer,
  registerError,
  RunInWorker,
} from 'nestjs-rap';

// a bundler renames classes, to names of one letter that others have as well
class UnnamedError extends RapError {}
registerError(UnnamedError);
class OutOfStockError extends RapError {}
registerError(OutOfStockError, { name: 'OutOfStockError' });
class SoldError extends RapError {}
registerError(SoldError, { name: 'SoldError' });

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(@Payload() d: { a: number; b: number }): number {
    return d.a + d.b;
  }

  @MessagePattern('double')
  @RunInWorker(new URL('./heavy.js', import.meta.url), 'double')
  double(): Promise<number> {
    return inWorker();
  }

  @MessagePattern('fail')
  fail(@Payload() kind: string): never {
    if (kind === 'stock') throw new OutOfStockError('no more');
    if (kind === 'sold') throw new SoldError('gone');
    if (kind === 'channel') throw new ChannelError('not here');
    throw new UnnamedError('as it is');
  }
}

@Module({ controllers: [MathController] })
class ServerModule {}

const server = new RapServer({ port: 0, exposeErrors: true });
const app = await NestFactory.createMicroservice<MicroserviceOptions>(ServerModule, {
  strategy: server,
  logger: ['error', 'warn'],
});
await app.listen();
const { port } = server.address() as AddressInfo;
const client = new RapClient({ host: 'localhost', port });

assert.equal(await client.call<number>('sum', { a: 1, b: 2 }), 3);
await assert.rejects(client.call('nope', {}), FuncNotFoundError);
await assert.rejects(client.call('fail', 'stock'), OutOfStockError);
await assert.rejects(client.call('fail', 'sold'), SoldError);
await assert.rejects(client.call('fail', 'channel'), { name: 'ChannelError' });
await assert.rejects(client.call('fail', 'channel'), ChannelError);
await assert.rejects(client.call('fail', ''), UnnamedError);
// a thread is started from a file of the package: esbuild leaves it behind, webpack's bundle finds it while it is where it was built
const doubled = await client.call('double', { n: 1 }).catch((error: Error) => error.message);
if (doubled !== 2) assert.match(String(doubled), /the package is bundled .*; keep nestjs-rap external/);
assert.equal(new RapError('as it is').name, 'RapError');
console.log(`nest12-bundle: sum = ${await client.call<number>('sum', { a: 1, b: 2 })}`);

await client.close();
await app.close();
