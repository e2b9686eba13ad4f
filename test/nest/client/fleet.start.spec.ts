import 'reflect-metadata';
import { Test } from '@nestjs/testing';
import { ClientsModule } from '@nestjs/microservices';
import { RapClient, type RapClientOptions, RapModule } from '../../../lib/index.js';
import { eventually, pass, rejection } from '../../helpers/async.js';
import { freePort } from '../../helpers/ports.js';
import { scriptedServer } from '../../helpers/raw-socket.js';
import { TestFleet } from './test-fleet.js';

let fleet: TestFleet;
let unhandled: unknown[];
const note = (error: unknown): void => void unhandled.push(error);

beforeEach(async () => {
  unhandled = [];
  process.on('unhandledRejection', note);
  fleet = await TestFleet.start(2);
});
afterEach(async () => {
  await fleet.close();
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

async function nobody(count: number): Promise<{ host: string; port: number }[]> {
  const servers: { host: string; port: number }[] = [];
  for (let i = 0; i < count; i += 1) servers.push({ host: '127.0.0.1', port: await freePort() });
  return servers;
}

const connections = (): number[] => fleet.apps.map(({ server }) => server.stats().connections);

describe('lazy', () => {
  it('asks for nothing before the first call', async () => {
    let watched = 0;
    const client = fleet.client({
      resolver: { watch: (listener) => ((watched += 1), listener(fleet.servers), () => {}) },
    });
    await pass(20);
    expect([watched, ...connections()]).toEqual([0, 0, 0]);
    await client.call('name');
    expect(watched).toBe(1);
  });
});

describe('eager', () => {
  it.each([1, 2])('connects to %i servers when it is made', async (count) => {
    fleet.client({ servers: fleet.servers.slice(0, count), start: 'eager' });
    await eventually('connected', () => connections().filter((each) => each === 1).length === count);
  });

  it('a failure is seen in events and in the log, and harms nothing', async () => {
    const servers = await nobody(2);
    const client = fleet.client({ servers, start: 'eager' });
    const seen: string[] = [];
    client.on('endpoint', ({ address, state, reason }) => seen.push(`${address} ${state} ${reason}`));
    const port = servers[0]?.port as number;
    await eventually('told', () =>
      seen.some((line) => line.startsWith(`127.0.0.1:${port} backingOff cannot`)),
    );
    expect(fleet.log).toContain(`127.0.0.1:${port} is backingOff: cannot connect to 127.0.0.1:${port}`);
    await fleet.add({ port });
    await expect(client.call('name')).resolves.toBe('s2');
  });

  it('one server: a failure is an event', async () => {
    const [one] = await nobody(1);
    const client = fleet.client({ servers: undefined, ...one, start: 'eager' });
    const reason = await new Promise<Error | undefined>((resolve) => client.on('disconnect', resolve));
    expect(reason?.message).toMatch(/^cannot connect to 127.0.0.1:\d+/);
  });

  it('a resolver that throws harms nothing', async () => {
    let watched = 0;
    const client = fleet.client({
      start: 'eager',
      resolver: {
        watch(listener) {
          watched += 1;
          if (watched === 1) throw new Error('no zookeeper');
          listener(fleet.servers);
          return () => {};
        },
      },
    });
    await eventually('told', () => fleet.log.includes('no zookeeper'));
    await expect(client.call('name')).resolves.toMatch(/^s/);
  });
});

describe('required', () => {
  const modules: [string, (options: RapClientOptions) => object][] = [
    ['RapModule.register', (options) => ({ imports: [RapModule.register([{ name: 'C', ...options }])] })],
    [
      'RapModule.registerAsync',
      (options) => ({ imports: [RapModule.registerAsync([{ name: 'C', useFactory: () => options }])] }),
    ],
    [
      'a provider',
      (options) => ({ providers: [{ provide: 'C', useFactory: () => new RapClient(options) }] }),
    ],
    ['a value', (options) => ({ providers: [{ provide: 'C', useValue: new RapClient(options) }] })],
    [
      'ClientsModule',
      (options) => ({ imports: [ClientsModule.register([{ name: 'C', customClass: RapClient, options }])] }),
    ],
  ];

  it.each(modules)('%s: the application does not start without a server', async (_name, make) => {
    for (const count of [1, 2]) {
      const servers = await nobody(count);
      const reached = count === 1 ? { ...servers[0], reconnect: false } : { servers };
      const module = await Test.createTestingModule(make({ ...reached, start: 'required' })).compile();
      const error = await rejection(module.createNestApplication().init());
      expect(error.name).toBe('ConnectionLostError');
      expect(error.message).toContain(`cannot connect to 127.0.0.1:${servers.at(-1)?.port}`);
      module.get<RapClient>('C').close();
    }
  });

  it.each(modules)('%s: one server of several is enough', async (_name, make) => {
    const servers = [...(await nobody(2)), ...fleet.servers.slice(0, 1)];
    const module = await Test.createTestingModule(make({ servers, start: 'required' })).compile();
    const app = await module.createNestApplication().init();
    expect(connections()).toEqual([1, 0]);
    await expect(app.get<RapClient>('C').call('name')).resolves.toBe('s0');
    await app.close();
    await eventually('closed', () => connections()[0] === 0);
  });

  it('a server that accepts and says nothing does not hold up the start for ever', async () => {
    const silent = await scriptedServer(() => {});
    const servers = [{ host: '127.0.0.1', port: silent.port }, ...(await nobody(1))];
    const module = await Test.createTestingModule({
      imports: [
        RapModule.register([{ name: 'C', servers, start: 'required', limits: { openTimeoutMs: 50 } }]),
      ],
    }).compile();
    await expect(module.init()).rejects.toThrow(/none of the 2 servers/);
    module.get<RapClient>('C').close();
    await silent.close();
  });
});
