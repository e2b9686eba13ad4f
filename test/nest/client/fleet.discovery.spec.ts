import { etcdResolver, registerInEtcd } from '../../../lib/etcd.js';
import {
  dnsResolver,
  type DnsResolverOptions,
  type EndpointStats,
  type RapClient,
  type RapError,
  type RapServer,
} from '../../../lib/index.js';
import { describeWithDnsmasq, TestDnsmasq } from '../../discovery/dnsmasq.js';
import { describeWithEtcd, TestEtcd } from '../../etcd/etcd.js';
import { eventually, rejection } from '../../helpers/async.js';
import { SteadyCalls } from './steady-calls.js';
import { TestFleet } from './test-fleet.js';

let fleet: TestFleet;
const ends: (() => unknown)[] = [];
beforeEach(() => {
  fleet = new TestFleet();
});
afterEach(async () => {
  await fleet.close();
  for (const end of ends.splice(0).toReversed()) await end();
});

const connections = (): number[] => fleet.apps.map(({ server }) => server.stats().connections);

async function names(client: RapClient, times: number): Promise<Set<string>> {
  return new Set(await Promise.all(Array.from({ length: times }, () => client.call<string>('name'))));
}

const isReady = ({ state }: EndpointStats): boolean => state === 'ready';

/** Until this many servers take calls. */
function ready(client: RapClient, count: number): Promise<void> {
  return eventually(`${count} are ready`, () => client.stats().endpoints?.filter(isReady).length === count);
}

async function errorOf(client: RapClient): Promise<RapError> {
  const error = (await rejection(client.call('name'))) as unknown as RapError;
  expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
  return error;
}

/** Servers at 127.0.0.1, 127.0.0.2, ... with one port. */
async function startAll(count: number): Promise<string[]> {
  const hosts = Array.from({ length: count }, (_, i) => `127.0.0.${i + 1}`);
  for (const host of hosts) await fleet.add({ host, port: fleet.apps[0]?.port ?? 0 });
  return hosts;
}

async function dns(hosts: readonly string[]): Promise<TestDnsmasq> {
  const dnsmasq = await TestDnsmasq.start(hosts);
  ends.push(() => dnsmasq.end());
  return dnsmasq;
}

function dnsClient({ nameServers }: TestDnsmasq, options: Partial<DnsResolverOptions> = {}): RapClient {
  const port = fleet.apps[0]?.port;
  const resolver = dnsResolver({
    name: 'math.test',
    port,
    nameServers,
    minTtlMs: 1_000,
    maxTtlMs: 1_000,
    ...options,
  });
  return fleet.client({ resolver, balancer: 'roundRobin' });
}

describeWithDnsmasq('a client with dnsResolver', () => {
  it('whose name does not exist: calls fail and name it, and succeed when it is there', async () => {
    await startAll(1);
    const dnsmasq = await dns([]);
    const it = dnsClient(dnsmasq);
    expect((await errorOf(it)).message).toContain('The name math.test does not exist');
    expect((await errorOf(it)).message).toContain('The name math.test does not exist');
    expect((await errorOf(it)).call?.server).toBe('math.test (DNS)');
    expect(fleet.log).toContain(
      'the servers of math.test (DNS) cannot be found: The name math.test does not exist',
    );
    dnsmasq.hosts(['127.0.0.1 math.test']);
    await eventually('it is found', () => it.stats().endpoints?.length === 1);
    await expect(it.call('name')).resolves.toBe('s0');
  });

  it('whose name has no address: calls fail, and say so', async () => {
    await startAll(1);
    const it = dnsClient(await dns(['::1 math.test']), { type: 'A' });
    expect((await errorOf(it)).message).toContain('The name math.test does not exist, or has no A records');
    expect(it.stats().endpoints).toEqual([]);
  });

  it('spreads calls over all addresses, and goes on while DNS is frozen, and down', async () => {
    const hosts = await startAll(3);
    const dnsmasq = await dns(hosts.map((host) => `${host} math.test`));
    const it = dnsClient(dnsmasq, { timeoutMs: 300 });
    await it.connect();
    await ready(it, 3);
    expect(await names(it, 60)).toEqual(new Set(['s0', 's1', 's2']));
    const calls = new SteadyCalls(it);
    await dnsmasq.freeze();
    await eventually('DNS is missed', () => fleet.log.includes('math.test could not be looked up'));
    await dnsmasq.down();
    await calls.more(50);
    await calls.end();
    expect(await names(it, 60)).toEqual(new Set(['s0', 's1', 's2']));
    expect(connections()).toEqual([1, 1, 1]);
  });

  it('keeps its connections if an answer has another part of the servers', async () => {
    const hosts = await startAll(4);
    const dnsmasq = await dns(hosts.slice(0, 2).map((host) => `${host} math.test`));
    const it = dnsClient(dnsmasq);
    await it.connect();
    await ready(it, 2);
    const accepted = fleet.apps.map(() => 0);
    fleet.apps.forEach(({ server }, i) => server.on('connection', () => void ((accepted[i] as number) += 1)));
    const calls = new SteadyCalls(it);
    dnsmasq.hosts(hosts.slice(1, 3).map((host) => `${host} math.test`));
    await eventually('the third is known', () => it.stats().endpoints?.length === 3);
    dnsmasq.hosts([`${hosts[3]} math.test`, `${hosts[0]} math.test`]);
    await eventually('the fourth is known', () => it.stats().endpoints?.length === 4);
    await ready(it, 4);
    await calls.more(10);
    await calls.end();
    expect(accepted).toEqual([0, 0, 1, 1]);
  });
});

