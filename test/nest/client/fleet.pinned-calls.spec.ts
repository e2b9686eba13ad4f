import 'reflect-metadata';
import { createServer } from 'node:net';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, type RapClient, type RapSession } from '../../../lib/index.js';
import { eventually, Gate, rejection, turn } from '../../helpers/async.js';
import { serve, type TestApp } from '../../helpers/app.js';
import { TestFleet } from './test-fleet.js';

let gate: Gate;

@Controller()
class WaitingController {
  @MessagePattern('wait')
  async wait(): Promise<string> {
    await gate.opened;
    return 'done';
  }

  @MessagePattern('items')
  async *items(): AsyncGenerator<string> {
    await gate.opened;
    yield 'item';
  }

  @ChannelPattern('talk')
  async talk(@Payload() channel: RapChannel): Promise<void> {
    await gate.opened;
    await channel.write('word');
  }
}

let apps: TestApp[];
let fleet: TestFleet;
beforeEach(async () => {
  gate = new Gate();
  fleet = await TestFleet.start(0);
  apps = [await serve([WaitingController]), await serve([WaitingController])];
});
afterEach(async () => {
  gate.open();
  await fleet.close();
  for (const app of apps) await app.close();
});

const servers = () => apps.map(({ port }) => ({ host: '127.0.0.1', port }));
const sum = (client: RapClient, of: 'picks' | 'inFlight' | 'failures'): number =>
  (client.stats().endpoints ?? []).reduce((all, each) => all + each[of], 0);

describe.each(['session', 'withConnection', 'exclusive'] as const)('calls of %s', (kind) => {
  async function bound(
    client: RapClient,
    work: (it: RapClient | RapSession) => Promise<void>,
  ): Promise<void> {
    if (kind === 'session') await client.withSession(work);
    else await client.withConnection(() => work(client), { exclusive: kind === 'exclusive' });
  }

  it('count for their server: picks, calls in flight, streams and events', async () => {
    const client = fleet.client({ servers: servers() });
    await bound(client, async (it) => {
      const calls = Array.from({ length: 20 }, () => it.call('wait'));
      expect([sum(client, 'picks'), sum(client, 'inFlight')]).toEqual([20, 20]);
      gate.open();
      await Promise.all(calls);
      expect(sum(client, 'inFlight')).toBe(0);
      for await (const each of it.stream('items')) expect(each).toBe('item');
      expect([sum(client, 'picks'), sum(client, 'inFlight')]).toEqual([21, 0]);
    });
  });

  it('that are not answered in time eject their server, and do not move', async () => {
    const client = fleet.client({ servers: servers(), eject: { baseMs: 60_000 } });
    const ejected: string[] = [];
    client.on('endpoint', ({ state, address }) => void (state === 'ejected' && ejected.push(address)));
    await bound(client, async (it) => {
      const options = { timeoutMs: 20, idempotent: true };
      const errors = await Promise.all(
        Array.from({ length: 5 }, () => rejection(it.call('wait', 1, options))),
      );
      for (const error of errors) expect(error).toMatchObject({ name: 'CallTimeoutError', sent: 'unknown' });
    });
    expect(ejected).toHaveLength(1);
    expect([sum(client, 'picks'), sum(client, 'failures')]).toEqual([5, 5]);
  });
});

it('streams that are not answered in time eject their server', async () => {
  const client = fleet.client({ servers: servers(), balancer: 'roundRobin', eject: { baseMs: 60_000 } });
  await client.connect();
  const ejected = new Set<string>();
  client.on('endpoint', ({ state, address }) => void (state === 'ejected' && ejected.add(address)));
  const read = async (): Promise<void> => {
    for await (const each of client.stream('items', undefined, { timeoutMs: 20 })) expect(each).toBe('item');
  };
  for (let i = 0; i < 10; i += 1) await rejection(read());
  expect(ejected.size).toBe(1); // never the last one
  expect(sum(client, 'failures')).toBe(10);
});

it('a session stays on its connection when that is replaced because of its age', async () => {
  gate.open();
  const client = fleet.client({ servers: servers(), pool: { maxConnectionAgeMs: 30 } });
  const session = await client.openSession();
  await session.call('wait');
  const connections = (): number =>
    (client.stats().endpoints ?? []).reduce((all, each) => all + each.connections, 0);
  await eventually('the connection is replaced', () => connections() === 3);
  await expect(session.call('wait')).resolves.toBe('done');
  session.close();
  await eventually('the old connection is closed', () => connections() === 2);
});

