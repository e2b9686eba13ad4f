import type {
  EndpointStats,
  RapClient,
  RapClientOptions,
  RapError,
  ServerAddress,
} from '../../../lib/index.js';
import { eventually, rejection } from '../../helpers/async.js';
import { answerDeclare, type RawFrame, type RawSocket, scriptedServer } from '../../helpers/raw-socket.js';
import { SteadyCalls } from './steady-calls.js';
import { fleetForEachTest, type TestFleet } from './test-fleet.js';

let fleet: TestFleet;
const scope = fleetForEachTest(3, (started) => (fleet = started));

let list: (servers: readonly unknown[]) => void;

/** A client whose list a test sets, connected to all that are listed first. */
async function listed(servers: readonly unknown[], options: RapClientOptions = {}): Promise<RapClient> {
  const client = fleet.client({
    ...options,
    resolver: {
      watch(listener) {
        list = listener as typeof list;
        list(servers);
        return () => {};
      },
    },
  });
  await client.connect();
  await ready(client, new Set(servers).size);
  return client;
}

const isReady = ({ state }: EndpointStats): boolean => state === 'ready';

function ready(client: RapClient, count: number): Promise<void> {
  return eventually(`${count} are ready`, () => client.stats().endpoints?.filter(isReady).length === count);
}

/** How many of so many calls each server gets, one after the other. */
async function shares(client: RapClient, calls: number): Promise<number[]> {
  for (const work of fleet.works) work.calls = 0;
  for (let i = 0; i < calls; i += 1) await client.call('name', i);
  return fleet.works.map((work) => work.calls);
}

const weights = (client: RapClient): unknown => client.stats().endpoints?.map(({ weight }) => weight);
const weighted = (...values: unknown[]): unknown[] =>
  fleet.servers.map((server, i) => ({ ...server, weight: values[i] }));

describe('weights that a resolver lists', () => {
  it.each(['p2c', 'roundRobin', 'random', 'weighted', 'leastInFlight'] as const)(
    'zero: a standby, which gets calls when no other server takes them; %s',
    async (balancer) => {
      const client = await listed(weighted(0, 1, 0), { balancer });
      expect(weights(client)).toEqual([0, 1, 0]);
      expect(await shares(client, 30)).toEqual([0, 30, 0]);
      await fleet.apps[1]?.close();
      await ready(client, 2);
      const [first = 0, second, third = 0] = await shares(client, 30);
      expect([first + third, second]).toEqual([30, 0]);
    },
  );

  it.each(['p2c', 'roundRobin', 'random', 'weighted', 'leastInFlight'] as const)(
    'zero for all: they share; %s',
    async (balancer) => {
      const client = await listed(weighted(0, 0, 0), { balancer });
      const counts = await shares(client, 90);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(90);
      expect(counts.filter((count) => count > 0)).toHaveLength(3);
    },
  );

  it.each([[NaN], [Infinity], ['2'], [null]])('%p counts as 1', async (weight) => {
    const client = await listed(weighted(weight, 1, 2), { balancer: 'weighted' });
    expect(weights(client)).toEqual([1, 1, 2]);
    expect(await shares(client, 40)).toEqual([10, 10, 20]);
  });

  it('may change while calls run', async () => {
    const client = await listed(weighted(1, 1, 1), { balancer: 'weighted' });
    expect(await shares(client, 30)).toEqual([10, 10, 10]);
    list(weighted(0, 3, 1));
    expect(await shares(client, 40)).toEqual([0, 30, 10]);
    list(weighted(NaN, -5, 1));
    expect(await shares(client, 40)).toEqual([20, 0, 20]);
  });
});

describe('two servers at one address', () => {
  it('that a resolver lists are one, with one connection and the weight of the first', async () => {
    const [server] = fleet.servers;
    const twice = [{ ...server, weight: 3 }, { ...server, weight: 5 }, fleet.servers[1]];
    const client = fleet.client({
      resolver: { watch: (listener) => (listener(twice as ServerAddress[]), () => {}) },
    });
    await client.connect();
    await ready(client, 2);
    expect(weights(client)).toEqual([3, 1]);
    await Promise.all(Array.from({ length: 50 }, () => client.call('name')));
    expect(fleet.apps.map((app) => app.server.stats().connections)).toEqual([1, 1, 0]);
  });
});

const first = (): string => `127.0.0.1:${fleet.servers[0]?.port}`;
const statsOf = (client: RapClient, address: string): EndpointStats | undefined =>
  client.stats().endpoints?.find((each) => each.address === address);

