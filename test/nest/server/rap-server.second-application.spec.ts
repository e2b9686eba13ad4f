import 'reflect-metadata';
import { Controller, type INestMicroservice, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern } from '@nestjs/microservices';
import type { AddressInfo } from 'node:net';
import { FuncNotFoundError, RapClient, RapServer } from '../../../lib/index.js';
import { RecordingLogger } from '../../helpers/app.js';
import { rejection, testScope } from '../../helpers/async.js';

const scope = testScope();

@Controller()
class FirstController {
  @MessagePattern('version') version(): number {
    return 1;
  }
  @MessagePattern('first') first(): void {}
}
@Controller()
class SecondController {
  @MessagePattern('version') version(): number {
    return 2;
  }
}

async function appOf(controller: new () => object, strategy: RapServer): Promise<INestMicroservice> {
  class AppModule {}
  Module({ controllers: [controller] })(AppModule);
  const app = await NestFactory.createMicroservice(AppModule, { strategy, logger: new RecordingLogger() });
  scope.defer(() => app.close());
  return app;
}

function clientOf(server: RapServer): RapClient {
  const client = new RapClient({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  scope.defer(() => client.close());
  return client;
}

describe('one RapServer for two applications', () => {
  it('serves the second with its handlers alone, once the first is closed', async () => {
    const server = new RapServer({ host: '127.0.0.1', port: 0 });
    const first = await appOf(FirstController, server);
    await first.listen();
    const before = clientOf(server);
    expect(await before.call('version')).toBe(1);
    before.close();
    await first.close();

    const second = await appOf(SecondController, server);
    await second.listen();
    const after = clientOf(server);
    expect(await after.call('version')).toBe(2);
    expect(await rejection(after.call('first'))).toBeInstanceOf(FuncNotFoundError);
    expect(await after.call('/registry/list')).toHaveLength(5);
  });

  it('serves the second, though the first was closed before it listened', async () => {
    const server = new RapServer({ host: '127.0.0.1', port: 0 });
    const first = await appOf(FirstController, server);
    await first.init();
    await first.close();

    await (await appOf(FirstController, server)).listen();
    expect(await clientOf(server).call('version')).toBe(1);
  });

  it('keeps its handlers when it listens again', async () => {
    const server = new RapServer({ host: '127.0.0.1', port: 0 });
    const app = await appOf(FirstController, server);
    await app.listen();
    await server.close();
    await new Promise<void>((resolve, reject) => {
      server.listen((error) => (error ? reject(error) : resolve()));
    });
    server.addHandler('added', () => Promise.resolve('later') as never);

    const client = clientOf(server);
    expect(await client.call('version')).toBe(1);
    expect(await client.call('added')).toBe('later');
  });

  it('says that it serves another one, while that is open', async () => {
    const server = new RapServer({ host: '127.0.0.1', port: 0 });
    await (await appOf(FirstController, server)).listen();
    expect((await rejection((await appOf(SecondController, server)).listen())).message).toContain(
      'serves another application',
    );
  });

  it('says so if neither has listened yet', async () => {
    const server = new RapServer({ host: '127.0.0.1', port: 0 });
    await (await appOf(FirstController, server)).init();
    const failed = await rejection((await appOf(FirstController, server)).listen());
    expect(failed.message).toContain('does a RapServer serve two applications?');
  });
});