describe('an exclusive connection to a single server', () => {
  it('is opened within the time limit of a call', async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    const client = fleet.client({ servers: undefined, host: '127.0.0.1', port, callTimeoutMs: 50 });
    const error = await rejection(client.withConnection(() => 1, { exclusive: true }));
    expect(error).toMatchObject({ name: 'CallTimeoutError', phase: 'connect' });
    silent.close();
  });

  it('is counted, and drain() waits for it', async () => {
    const client = fleet.client({ servers: undefined, host: '127.0.0.1', port: apps[0]?.port ?? 0 });
    await client.connect();
    const order: string[] = [];
    let drained: Promise<unknown> | undefined;
    await client.withConnection(
      async () => {
        const call = client.call('wait');
        await eventually('it is in flight', () => client.stats().inFlight === 1);
        drained = client.drain().then(() => order.push('drained'));
        await turn();
        gate.open();
        await call;
        order.push('answered');
      },
      { exclusive: true },
    );
    await drained;
    expect(order).toEqual(['answered', 'drained']);
  });
});

describe('an ejected server that is well again', () => {
  it.each(['stream', 'channel', 'session', 'withConnection'] as const)(
    'is found by a client that uses nothing but %s',
    async (kind) => {
      const client = fleet.client({
        servers: servers(),
        balancer: 'roundRobin',
        eject: { baseMs: 20, maxMs: 20 },
      });
      await client.connect();
      const states = new Map<string, string>();
      client.on('endpoint', ({ address, state }) => void states.set(address, state));
      const use: Record<typeof kind, () => Promise<unknown>> = {
        async stream() {
          for await (const each of client.stream('items', undefined, { timeoutMs: 20 })) return each;
          return undefined;
        },
        channel: async () => (await client.channel('talk', { timeoutMs: 20 })).read(),
        session: () => client.withSession((it) => it.call('wait', 1, { timeoutMs: 20 })),
        withConnection: () => client.withConnection(() => client.call('wait', 1, { timeoutMs: 20 })),
      };
      for (let i = 0; i < 10; i += 1) await rejection(use[kind]());
      expect([...states.values()]).toContain('ejected');
      gate.open();
      const isWell = (): boolean => [...states.values()].every((state) => state === 'ready');
      for (let i = 0; i < 1_000 && !isWell(); i += 1) await use[kind]().catch(() => {});
      expect([...states.values()]).not.toContain('ejected');
    },
  );

  it('a stream whose reader leaves before anything came says nothing about its server', async () => {
    const client = fleet.client({ servers: servers(), balancer: 'roundRobin', eject: { baseMs: 60_000 } });
    await client.connect();
    const ejected: string[] = [];
    client.on('endpoint', ({ state, address }) => void (state === 'ejected' && ejected.push(address)));
    for (let i = 0; i < 12; i += 1) {
      const left = client.stream('items')[Symbol.asyncIterator]();
      void left.next();
      await turn();
      await left.return?.();
      const late = client.stream('items', undefined, { timeoutMs: 20 })[Symbol.asyncIterator]();
      await rejection(late.next());
      const again = client.stream('items', undefined, { timeoutMs: 20 })[Symbol.asyncIterator]();
      await rejection(again.next());
    }
    expect(ejected).toHaveLength(1);
  });
});

it('a signal that aborts while a stream waits for its server cancels it', async () => {
  for (const client of [
    fleet.client({ servers: servers() }),
    fleet.client({ servers: undefined, ...servers()[0] }),
  ]) {
    await client.connect();
    for (let turns = 0; turns < 8; turns += 1) {
      const abort = new AbortController();
      const reading = rejection(
        (async () => {
          for await (const each of client.stream('items', undefined, { signal: abort.signal })) return each;
          return undefined;
        })(),
      );
      for (let i = 0; i < turns; i += 1) await Promise.resolve();
      abort.abort();
      await expect(reading).resolves.toMatchObject({ name: 'CallCancelledError' });
    }
    await eventually('no channel is left', () => client.stats().channels === 0);
  }
});
