import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import {
  ChannelPattern,
  RapChannel,
  RapClient,
  RapServer,
  type RapClientOptions,
} from '../../../lib/index.js';
import { inEnvironment } from '../../../lib/nest/lifecycle/environment.js';
import type { LinkReceiver } from '../../../lib/protocol/link.js';
import { systemClock } from '../../../lib/rpc/time/system-clock.js';
import { MemoryNetwork } from '../../../lib/testing/memory-network.js';
import { eventually, rejection, testScope } from '../../helpers/async.js';
import { FakeClock } from '../../helpers/fake-clock.js';

const scope = testScope();

@Controller()
class Handlers {
  @MessagePattern('sum')
  sum(@Payload() { a, b }: { a: number; b: number }): number {
    return a + b;
  }

  @MessagePattern('never')
  never(): Promise<never> {
    return new Promise(() => {});
  }

  @MessagePattern('count')
  async *count(@Payload() n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield i;
  }

  @ChannelPattern('echo')
  async echo(@Payload() channel: RapChannel<string, string>): Promise<void> {
    for await (const line of channel) await channel.write(line);
  }
}

@Module({ controllers: [Handlers] })
class AppModule {}

interface Served {
  readonly server: RapServer;
  readonly client: RapClient;
  readonly clock: FakeClock;
  readonly network: MemoryNetwork;
}

/** A server and a client with a clock and a network of their own. */
async function served(
  options: RapClientOptions = {},
  intercept?: (receiver: LinkReceiver) => LinkReceiver,
): Promise<Served> {
  const clock = new FakeClock();
  const network = new MemoryNetwork({ clock, address: '127.0.0.1' });
  const server = new RapServer(inEnvironment({ clock, network, intercept }, { closeTimeoutMs: 0 }));
  const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: false });
  expect(await app.listen()).toBe('in memory');
  const client = new RapClient(inEnvironment({ clock, network }, options));
  scope.defer(async () => {
    client.close();
    await eventually('the server has seen the end', () => server.stats().connections === 0);
    await app.close();
  });
  return { server, client, clock, network };
}

/** Counts the timers that the clock of the machine is asked for. */
function watchSystemTimers(): () => number {
  const real = { ...systemClock };
  let timers = 0;
  systemClock.after = (...args) => {
    timers += 1;
    return real.after(...args);
  };
  scope.defer(() => Object.assign(systemClock, real));
  return () => timers;
}

describe('an environment', () => {
  it('carries calls, streams and channels without a port', async () => {
    const { server, client } = await served();
    expect(await client.call('sum', { a: 1, b: 2 })).toBe(3);
    const items: number[] = [];
    for await (const item of client.stream<number>('count', 3)) items.push(item);
    expect(items).toEqual([0, 1, 2]);
    const channel = await client.channel<string, string>('echo');
    await channel.write('hello');
    expect(await channel.read()).toBe('hello');
    channel.close();
    expect(server.address()).toBeNull();
    expect(process.getActiveResourcesInfo().filter((it) => /^(TCP|Pipe)ServerWrap/.test(it))).toEqual([]);
  });

  it('reaches its server again after the connection was lost', async () => {
    const { client, clock, network } = await served();
    await client.connect();
    network.breakAll();
    await eventually('both ends are closed', () => network.size === 0);
    const sum = client.call('sum', { a: 2, b: 2 });
    clock.advance(1000); // the wait before it connects again
    expect(await sum).toBe(4);
    expect(network.size).toBe(1);
  });

  it('connects to nobody after the server has stopped listening', async () => {
    const { server, client } = await served({ reconnect: false });
    await server.close();
    expect(await rejection(client.connect())).toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST' });
  });

  it.each([
    ['one server', {}],
    ['a fleet', { servers: [{ host: 'a' }] }],
  ])('has the only clock of a server and a client of %s', async (_, options) => {
    const timers = watchSystemTimers();
    const { client, clock } = await served({ ...options, metadata: () => ({ from: 'a test' }) });
    await client.ping();
    const call = rejection(client.call('never', undefined, { timeoutMs: 1234 }));
    await eventually('the call is sent', () => client.stats().inFlight === 1);
    await client.call('sum', { a: 1, b: 2 });
    clock.advance(1234);
    expect(await call).toMatchObject({ code: 'ERR_RAP_CALL_TIMEOUT', call: { afterMs: 1234 } });
    const own = rejection(client.call('never'));
    await client.call('sum', { a: 1, b: 2 });
    clock.advance(9000);
    expect(await own).toMatchObject({ remoteName: 'RpcRunTimeError', call: { afterMs: 9000 } });
    expect(timers()).toBe(0);
  });

  it('lets the limits of sessions, channels and streams run on its clock', async () => {
    const timers = watchSystemTimers();
    const { client, clock } = await served();
    const channel = await client.channel('echo', { timeoutMs: 500 });
    const read = rejection(channel.read());
    await client.withSession((session) => session.call('sum', { a: 1, b: 2 }));
    clock.advance(500);
    expect(await read).toMatchObject({ code: 'ERR_RAP_CALL_TIMEOUT', call: { afterMs: 500 } });
    expect(timers()).toBe(0);
  });

  it('sees every frame that a server gets', async () => {
    const seen: unknown[] = [];
    const { client } = await served({}, (receiver) => ({
      onFrame: (frame, ...sizes) => {
        seen.push(frame[2].target);
        receiver.onFrame(frame, ...sizes);
      },
      onBytes: () => receiver.onBytes(),
      onDrain: () => receiver.onDrain(),
      onFault: (fault) => receiver.onFault(fault),
      onClose: (error) => receiver.onClose(error),
    }));
    await client.call('sum', { a: 1, b: 2 });
    expect(seen).toContain('/default/sum');
  });
});