describe('a server that comes back under its old address', () => {
  it('as another process: calls go to that, and none is lost meanwhile', async () => {
    const reconnect = { baseDelayMs: 1, maxDelayMs: 5, spreadMs: 5 };
    const client = await fleet.ready({ balancer: 'roundRobin', reconnect });
    const calls = new SteadyCalls(client);
    const [old] = fleet.apps.splice(0, 1);
    await old?.close();
    await fleet.add({ port: old?.port as number });
    await eventually('the new process has calls', () => calls.names.has('s3'));
    await calls.end();
    expect(statsOf(client, `127.0.0.1:${old?.port}`)?.state).toBe('ready');
  });

  it('after it was not listed: it starts clean, and what runs on its old connection ends in peace', async () => {
    const client = await listed(fleet.servers.slice(0, 1));
    const slow = client.call('slow', 300);
    await eventually('it runs', () => fleet.calls === 1);
    list([]);
    expect(client.stats().endpoints).toEqual([]);
    list(fleet.servers.slice(0, 1));
    await ready(client, 1);
    expect(statsOf(client, first())).toMatchObject({ picks: 0, inFlight: 0, connections: 1 });
    await client.call('name');
    expect(fleet.works[0]?.ports.size).toBe(2); // another connection
    await expect(slow).resolves.toBe('s0');
    expect(statsOf(client, first())).toMatchObject({ picks: 1, failures: 0 });
    await eventually('the old one is closed', () => fleet.apps[0]?.server.stats().connections === 1);
  });

  it('after it was ejected and not listed: it takes calls at once', async () => {
    const client = await listed(fleet.servers, {
      balancer: 'roundRobin',
      eject: { consecutiveFailures: 1, baseMs: 60_000 },
    });
    const work = fleet.works[0] as (typeof fleet.works)[number];
    work.fault = () => new Promise(() => {});
    while (statsOf(client, first())?.state !== 'ejected')
      await client.call('name', 1, { timeoutMs: 100 }).catch(() => {});
    expect(statsOf(client, first())).toMatchObject({ failures: 1, reason: expect.any(String) });
    list(fleet.servers.slice(1));
    work.fault = undefined;
    list(fleet.servers);
    await ready(client, 3);
    expect(statsOf(client, first())).toMatchObject({
      failures: 0,
      picks: 0,
      reason: undefined,
      ejectedUntil: undefined,
    });
    expect(await shares(client, 30)).toEqual([10, 10, 10]);
  });
});

const isCall = (frame: RawFrame): boolean => frame[0] === 101;
const isPing = (frame: RawFrame): boolean => frame[2]['target'] === '/_event/ping';

async function scripted() {
  const it = await scriptedServer(async (peer) => void (await answerDeclare(peer)));
  scope.defer(() => it.close());
  return it;
}

describe('a process that was frozen for minutes', () => {
  it('pings before its first call, and calls another server if there is no answer', async () => {
    const time = scope.stopTime();
    const [silent, alive] = [await scripted(), await scripted()];
    const servers = [silent, alive].map(({ port }) => ({ host: '127.0.0.1', port }));
    const client = await fleet.ready(
      { servers, balancer: (all) => all.find(({ address }) => address.endsWith(`:${silent.port}`)) },
      2,
    );
    const [silentPeer, alivePeer] = [silent.peers[0], alive.peers[0]] as [RawSocket, RawSocket];
    time.freeze(180_000);
    const call = client.call('name', 1, { timeoutMs: 60_000 });
    call.catch(() => {});
    await silentPeer.next(isPing);
    time.pass(100);
    expect(silentPeer.frames.filter(isCall)).toEqual([]);
    // it does not answer; the other one does, and gets the call
    const answered = (async () => {
      const [, id] = await alivePeer.next(isPing);
      expect(alivePeer.frames.filter(isCall)).toEqual([]);
      alivePeer.send([103, id, {}, {}]);
    })();
    await eventually('the call', () => {
      time.pass(50);
      return alivePeer.frames.some(isCall);
    });
    await answered;
    const [, id] = await alivePeer.next(isCall);
    alivePeer.send([101, id, { status_code: 200 }, 'answer']);
    await expect(call).resolves.toBe('answer');
    expect(silentPeer.frames.filter(isCall)).toEqual([]);
  });

  it('says of the call that no server got that it was not sent', async () => {
    const time = scope.stopTime();
    const silent = await scripted();
    const client = await fleet.ready({ servers: [{ host: '127.0.0.1', port: silent.port }], pool: {} }, 1);
    time.freeze(180_000);
    const call = rejection(client.call('name', 1, { timeoutMs: 200 }));
    await silent.peers[0]?.next(isPing);
    time.pass(200);
    expect((await call) as unknown as RapError).toMatchObject({ name: 'CallTimeoutError', sent: 'no' });
    expect(silent.peers[0]?.frames.filter(isCall)).toEqual([]);
  });
});
