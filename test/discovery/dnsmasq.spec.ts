import { promises } from 'node:dns';
import { dnsResolver } from '../../lib/discovery/dns-resolver.js';
import type { DnsResolverOptions } from '../../lib/discovery/dns-options.js';
import type { NameServers } from '../../lib/discovery/dns-query.js';
import { eventually, testScope } from '../helpers/async.js';
import { describeWithDnsmasq, TestDnsmasq } from './dnsmasq.js';
import { ResolverTest } from './dns-script.js';

const scope = testScope();

async function start(hosts: readonly string[], srv?: readonly string[]): Promise<TestDnsmasq> {
  const dnsmasq = await TestDnsmasq.start(hosts, srv);
  scope.defer(() => dnsmasq.end());
  return dnsmasq;
}

/** Real queries, in the time of the test. */
function watch(dnsmasq: TestDnsmasq, options: DnsResolverOptions): ResolverTest {
  const open = (): NameServers => {
    const resolver = new promises.Resolver({ timeout: 1_000, tries: 2 });
    resolver.setServers(dnsmasq.nameServers);
    return resolver;
  };
  const test = new ResolverTest(options, open);
  scope.defer(() => test.stop());
  return test;
}

/** Moves the clock second by second until the list is this one. */
async function lists(test: ResolverTest, expected: readonly string[]): Promise<void> {
  const text = JSON.stringify(expected);
  await eventually(`the list is ${text}`, () => {
    if (JSON.stringify(test.list) === text) return true;
    test.clock.advance(100);
    return false;
  });
}

describeWithDnsmasq('dnsResolver and dnsmasq', () => {
  it('list A and AAAA records, from their own name servers', async () => {
    const dnsmasq = await start([
      '10.0.0.1 math.test',
      '10.0.0.2 math.test',
      'fd00::1 math.test',
      '10.0.0.9 other.test',
    ]);
    const resolver = dnsResolver({ name: 'math.test', port: 5, nameServers: dnsmasq.nameServers });
    let hosts: unknown;
    scope.defer(resolver.watch((list) => (hosts = list.map(({ host, port }) => `${host} ${port}`))));
    await eventually('the list', () => hosts);
    expect(hosts).toEqual(['10.0.0.1 5', '10.0.0.2 5', 'fd00::1 5']);
  });

  it('follow a file of hosts: new servers at once, lost ones after 60 s', async () => {
    const dnsmasq = await start(['10.0.0.1 math.test', '10.0.0.2 math.test']);
    const test = watch(dnsmasq, { name: 'math.test' });
    await lists(test, ['10.0.0.1:9000', '10.0.0.2:9000']);
    dnsmasq.hosts(['10.0.0.2 math.test', '10.0.0.3 math.test']);
    await lists(test, ['10.0.0.1:9000', '10.0.0.2:9000', '10.0.0.3:9000']);
    await lists(test, ['10.0.0.2:9000', '10.0.0.3:9000']);
    expect(test.lists).toHaveLength(3);
    expect(test.errors).toEqual([]);
  });

  it('read the TTL', async () => {
    const dnsmasq = await start(['10.0.0.1 math.test']);
    const test = watch(dnsmasq, { name: 'math.test', type: 'A' });
    await eventually('the list', () => test.list);
    dnsmasq.hosts(['10.0.0.2 math.test']);
    test.clock.advance(6_999); // dnsmasq says 7 s
    expect(test.clock.pending).toBe(1); // it waits, and does not ask
    await lists(test, ['10.0.0.1:9000', '10.0.0.2:9000']);
  });

  it('read SRV records: ports, weights, priorities, targets', async () => {
    const dnsmasq = await start(
      ['10.0.0.1 pod-0.test', '10.0.0.2 pod-1.test', 'fd00::3 pod-2.test', '10.0.0.4 spare.test'],
      [
        '_rap._tcp.math.test,pod-0.test,9001,0,10',
        '_rap._tcp.math.test,pod-1.test,9002,0,0',
        '_rap._tcp.math.test,pod-2.test,9003,0,30',
        '_rap._tcp.math.test,spare.test,9004,5,1',
        '_rap._tcp.math.test,gone.test,9005,0,1',
      ],
    );
    const test = watch(dnsmasq, { name: '_rap._tcp.math.test', type: 'SRV' });
    await lists(test, ['10.0.0.1:9001', '10.0.0.2:9002', '[fd00::3]:9003']);
    expect(test.lists[0]?.map(({ serverName, weight }) => [serverName, weight])).toEqual([
      ['pod-0.test', 10],
      ['pod-1.test', 0.01],
      ['pod-2.test', 30],
    ]);
  });

  it('say that a name does not exist, and find it later', async () => {
    const dnsmasq = await start([]);
    const test = watch(dnsmasq, { name: 'math.test' });
    await lists(test, []);
    expect(test.errors[0]).toContain('math.test does not exist');
    dnsmasq.hosts(['10.0.0.1 math.test']);
    await lists(test, ['10.0.0.1:9000']);
  });

  it('keep the list while dnsmasq is frozen, and while it is down', async () => {
    const dnsmasq = await start(['10.0.0.1 math.test']);
    const test = watch(dnsmasq, { name: 'math.test' });
    await lists(test, ['10.0.0.1:9000']);
    await dnsmasq.freeze();
    test.clock.advance(10_000);
    test.clock.advance(5_000);
    await eventually('the error', () => test.errors.length > 0);
    expect(test.errors[0]).toContain('no answer about math.test within 5000 ms; the list of 1 stays');
    await dnsmasq.down();
    const frozen = test.errors.length;
    await eventually('more errors', () => {
      test.clock.advance(100);
      return test.errors.length > frozen + 2;
    });
    expect(test.lists).toHaveLength(1);
    await dnsmasq.up(['10.0.0.2 math.test']);
    await lists(test, ['10.0.0.1:9000', '10.0.0.2:9000']);
  });

  it('fail within the time of the list if dnsmasq is frozen from the start', async () => {
    const dnsmasq = await start(['10.0.0.1 math.test']);
    await dnsmasq.freeze();
    const options = { name: 'math.test', nameServers: dnsmasq.nameServers, timeoutMs: 300 };
    const errors: string[] = [];
    scope.defer(
      dnsResolver(options).watch(
        () => {},
        (error) => errors.push(error.message),
      ),
    );
    await eventually('an error', () => errors.length > 0);
    expect(errors[0]).toContain('math.test could not be looked up');
  });

  it('list 1,000 addresses, which only TCP can carry', async () => {
    const hosts = Array.from({ length: 1_000 }, (_, i) => `10.0.${i >> 8}.${i & 255} math.test`);
    const dnsmasq = await start(hosts);
    const test = watch(dnsmasq, { name: 'math.test', type: 'A' });
    await eventually('the list', () => test.list?.length === 1_000);
  });
});
