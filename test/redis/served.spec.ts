import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Redis, RedisOptions } from 'ioredis';
import {
  ConnLimitMiddleware,
  IpFilterMiddleware,
  IpMaxConnMiddleware,
  type OnStoreError,
  type RapServerOptions,
  RateLimitProcessor,
  TooManyRequestsError,
} from '../../lib/index.js';
import { RedisConnStore, RedisIpListStore, RedisRateStore } from '../../lib/redis.js';
import {
  atCleanUp,
  connectRaw,
  expectAnswers,
  openRaw,
  startApp,
  startBackgroundCalls,
  until,
} from '../helpers/fault-scope.js';
import type { TestApp } from '../helpers/app.js';
import { type Compiled, compile } from '../helpers/compiled.js';
import { RawSocket } from '../helpers/raw-socket.js';
import { describeWithRedis, TestRedis } from './redis.js';
import { EXCESS_OF_ADDRESS, isRefused, letIn, NOT_ALLOWED, refusesInTheEnd } from '../helpers/refusals.js';

/** A client of it has the wrong password from here on. */
async function withoutPassword(client: Redis): Promise<RedisOptions> {
  await client.config('SET', 'requirepass', 'right');
  return { password: 'wrong' };
}

async function replica(client: Redis): Promise<RedisOptions> {
  await client.replicaof('127.0.0.1', 1);
  return {};
}

/** A server for each plugin that has a store. */
const serversOf = (redis: () => Redis, onStoreError: OnStoreError): Record<string, RapServerOptions> => ({
  connections: {
    middleware: [new ConnLimitMiddleware({ store: new RedisConnStore(redis()), onStoreError })],
  },
  addresses: {
    middleware: [new IpMaxConnMiddleware({ store: new RedisConnStore(redis()), onStoreError })],
  },
  rates: {
    processors: [
      new RateLimitProcessor({
        rules: [() => 'all'],
        store: new RedisRateStore(redis()),
        onStoreError,
      }),
    ],
  },
  filter: {
    middleware: [new IpFilterMiddleware({ store: new RedisIpListStore(redis()), onStoreError })],
  },
});

/** Two servers with the same options, each with stores of its own. */
async function startTwo(options: () => RapServerOptions): Promise<[TestApp, TestApp]> {
  return [await startApp(options()), await startApp(options())];
}

