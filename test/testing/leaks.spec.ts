import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, RapClient, RapContext, RapServer } from '../../lib/index.js';
import { createRapTestBed, expectNoLeaks, mockClient } from '../../lib/testing.js';
import { eventually, Gate, rejection } from '../helpers/async.js';

let gate: Gate;

beforeEach(() => {
  gate = new Gate();
});

@Controller()
class Handlers {
  @MessagePattern('quick')
  quick(): string {
    return 'done';
  }

  @MessagePattern('stubborn')
  async stubborn(): Promise<void> {
    await gate.opened;
  }

  @MessagePattern('polite')
  polite(@Ctx() { signal }: RapContext): Promise<void> {
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
  }

  @ChannelPattern('chat')
  async chat(@Payload() channel: RapChannel<string, string>): Promise<void> {
    for await (const line of channel) await channel.write(line);
  }
}

@Module({ controllers: [Handlers] })
class AppModule {}

describe('expectNoLeaks', () => {
  it('passes if nothing is left', async () => {
    await expectNoLeaks();
    const bed = await createRapTestBed({ modules: [AppModule] });
    await bed.client.call('quick');
    const channel = await bed.client.channel('chat');
    await channel.write('hello');
    const call = rejection(bed.client.call('polite'));
    await bed.close();
    await call;
    await expectNoLeaks();
  });

  it('says which test bed was not closed, once', async () => {
    const bed = await createRapTestBed({ modules: [AppModule] });
    const { message } = await rejection(expectNoLeaks());
    expect(message).toMatch(
      /^nestjs-rap: something is left:\n {2}- test bed \d+ \(AppModule, made at .*leaks\.spec\.ts:\d+:\d+\) was not closed: await bed\.close\(\)$/,
    );
    await expectNoLeaks();
    await bed.close();
  });

  it('says what is in flight in a test bed that was not closed', async () => {
    const bed = await createRapTestBed({ modules: [AppModule] });
    const call = rejection(bed.client.call('polite'));
    await bed.client.channel('chat').then((channel) => channel.write('x'));
    const { message } = await rejection(expectNoLeaks());
    expect(message).toMatch(/the handler of call \/default\/polite of test bed .* still runs, after \d+ ms/);
    expect(message).toMatch(/the handler of channel \/default\/chat of test bed/);
    expect(message).toMatch(/1 call of its clients is in flight/);
    await bed.close();
    await call;
    await expectNoLeaks();
  });

  it('names handlers that go on after their bed was closed', async () => {
    const bed = await createRapTestBed({ modules: [AppModule] });
    const call = rejection(bed.client.call('stubborn'));
    await eventually('the handler runs', () => bed.server.stats().inFlight === 1);
    await bed.close();
    await call;
    expect((await rejection(expectNoLeaks())).message).toMatch(
      /- the handler of call \/default\/stubborn of test bed \d+ .*leaks\.spec/,
    );
    await expectNoLeaks();
    gate.open();
  });

  it('names handlers of mocks that go on', async () => {
    const client = mockClient({ stubborn: () => gate.opened });
    const controller = new AbortController();
    const call = rejection(client.call('stubborn', undefined, { signal: controller.signal }));
    await client.ping();
    controller.abort();
    await call;
    expect((await rejection(expectNoLeaks())).message).toMatch(
      /the handler of call \/default\/stubborn of mockClient\(\) made at .*leaks\.spec\.ts/,
    );
    gate.open();
  });

  it('waits for what is about to end', async () => {
    const bed = await createRapTestBed({ modules: [AppModule] });
    const call = rejection(bed.client.call('stubborn'));
    await eventually('the handler runs', () => bed.server.stats().inFlight === 1);
    await bed.close();
    await call;
    setTimeout(() => gate.open(), 20);
    await expectNoLeaks();
  });

  it('looks at one bed, which stays open', async () => {
    const bed = await createRapTestBed({ modules: [AppModule] });
    await bed.client.call('quick');
    await expectNoLeaks(bed);
    const call = rejection(bed.client.call('polite'));
    expect((await rejection(expectNoLeaks(bed))).message).toMatch(/call \/default\/polite/);
    expect((await rejection(expectNoLeaks(bed))).message).toMatch(/call \/default\/polite/);
    await bed.close();
    await call;
    await expectNoLeaks(bed);
    await expectNoLeaks();
  });

  it('names servers and clients with sockets', async () => {
    const server = new RapServer({ host: '127.0.0.1', port: 0 });
    const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: false });
    await app.listen();
    const { port } = server.address() as AddressInfo;
    const client = new RapClient({ host: '127.0.0.1', port });
    await client.call('quick');
    const { message } = await rejection(expectNoLeaks());
    expect(message).toContain(`- a RapServer listens on 127.0.0.1:${port}: await its close()`);
    expect(message).toMatch(new RegExp(`- the connection from 127.0.0.1:\\d+ to 127.0.0.1:${port} is open`));
    await expectNoLeaks();
    client.close();
    await app.close();
    const other = new RapServer({ host: '127.0.0.1', port: 0 });
    const next = await NestFactory.createMicroservice(AppModule, { strategy: other, logger: false });
    await next.listen();
    await next.close();
    await expectNoLeaks();
  });
});
