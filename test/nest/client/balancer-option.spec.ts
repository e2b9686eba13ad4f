import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import {
  type BalancerOption,
  consistentHash,
  type PickedCall,
  RapClient,
  type ServerAddress,
} from '../../../lib/index.js';
import { serve, type TestApp } from '../../helpers/app.js';

function namedController(name: string): new () => object {
  @Controller()
  class NamedController {
    @MessagePattern('name')
    name(): string {
      return name;
    }

    @MessagePattern('names')
    *names(): Generator<string> {
      yield name;
    }

    @MessagePattern('either')
    either(): unknown {
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

async function first(items: AsyncIterable<string>): Promise<string | undefined> {
  for await (const item of items) return item;
  return undefined;
}

it('consistentHash sends the calls of a key to one server, and those of many keys to all', async () => {
  await connected(consistentHash({ key: 'tenant', boundedLoad: Infinity }));
  const byTenant: string[][] = [];
  for (let tenant = 0; tenant < 30; tenant += 1) byTenant.push(await named(5, { tenant }));
  expect(byTenant.map((names) => new Set(names).size)).toEqual(byTenant.map(() => 1));
  expect(new Set(byTenant.flat()).size).toBe(3);
});

it('consistentHash by body: streams have the key of their parameters, however they are called', async () => {
  await connected(consistentHash({ key: { body: 'user' }, boundedLoad: Infinity }));
  const api = client.controller(namedController('proxy')) as unknown as {
    either: (input: unknown) => AsyncIterable<string> & PromiseLike<string>;
  };
  const ways: Record<string, (body: unknown) => Promise<string | undefined>> = {
    call: (body) => client.call<string>('name', body),
    stream: (body) => first(client.stream<string>('names', body)),
    send: (body) => lastValueFrom(client.send<string>('names', body)),
    awaited: async (body) => api.either(body),
  };
  for (let user = 0; user < 10; user += 1) {
    const expected = await client.call<string>('name', { user });
    for (const [way, use] of Object.entries(ways))
      for (let i = 0; i < 3; i += 1) expect([way, await use({ user })]).toEqual([way, expected]);
  }
});

async function useAll(balancer: BalancerOption): Promise<void> {
  await connected(balancer);
  await client.ping();
  await client.withSession((session) => session.call('name', { user: 'u' }));
  await client.withConnection(() => client.call('name', { user: 'u' }));
  await client.withConnection(() => client.call('name', { user: 'u' }), { exclusive: true });
}
const thrown = (): string[] => apps.flatMap(({ log }) => log.lines).filter((line) => line.includes('thrown'));

const userOf = ({ body }: PickedCall): string => (body as { user: string }).user.trim();

describe('what is no call', () => {
  it('is picked by a function, too: it knows the servers', async () => {
    const asked = new Set<string>();
    await useAll((servers, { target }) => {
      asked.add(target);
      return servers.find(({ metadata }) => metadata?.['zone'] === 'z1');
    });
    expect([...asked]).toEqual(['']); // calls inside go where their session is
    expect(client.stats().endpoints?.map(({ picks }) => picks)).toEqual([0, 3, 0]);
  });

  it('does not count as a mistake of a function that needs a body', async () => {
    await useAll((servers, call) => (userOf(call), servers[0]));
    client.close();
    await useAll(consistentHash({ key: userOf }));
    expect(thrown()).toEqual([]);
  });
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
