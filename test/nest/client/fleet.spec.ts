import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import type { RapClientOptions } from '../../../lib/index.js';
import { RapClient } from '../../../lib/index.js';
import { serve, type TestApp } from '../../helpers/app.js';

/** What each server was asked. */
class Work {
  calls = 0;
}

function controllerOf(name: string, work: Work): new () => object {
  @Controller()
  class FleetController {
    @MessagePattern('name')
    name(): string {
      work.calls += 1;
      return name;
    }

    @MessagePattern('slow')
    async slow(ms: number): Promise<string> {
      work.calls += 1;
      await new Promise((resolve) => setTimeout(resolve, ms));
      return name;
    }

    @MessagePattern('count')
    *count(n: number): Generator<string> {
      for (let i = 0; i < n; i += 1) yield `${name}${i}`;
    }
  }
  return FleetController;
}

class TestFleet {
  readonly apps: TestApp[] = [];
  readonly works: Work[] = [];
  readonly #clients: RapClient[] = [];

  static async start(size: number): Promise<TestFleet> {
    const fleet = new TestFleet();
    for (let i = 0; i < size; i += 1) {
      const work = new Work();
      fleet.works.push(work);
      fleet.apps.push(await serve([controllerOf(`s${i}`, work)]));
    }
    return fleet;
  }

  client(options: RapClientOptions = {}): RapClient {
    const servers = this.apps.map(({ port }) => ({ host: '127.0.0.1', port }));
    const client = new RapClient({ servers, ...options });
    this.#clients.push(client);
    return client;
  }

  /** A client that is connected to all servers. */
  async ready(options: RapClientOptions = {}): Promise<RapClient> {
    const client = this.client(options);
    const states = new Map<string, string>();
    const all = new Promise<void>((resolve) => {
      client.on('endpoint', ({ address, state }) => {
        states.set(address, state);
        if ([...states.values()].filter((each) => each === 'ready').length === this.apps.length) resolve();
      });
    });
    await client.connect();
    await all;
    return client;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    for (const app of this.apps) await app.close();
  }
}

let fleet: TestFleet;
beforeEach(async () => {
  fleet = await TestFleet.start(3);
});
afterEach(() => fleet.close());

it('spreads calls over all servers', async () => {
  const client = await fleet.ready();
  const names = await Promise.all(Array.from({ length: 300 }, () => client.call<string>('name')));
  expect(new Set(names)).toEqual(new Set(['s0', 's1', 's2']));
  const { endpoints = [] } = client.stats();
  expect(endpoints.map(({ state }) => state)).toEqual(['ready', 'ready', 'ready']);
  expect(endpoints.reduce((sum, { picks }) => sum + picks, 0)).toBe(300);
});

it('streams, opens channels and sends events', async () => {
  const client = fleet.client();
  const items: string[] = [];
  for await (const item of client.stream<string>('count', 3)) items.push(item);
  expect(items).toHaveLength(3);
  await new Promise<void>((resolve, reject) => {
    client.emit('name', undefined).subscribe({ complete: resolve, error: reject });
  });
  expect(client.stats().endpoints?.every(({ inFlight }) => inFlight === 0)).toBe(true);
});

it('loses no call when a server is closed in order', async () => {
  const client = await fleet.ready();
  const calls = Array.from({ length: 200 }, (_, i) => client.call<string>('slow', i % 50));
  const closing = fleet.apps[1]?.server.close();
  const more = Array.from({ length: 200 }, (_, i) => client.call<string>('slow', i % 50));
  await expect(Promise.all([...calls, ...more])).resolves.toHaveLength(400);
  await closing;
  expect(fleet.works.reduce((sum, { calls: count }) => sum + count, 0)).toBe(400);
});
