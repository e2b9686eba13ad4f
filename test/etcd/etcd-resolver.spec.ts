import { etcdResolver, type EtcdResolverOptions } from '../../lib/etcd.js';
import { eventually, testScope } from '../helpers/async.js';
import { describeWithEtcd, TestEtcd } from './etcd.js';
import { Watched } from './etcd-scope.js';

const scope = testScope();

function watch(...args: ConstructorParameters<typeof Watched>): Watched {
  const watched = new Watched(...args);
  scope.defer(watched.stop);
  return watched;
}

const isWatch = (url: unknown): boolean => typeof url === 'string' && url.endsWith('/v3/watch');

const A = { host: '10.0.0.1', port: 1 };
const B = { host: '10.0.0.2', port: 2, weight: 5, metadata: { zone: 'b' } };

/** Its watch is on another key. */
const deaf: typeof fetch = (url, init) =>
  isWatch(url)
    ? fetch(url, {
        ...init,
        body: JSON.stringify({ create_request: { key: 'AA==', progress_notify: true } }),
      })
    : fetch(url, init);

describeWithEtcd('etcdResolver', () => {
  let etcd: TestEtcd;
  let options: EtcdResolverOptions;

  beforeEach(async () => {
    etcd = await TestEtcd.start();
    options = { endpoints: [etcd.endpoint], service: 'a', timeoutMs: 500 };
  });
  afterEach(() => etcd.end());

  it('lists what is there, and follows changes', async () => {
    await etcd.put('/rap/a/1', A);
    await etcd.put('/rap/a/2', B);
    const watched = watch(options, { checkMs: 60_000 });
    await watched.becomes('10.0.0.1:1', '10.0.0.2:2');
    expect(watched.lists[0]?.[1]).toMatchObject(B);

    await etcd.put('/rap/a/2', { ...B, weight: 7 });
    await eventually('the weight', () => watched.lists.at(-1)?.[1]?.weight === 7);
    await etcd.delete('/rap/a/1');
    await watched.becomes('10.0.0.2:2');
    await etcd.put('/rap/a/3', { host: '10.0.0.3', port: 3, ofALaterVersion: true });
    await watched.becomes('10.0.0.2:2', '10.0.0.3:3');
    expect(watched.errors).toEqual([]);
  });

  it('sees only its service', async () => {
    await etcd.put('/rap/ab/1', A);
    await etcd.put('/rap/a', A);
    await etcd.put('/rap/a0', A);
    await etcd.put('/other/a/1', A);
    const watched = watch(options);
    await watched.becomes();
    await etcd.put('/rap/ab/2', A);
    await etcd.put('/rap/a/1', B);
    await watched.becomes('10.0.0.2:2');
  });

  it('leaves out a value that it cannot read, and says so once', async () => {
    const bad = [
      '{',
      '7',
      '[]',
      '{}',
      { host: 'a', port: 0 },
      { ...A, weight: -1 },
      { ...A, weight: 'x' },
      'x'.repeat(70_000),
    ];
    for (const [i, value] of bad.entries()) await etcd.put(`/rap/a/${i}`, value);
    await etcd.put('/rap/a/9', A);
    const watched = watch(options, { renewMs: 1 });
    await watched.becomes('10.0.0.1:1');
    expect(watched.errors).toHaveLength(bad.length);
    expect(watched.errors[0]).toContain('/rap/a/0 is left out');
    await etcd.put('/rap/a/0', B);
    await watched.becomes('10.0.0.1:1', '10.0.0.2:2');
    expect(watched.errors).toHaveLength(bad.length);
  });

  it('has one server for two registrations of an address: the newest', async () => {
    await etcd.put('/rap/a/2', { ...A, weight: 1 });
    await etcd.put('/rap/a/1', { ...A, weight: 2 });
    const watched = watch(options);
    await watched.becomes('10.0.0.1:1');
    expect(watched.lists[0]?.[0]?.weight).toBe(2);
    await etcd.delete('/rap/a/1');
    await eventually('the other', () => watched.lists.at(-1)?.[0]?.weight === 1);
    expect(watched.lists.at(-1)).toHaveLength(1);
  });

  it('waits for an etcd that is down at the start', async () => {
    await etcd.put('/rap/a/1', A);
    await etcd.down();
    const watched = watch(options);
    await watched.fails(
      `The servers of a cannot be followed: etcd does not answer: ${etcd.endpoint}: ECONNREFUSED`,
    );
    expect(watched.lists).toEqual([]);
    await etcd.up();
    await watched.becomes('10.0.0.1:1');
  });

  it('gives up on an etcd that is frozen at the start, and says so', async () => {
    await etcd.freeze();
    const watched = watch(options);
    await watched.fails('no answer within 500 ms');
    etcd.thaw();
    await watched.becomes();
  });

  it('keeps its list while etcd is down, and hears what happened meanwhile', async () => {
    await etcd.put('/rap/a/1', A);
    const watched = watch(options);
    await watched.becomes('10.0.0.1:1');
    await etcd.down();
    await watched.fails('ECONNREFUSED; the list of 1 stays');
    await etcd.up();
    await etcd.put('/rap/a/2', B);
    await watched.becomes('10.0.0.1:1', '10.0.0.2:2');
    expect(watched.lists).toHaveLength(2);
    expect(watched.errors.length).toBeLessThan(20);
  });

  it('notices an etcd that is frozen in the middle, and keeps its list', async () => {
    await etcd.put('/rap/a/1', A);
    const watched = watch(options);
    await watched.becomes('10.0.0.1:1');
    await etcd.freeze();
    await watched.fails('no answer within 500 ms; the list of 1 stays');
    etcd.thaw();
    await etcd.put('/rap/a/2', B);
    await watched.becomes('10.0.0.1:1', '10.0.0.2:2');
  });

  it('goes to the next member if one is down or frozen', async () => {
    const other = await TestEtcd.start();
    scope.defer(() => other.end());
    await etcd.put('/rap/a/1', A);
    await other.put('/rap/a/2', B);
    const watched = watch({ ...options, endpoints: [etcd.endpoint, other.endpoint], keepMs: 0 });
    await watched.becomes('10.0.0.1:1');
    await etcd.put('/rap/a/3', { host: '10.0.0.3', port: 3 });
    await watched.becomes('10.0.0.1:1', '10.0.0.3:3'); // now its revision is higher than that of the other
    await etcd.freeze();
    await watched.becomes('10.0.0.2:2');
    await etcd.end();
    await other.put('/rap/a/2', A);
    await watched.becomes('10.0.0.1:1');
  });

  it('keeps for a while what an etcd without its data lacks', async () => {
    await etcd.put('/rap/a/1', A);
    await etcd.put('/rap/a/2', B);
    const watched = watch({ ...options, keepMs: 1_500 });
    await watched.becomes('10.0.0.1:1', '10.0.0.2:2');
    await etcd.down();
    await etcd.up({ empty: true });
    await etcd.put('/rap/a/9', { host: '10.0.0.3', port: 3 });
    await watched.becomes('10.0.0.1:1', '10.0.0.2:2', '10.0.0.3:3');
    await etcd.put('/rap/a/1', A);
    await watched.becomes('10.0.0.1:1', '10.0.0.3:3');
    expect(Math.min(...watched.lists.map((list) => list.length))).toBe(2);
  });

  it('lists again if the history that it needs is compacted', async () => {
    await etcd.put('/rap/a/1', A);
    let isCompacted = false;
    const compacting: typeof fetch = async (...args) => {
      if (isWatch(args[0]) && !isCompacted) {
        isCompacted = true;
        await etcd.put('/rap/a/2', B);
        await etcd.put('/rap/other', A);
        await etcd.compact();
      }
      return fetch(...args);
    };
    const watched = watch({ ...options, fetch: compacting }, { checkMs: 60_000 });
    await watched.becomes('10.0.0.1:1', '10.0.0.2:2');
    expect(watched.errors).toEqual([expect.stringContaining('compacted')]);
  });

  it('finds out that a watch tells nothing', async () => {
    const watched = watch({ ...options, fetch: deaf });
    await watched.becomes();
    await etcd.put('/rap/a/1', A);
    await watched.becomes('10.0.0.1:1');
    await etcd.put('/rap/a/1', B);
    await eventually('the change', () => watched.list?.includes('10.0.0.2:2'));
    expect(watched.errors).toEqual([]);
  });

  it('loses nothing when it renews its watch', async () => {
    const watched = watch(options, { renewMs: 1, checkMs: 150 });
    await watched.becomes();
    for (let i = 1; i <= 60; i++) await etcd.put(`/rap/a/${i}`, { host: 'h', port: i });
    for (let i = 1; i <= 59; i++) await etcd.delete(`/rap/a/${i}`);
    await watched.becomes('h:60');
    expect(watched.errors).toEqual([]);
  });

  it('does not spin if each watch ends at once', async () => {
    let asked = 0;
    const short: typeof fetch = (url, init) => {
      asked += 1;
      return isWatch(url) ? Promise.resolve(new Response('')) : fetch(url, init);
    };
    const watched = watch({ ...options, fetch: short });
    await eventually('three failures', () => watched.errors.length >= 3);
    expect(asked).toBeLessThanOrEqual(8);
    expect(watched.errors[0]).toContain('ended the watch');
  });

  it('shows a token if etcd wants one, and a new one when it is refused', async () => {
    for (const [path, body] of [
      ['/v3/auth/user/add', { name: 'root', password: 'secret' }],
      ['/v3/auth/role/add', { name: 'root' }],
      ['/v3/auth/user/grant', { user: 'root', role: 'root' }],
    ] as const)
      await etcd.call(path, body);
    await etcd.put('/rap/a/1', A);
    await etcd.call('/v3/auth/enable', {});

    const watched = watch({ ...options, username: 'root', password: 'secret' }, { checkMs: 50 });
    await watched.becomes('10.0.0.1:1');
    const wrong = watch({ ...options, username: 'root', password: 'wrong' });
    await wrong.fails('authentication failed');
    const without = watch(options);
    await without.fails('user name is empty');

    await etcd.down(); // and with it its tokens
    await etcd.up();
    await eventually('it failed', () => watched.errors.length > 0);
    const before = watched.errors.length;
    await watched.becomes('10.0.0.1:1');
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(watched.errors.slice(before + 2)).toEqual([]);
  });

  it('takes credentials for an etcd that wants none', async () => {
    const watched = watch({ ...options, username: 'root', password: 'secret' });
    await watched.becomes();
  });

  it('asks nothing any more when nobody watches', async () => {
    let running = 0;
    const counted: typeof fetch = async (...args) => {
      const answer = await fetch(...args);
      running += 1;
      args[1]?.signal?.addEventListener('abort', () => (running -= 1));
      return answer;
    };
    const watched = watch({ ...options, fetch: counted }, { checkMs: 20 });
    await watched.becomes();
    watched.stop();
    watched.stop();
    const { length } = watched.lists;
    await etcd.put('/rap/a/1', A);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(watched.lists).toHaveLength(length);
    expect(watched.errors).toEqual([]);
  });

  it('cuts a list of too many servers, the same each time', async () => {
    for (let i = 1; i <= 30; i++) await etcd.put(`/rap/a/${i}`, { host: 'h', port: i });
    const watched = watch({ ...options, maxServers: 10 });
    await eventually('the list', () => watched.list?.length === 10);
    await watched.fails('a has more than 10 servers');
    await etcd.put('/rap/a/31', { host: 'h', port: 31 });
    await etcd.put('/rap/b/31', A);
    expect(watched.lists.every((list) => list.length === 10)).toBe(true);
  });
});