describeWithEtcd('a client with etcdResolver', () => {
  let etcd: TestEtcd;
  let told: string[];
  beforeEach(async () => {
    told = [];
    etcd = await TestEtcd.start();
    ends.push(() => etcd.end());
  });

  async function register(server: RapServer): Promise<void> {
    const registration = registerInEtcd(server, {
      endpoints: [etcd.endpoint],
      service: 'math',
      leaseSeconds: 2,
      onError: ({ message }) => told.push(message),
    });
    ends.push(() => registration.unregister());
    await registration.registered();
  }

  async function start(count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) await register((await fleet.add()).server);
  }

  const client = (): RapClient =>
    fleet.client({
      balancer: 'roundRobin',
      resolver: etcdResolver({ endpoints: [etcd.endpoint], service: 'math', timeoutMs: 500 }),
    });

  async function connected(count: number): Promise<RapClient> {
    const it = client();
    await it.connect();
    await ready(it, count);
    return it;
  }

  it('that is down at the start: calls fail and name it, and succeed when it is there', async () => {
    await start(2);
    await etcd.down();
    const it = client();
    const { message } = await errorOf(it);
    expect(message).toContain('cannot find the servers');
    expect(message).toContain(`${etcd.endpoint}: ECONNREFUSED`);
    await etcd.up();
    await eventually('they are found', () => it.stats().endpoints?.length === 2);
    await expect(it.call('name')).resolves.toMatch(/^s/);
  });

  it('that is frozen at the start: calls fail and say so', async () => {
    await start(1);
    await etcd.freeze();
    const it = client();
    expect((await errorOf(it)).message).toContain('no answer within 500 ms');
    etcd.thaw();
    await eventually('they are found', () => it.stats().endpoints?.length === 1);
    await expect(it.call('name')).resolves.toBe('s0');
  });

  it('without a server says so, and finds the first that comes', async () => {
    const it = client();
    expect((await errorOf(it)).message).toBe('math (etcd) has no servers');
    await start(1);
    await eventually('it is found', () => it.stats().endpoints?.length === 1);
    await expect(it.call('name')).resolves.toBe('s0');
  });

  it.each(['down', 'freeze'] as const)(
    'goes on after %s() in the middle, also when a server dies then',
    async (how) => {
      await start(2);
      const it = await connected(2);
      await etcd[how]();
      expect(await names(it, 60)).toEqual(new Set(['s0', 's1']));
      const calls = new SteadyCalls(it);
      const [dying] = fleet.apps.splice(0, 1);
      const closing = dying?.close();
      await calls.more(50);
      await calls.end();
      await closing;
      expect(it.stats().endpoints).toHaveLength(2); // the list stays
      expect(await names(it, 20)).toEqual(new Set(['s1']));
      etcd.thaw();
    },
  );

  it('whose servers lose their leases loses no call, and has them again', async () => {
    await start(2);
    const it = await connected(2);
    const states: string[] = [];
    it.on('endpoint', ({ state }) => states.push(state));
    const calls = new SteadyCalls(it);
    for (const { lease } of await etcd.all()) await etcd.call('/v3/lease/revoke', { ID: lease });
    await eventually('both were gone', () => states.filter((state) => state === 'gone').length === 2);
    await ready(it, 2);
    await calls.more(20);
    await calls.end();
    expect(await names(it, 60)).toEqual(new Set(['s0', 's1']));
    expect(told).toEqual(Array(2).fill('math in etcd: the lease is lost; it is registered again'));
  });

  it('whose server drains sends it nothing from the first moment', async () => {
    await start(2);
    const it = await connected(2);
    const calls = new SteadyCalls(it);
    await calls.more(10);
    const [draining] = fleet.apps.splice(0, 1);
    await draining?.server.drain();
    await eventually('it is not listed', () => it.stats().endpoints?.length === 1);
    await calls.more(10);
    await calls.end();
    expect(draining?.server.stats().refusedCalls).toBe(0);
    await draining?.close();
  });
});
