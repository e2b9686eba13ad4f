import 'reflect-metadata';
import { Controller, type INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { Module } from '@nestjs/common';
import type { AddressInfo } from 'node:net';
import { firstValueFrom, of } from 'rxjs';
import { RapClient, RapServer, RapContext } from '../../lib/index.js';

@Controller()
class C {
  @MessagePattern('sum') sum(@Payload() d: { a: number; b: number }) {
    return d.a + d.b;
  }
  @MessagePattern('obs') obs() {
    return of(7);
  }
  @MessagePattern('void') void() {}
  @MessagePattern('boom') boom() {
    throw new TypeError('secret');
  }
  @MessagePattern('ctx') ctx(@Ctx() c: RapContext) {
    return [c.target, c.metadata];
  }
}
@Module({ controllers: [C] })
class M {}
let app: INestMicroservice;
let client: RapClient;
beforeAll(async () => {
  const server = new RapServer({ port: 0 });
  app = await NestFactory.createMicroservice(M, { strategy: server, logger: ['error', 'warn'] });
  await app.listen();
  client = new RapClient({ port: (server.address() as AddressInfo).port, metadata: { me: 1 } });
});
afterAll(async () => {
  client.close();
  await app.close();
});
it('calls', async () => {
  expect(await client.call('sum', { a: 1, b: 2 })).toBe(3);
  expect(await firstValueFrom(client.send('sum', { a: 1, b: 2 }))).toBe(3);
  expect(await client.call('obs')).toBe(7);
  expect(await client.call('void')).toBe(null);
  expect(await client.call('ctx')).toEqual(['/default/ctx', { me: 1 }]);
  await expect(client.call('boom')).rejects.toMatchObject({
    status: 500,
    name: 'ServerError',
    message: 'Internal server error',
  });
  await expect(client.call('summ')).rejects.toMatchObject({
    status: 404,
    message: 'Not found func. name: summ, group: default',
  });
  expect(await client.ping()).toBeGreaterThan(0);
});