describe('options of etcdResolver', () => {
  const good = { endpoints: ['http://127.0.0.1:2379'], service: 'a' };

  it.each<[Record<string, unknown>, string]>([
    [{ endpoints: undefined }, 'etcdResolver.endpoints must be a list'],
    [{ endpoints: [] }, 'etcdResolver.endpoints must be a list'],
    [{ endpoints: ['http://a', 'a:2379'] }, 'etcdResolver.endpoints[1] must be a URL'],
    [{ endpoints: ['ftp://a'] }, 'etcdResolver.endpoints[0] must be a URL'],
    [{ endpoints: [7] }, 'etcdResolver.endpoints[0] must be a URL'],
    [{ endpoints: ['http://u:p@a'] }, 'use the options username and password'],
    [{ service: '' }, 'etcdResolver.service must be'],
    [{ service: 'a/b' }, 'etcdResolver.service must be'],
    [{ service: 'a\n' }, 'etcdResolver.service must be'],
    [{ service: undefined }, 'etcdResolver.service must be'],
    [{ prefix: 7 }, 'etcdResolver.prefix must be text'],
    [{ username: 'a' }, 'username and password belong together'],
    [{ username: 7, password: 'a' }, 'etcdResolver.username must be text'],
    [{ username: 'a', password: 7 }, 'etcdResolver.password must be text'],
    [{ fetch: 'undici' }, "etcdResolver.fetch must be a function, got 'undici'"],
    [{ timeoutMs: 0 }, 'etcdResolver.timeoutMs must be'],
    [{ timeoutMs: NaN }, 'etcdResolver.timeoutMs must be'],
    [{ maxServers: 0 }, 'etcdResolver.maxServers must be'],
    [{ keepMs: -1 }, 'etcdResolver.keepMs must be'],
    [
      { endpoint: 'http://a' },
      'etcdResolver.endpoint is not an option; did you mean etcdResolver.endpoints?',
    ],
  ])('refuse %j', (options, message) => {
    const refused = (): unknown => etcdResolver({ ...good, ...options });
    expect(refused).toThrow(RangeError);
    expect(refused).toThrow(message);
  });

  it.each([undefined, 'math'])('are needed: %j', (options) => {
    expect(() => etcdResolver(options as never)).toThrow(
      'etcdResolver() needs an object with its options, got ',
    );
  });
});
