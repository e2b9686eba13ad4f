import 'reflect-metadata';
import { createServer } from 'node:net';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import type { RapClient, RapSession } from '../../../lib/index.js';
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
