import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  ChannelPattern,
  RapChannel,
  RapClient,
  RapContext,
  type RapError,
  RapServer,
} from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope } from '../../helpers/async.js';

const scope = testScope();
let gate: Gate;
let begun: number;
beforeEach(() => {
  gate = new Gate();
  begun = 0;
});

@Controller()
class HeldController {
  @MessagePattern('call')
  async call(@Ctx() ctx: RapContext): Promise<string> {
    begun += 1;
    await Promise.race([
      gate.opened,
      new Promise((resolve) => ctx.signal.addEventListener('abort', resolve)),
    ]);
    return 'done';
  }

  @EventPattern('event')
  async event(@Payload() _n: number): Promise<void> {
    begun += 1;
    await gate.opened;
  }

  @MessagePattern('stream')
  async *stream(): AsyncGenerator<number> {
    begun += 1;
    yield 1;
    await gate.opened;
    yield 2;
  }

  @ChannelPattern('talk')
  async talk(@Payload() channel: RapChannel): Promise<void> {
    begun += 1;
    await channel.write(1);
    await gate.opened;
  }
}

it('counts connections, and what runs: calls, events, streams and channels', async () => {
  const { server, client } = await scope.serve([HeldController]);
  expect(server.stats()).toMatchObject({ connections: 0, inFlight: 0, channels: 0 });
  const [first, second] = [client(), client()];
  await Promise.all([first.connect(), second.connect()]);
  expect(server.stats()).toMatchObject({ connections: 2, inFlight: 0, channels: 0 });

  const calls = [first.call('call'), second.call('call')];
  first.emit('event', 1);
  const items = first.stream<number>('stream')[Symbol.asyncIterator]();
  expect(await items.next()).toEqual({ done: false, value: 1 });
  const channel = await second.channel<number>('talk');
  expect(await channel.read()).toBe(1);
  await eventually('all run', () => begun === 5);
  expect(server.stats()).toMatchObject({
    connections: 2,
    inFlight: 5,
    channels: 2,
    refusedCalls: 0,
    draining: false,
  });

  gate.open();
  await Promise.all(calls);
  expect(await items.next()).toEqual({ done: false, value: 2 });
  expect((await items.next()).done).toBe(true);
  expect(await channel.read()).toBeUndefined();
  await eventually('nothing runs', () => server.stats().inFlight === 0);
  expect(server.stats()).toMatchObject({ connections: 2, channels: 0 });
  await eventually('the latency', () => server.stats().latencyMs > 0);
  first.close();
  await eventually('one is left', () => server.stats().connections === 1);
});

it('does not count what was cancelled', async () => {
  const { server, client } = await scope.serve([HeldController]);
  const controller = new AbortController();
  const call = rejection(client().call('call', 1, { signal: controller.signal }));
  await eventually('it runs', () => server.stats().inFlight === 1);
  controller.abort();
  await call;
  await eventually('nothing runs', () => server.stats().inFlight === 0);
  expect(server.stats().refusedCalls).toBe(0);
});

it('counts each refusal once, by its reason', async () => {
  const { server, client } = await scope.serve([HeldController], {
    limits: { maxInFlightTotal: 2, maxInFlightPerAddress: 2, maxChannelsTotal: 1, maxConnections: 1 },
  });
  const it = client();
  const running = [it.call('call'), it.call('call')];
  const channel = await it.channel<number>('talk');
  await eventually('all run', () => begun === 3);
  const refused = [it.call('call'), it.channel('talk').then((each) => each.read())];
  for (const each of refused) expect(((await rejection(each)) as unknown as RapError).status).toBe(429);
  expect(server.stats()).toMatchObject({
    inFlight: 3,
    channels: 1,
    refusedCalls: 2,
    refusedConnections: 0,
  });
  await rejection(client({ reconnect: false }).connect());
  expect(server.stats()).toMatchObject({
    connections: 1,
    refusedCalls: 2,
    refusedConnections: 1,
    refusedByLoad: { loopDelay: 0, adaptiveLimit: 0 },
    adaptiveLimit: undefined,
  });
  gate.open();
  await Promise.all(running);
  await channel.closed;
  await eventually('nothing runs', () => server.stats().inFlight === 0);
  await expect(it.call('call')).resolves.toBe('done');
  expect(server.stats().refusedCalls).toBe(2);
});

it('may be asked before the server listens, and after it is closed', async () => {
  const nothing = {
    connections: 0,
    inFlight: 0,
    channels: 0,
    refusedCalls: 0,
    refusedConnections: 0,
    draining: false,
    refusedByLoad: { loopDelay: 0, adaptiveLimit: 0 },
    refusedShare: 0,
    loopDelayMs: 0,
    latencyMs: 0,
    adaptiveLimit: undefined,
  };
  expect(new RapServer().stats()).toEqual(nothing);
  const { server, client, close } = await scope.serve([HeldController]);
  expect(server.stats()).toEqual(nothing);
  const it: RapClient = client();
  await it.connect();
  await close();
  expect(server.stats()).toMatchObject({ connections: 0, inFlight: 0, channels: 0, draining: true });
});
