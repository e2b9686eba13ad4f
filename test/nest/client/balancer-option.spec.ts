import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { type BalancerOption, consistentHash, RapClient, type ServerAddress } from '../../../lib/index.js';
import { serve, type TestApp } from '../../helpers/app.js';

function namedController(name: string): new () => object {
  @Controller()
  class NamedController {
    @MessagePattern('name')
    name(): string {
      return name;
    }
  }
  return NamedController;
}

let apps: TestApp[];
let client: RapClient;
beforeEach(async () => {
  apps = await Promise.all(['s0', 's1', 's2'].map((name) => serve([namedController(name)])));
});
afterEach(async () => {
  client.close();
  for (const app of apps) await app.close();
});

async function connected(balancer: BalancerOption): Promise<void> {
  const servers: ServerAddress[] = apps.map(({ port }, i) => ({
    host: '127.0.0.1',
    port,
    metadata: { zone: `z${i}` },
  }));
  client = new RapClient({ servers, balancer });
  const ready = new Set<string>();
  const all = new Promise<void>((resolve) => {
    client.on('endpoint', ({ address, state }) => {
      if (state === 'ready' && ready.add(address).size === servers.length) resolve();
    });
  });
  await client.connect();
  await all;
}

const named = (times: number, header: Record<string, unknown>): Promise<string[]> =>
  Promise.all(Array.from({ length: times }, async () => client.call<string>('name', undefined, { header })));

it('consistentHash sends the calls of a key to one server, and those of many keys to all', async () => {
  await connected(consistentHash({ key: 'tenant', boundedLoad: Infinity }));
  const byTenant: string[][] = [];
  for (let tenant = 0; tenant < 30; tenant += 1) byTenant.push(await named(5, { tenant }));
  expect(byTenant.map((names) => new Set(names).size)).toEqual(byTenant.map(() => 1));
  expect(new Set(byTenant.flat()).size).toBe(3);
});

it('a function sees the metadata of the servers', async () => {
  await connected((servers) => servers.find(({ metadata }) => metadata?.['zone'] === 'z1'));
  expect(new Set(await named(20, {}))).toEqual(new Set(['s1']));
});

it('tells once of a function that throws, and goes on', async () => {
  await connected(() => {
    throw new Error('no idea');
  });
  expect(await named(20, {})).toHaveLength(20);
  const told = apps.flatMap(({ log }) => log.lines).filter((line) => line.includes('balancer function'));
  expect(told).toEqual([expect.stringMatching(/warn RapClient: the balancer function has thrown: no idea/)]);
});