describeWithRedis('limits in Redis', () => {
  let redis: TestRedis;
  let client: Redis;
  beforeEach(async () => {
    redis = await TestRedis.start();
    client = redis.client();
    atCleanUp(() => redis.end());
  });

  it('bounds the connections of two servers together', async () => {
    const [one, two] = await startTwo(() => ({
      middleware: [new ConnLimitMiddleware({ maxConnections: 3, store: new RedisConnStore(redis.client()) })],
    }));
    const admitted = [await openRaw(one), await openRaw(two), await openRaw(two)];
    await isRefused(one);
    await isRefused(two);
    for (const raw of admitted) await expectAnswers(raw);
    admitted[1]?.destroy();
    await expectAnswers(await letIn(one));
    await isRefused(two);
    await one.close();
    await expectAnswers(await letIn(two)); // what a server gives back when it stops
  });

  it('bounds each address over two servers', async () => {
    const [one, two] = await startTwo(() => ({
      middleware: [new IpMaxConnMiddleware({ maxConnections: 1, store: new RedisConnStore(client) })],
    }));
    await openRaw(one);
    await isRefused(two, EXCESS_OF_ADDRESS);
    const other = await connectRaw(two, '127.0.0.2');
    other.send([103, 3, { target: '/_event/DECLARE' }, {}]);
    await expectAnswers(other);
  });

  it('lets calls be made at one rate over two servers', async () => {
    const servers = await startTwo(() => ({
      processors: [
        new RateLimitProcessor({
          rules: [() => 'all'],
          rate: 0.01,
          burst: 4,
          store: new RedisRateStore(redis.client()),
        }),
      ],
    }));
    const clients = servers.map((app) => app.client());
    const outcomes = await Promise.allSettled(
      clients.flatMap((rap) => Array.from({ length: 5 }, (_, index) => rap.call('echo', index))),
    );
    const refusals = outcomes.flatMap((outcome) =>
      outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
    );
    expect(refusals).toHaveLength(6);
    for (const error of refusals) {
      expect(error).toBeInstanceOf(TooManyRequestsError);
      expect(error).toMatchObject({ status: 429, details: { retryAfterMs: expect.any(Number) as number } });
    }
  });

  it('changes the filter of all servers', async () => {
    const filters = Array.from(
      { length: 2 },
      () => new IpFilterMiddleware({ store: new RedisIpListStore(client), pollMs: 20 }),
    );
    const [one, two] = filters as [IpFilterMiddleware, IpFilterMiddleware];
    await startApp({ middleware: [one] });
    const app = await startApp({ middleware: [two] });
    await expectAnswers(await openRaw(app));
    await one.block('127.0.0.1');
    await until(() => two.lists.block.length === 1, 'the other server knows');
    await isRefused(app, NOT_ALLOWED);
    await two.allow('127.0.0.0/8');
    await expectAnswers(await openRaw(app));
  });

  describe('that is down at the start', () => {
    beforeEach(() => redis.down());

    it('open: the server starts, serves and counts as soon as it can', async () => {
      const store = new RedisConnStore(redis.client());
      const app = await startApp({
        middleware: [new ConnLimitMiddleware({ maxConnections: 1, leaseMs: 300, store, storeTimeoutMs: 50 })],
        processors: [
          new RateLimitProcessor({
            rules: [() => 'all'],
            store: new RedisRateStore(redis.client()),
            storeTimeoutMs: 50,
          }),
        ],
      });
      await expectAnswers(await openRaw(app));
      await expectAnswers(await openRaw(app));
      expect(app.log.lines.toSorted()).toEqual([
        expect.stringMatching(/^warn ConnLimitMiddleware: the store fails .*: connections are not limited$/),
        expect.stringMatching(/^warn RateLimitProcessor: the store fails .*: calls are not limited$/),
      ]);
      await redis.up();
      let held = 0;
      await until(() => {
        void client.zcard('rap:conn:{all}').then((count) => (held = count));
        return held === 2;
      }, 'both count');
      await refusesInTheEnd(app);
    });

    it('closed: the server starts, and refuses until Redis is there', async () => {
      const store = new RedisConnStore(redis.client());
      const app = await startApp({
        middleware: [
          new ConnLimitMiddleware({ maxConnections: 5, store, storeTimeoutMs: 50, onStoreError: 'closed' }),
        ],
      });
      await isRefused(app);
      await redis.up();
      await expectAnswers(await letIn(app));
    });

    it('the filter starts, and lets nobody in until it has read its lists', async () => {
      const store = new RedisIpListStore(redis.client());
      const filter = new IpFilterMiddleware({ store, pollMs: 20, storeTimeoutMs: 50 });
      const app = await startApp({ middleware: [filter] });
      await isRefused(app, NOT_ALLOWED);
      await redis.up();
      await expectAnswers(await letIn(app));
    });
  });

  describe('that answers, and does nothing', () => {
    it.each([
      ['for a wrong password', withoutPassword, 'WRONGPASS', ['connections', 'addresses', 'rates', 'filter']],
      // a replica has the lists all the same
      ['since it is a replica', replica, 'READONLY', ['connections', 'addresses', 'rates']],
    ] as const)('%s, is down: open and closed hold', async (_why, prepare, code, plugins) => {
      const options = await prepare(client);
      const use = (): Redis => redis.client(options);
      for (const plugin of plugins) {
        const open = await startApp(serversOf(use, 'open')[plugin]);
        const closed = await startApp(serversOf(use, 'closed')[plugin]);
        for (let i = 0; i < 3; i++) expect(await open.client().call('echo', i)).toBe(i);
        const refused = closed.client({ reconnect: false }).call('echo', 1);
        await expect(refused).rejects.toMatchObject({
          code: plugin === 'rates' ? 'ERR_RAP_TOO_MANY_REQUESTS' : 'ERR_RAP_CONNECTION_LOST',
        });
        // the logger is the process's: that of the application which started last
        const line: unknown = expect.stringContaining(`the store fails (${code}`);
        expect([...open.log.lines, ...closed.log.lines]).toEqual([line, line]);
      }
    });
  });

  describe('that fails in the middle', () => {
    it.each(['is killed', 'freezes'])('where it %s, those who are served notice nothing', async (how) => {
      const store = new RedisConnStore(redis.client());
      const rates = new RedisRateStore(redis.client());
      const filter = new IpFilterMiddleware({
        store: new RedisIpListStore(redis.client()),
        pollMs: 20,
        storeTimeoutMs: 300,
      });
      const app = await startApp({
        middleware: [filter, new ConnLimitMiddleware({ maxConnections: 3, store, storeTimeoutMs: 300 })],
        processors: [
          new RateLimitProcessor({ rules: [() => 'all'], rate: 1e6, store: rates, storeTimeoutMs: 300 }),
        ],
      });
      await filter.block('127.0.0.2');
      const background = await startBackgroundCalls(app);
      if (how === 'freezes') await redis.freeze();
      else await redis.down();
      await background.goesOn(); // its calls are not limited
      for (let i = 0; i < 4; i++) await expectAnswers(await openRaw(app)); // nor connections
      await isRefused(app, NOT_ALLOWED, '127.0.0.2'); // by the last lists known
      await expect(filter.block('127.0.0.3')).rejects.toThrow('the shared lists were not changed');

      if (how === 'freezes') redis.thaw();
      else await redis.up();
      await background.goesOn();
      await refusesInTheEnd(app);
      await background.goesOn();
      // the lists are there again, also if Redis had lost them
      await until(() => {
        void filter.block('127.0.0.4').catch(() => {});
        return filter.lists.block.includes('127.0.0.4');
      }, 'the lists can be changed again');
      expect(filter.lists.block).toContain('127.0.0.2');
    });
  });

  describe('a server that is killed', () => {
    const source = 'test/redis/fixtures/limited-server.ts';
    let compiled: Compiled;
    beforeAll(async () => {
      compiled = await compile([source]);
    }, 30_000);
    afterAll(() => compiled.remove());

    it('frees its places when their lease is over', async () => {
      const args = [compiled.path(source), String(redis.port), '2', '2000'];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      atCleanUp(() => child.kill('SIGKILL'));
      const [output] = (await once(child.stdout, 'data')) as [Buffer];
      const port = Number(output.toString().trim());
      const held = [await RawSocket.open(port), await RawSocket.open(port)];
      atCleanUp(() => held.forEach((raw) => raw.destroy()));

      const store = new RedisConnStore(redis.client());
      const app = await startApp({
        middleware: [new ConnLimitMiddleware({ maxConnections: 2, leaseMs: 2000, store })],
      });
      await isRefused(app);
      child.kill('SIGKILL');
      for (const raw of held) await raw.waitClosed();
      expect(await client.zcard('rap:conn:{all}')).toBe(2); // it could not give them back
      await expectAnswers(await letIn(app));
      await expectAnswers(await letIn(app));
      await isRefused(app);
    });
  });
});
