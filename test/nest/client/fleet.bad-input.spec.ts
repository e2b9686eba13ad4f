import { inspect } from 'node:util';
import { etcdResolver } from '../../../lib/etcd.js';
import {
  dnsResolver,
  type RapClientOptions,
  type RapError,
  type Resolver,
  type ServerAddress,
  staticResolver,
} from '../../../lib/index.js';
import { eventually, pass, rejection, turn } from '../../helpers/async.js';
import { freePort } from '../../helpers/ports.js';
import { answerDeclare, scriptedServer } from '../../helpers/raw-socket.js';
import { fleetForEachTest, type TestFleet } from './test-fleet.js';

let fleet: TestFleet;
const scope = fleetForEachTest(2, (started) => (fleet = started));

/** What a resolver of the application does; `watched` counts. */
function resolverOf(watch: (...args: never[]) => unknown): Resolver {
  return { watch } as unknown as Resolver;
}

async function errorOf(options: RapClientOptions): Promise<RapError> {
  return (await rejection(fleet.client(options).call('name'))) as unknown as RapError;
}

async function scripted(...args: Parameters<typeof scriptedServer>) {
  const it = await scriptedServer(...args);
  scope.defer(() => it.close());
  return it;
}

type Listener = (servers: unknown) => void;

const empty = (listener: Listener): void => listener([]);

describe('resolvers', () => {
  it.each<[string, Resolver, string | RegExp]>([
    [
      'throws',
      resolverOf(() => {
        throw new Error('no such zone');
      }),
      'no such zone',
    ],
    [
      'throws text',
      resolverOf(() => {
        throw 'offline'; // oxlint-disable-line typescript/only-throw-error -- what applications do
      }),
      'offline',
    ],
    [
      'fails at once',
      resolverOf((_listener: Listener, failed: (error: Error) => void) => failed(new Error('NXDOMAIN'))),
      'NXDOMAIN',
    ],
    [
      'fails later',
      resolverOf((_listener: Listener, failed: (error: Error) => void) =>
        setImmediate(() => failed(new Error('NXDOMAIN'))),
      ),
      'NXDOMAIN',
    ],
    ['is async, and rejects', resolverOf(() => Promise.reject(new Error('no such zone'))), 'no such zone'],
    [
      'is async, and rejects later',
      resolverOf(async () => {
        await turn();
        throw new Error('no such zone');
      }),
      'no such zone',
    ],
    ['lists nothing', resolverOf((listener: Listener) => listener([])), 'has no servers'],
    ['gives null', resolverOf((listener: Listener) => listener(null)), 'the resolver gave null, not a list'],
    [
      'lists null',
      resolverOf((listener: Listener) => listener([null])),
      'servers[0] must be an object, got null',
    ],
    [
      'lists text',
      resolverOf((listener: Listener) => listener(['a:1'])),
      "servers[0] must be an object, got 'a:1'",
    ],
    [
      'lists a bad port',
      resolverOf((listener: Listener) => listener([{ host: 'a', port: 'x' }])),
      "servers[0].port must be a whole number from 1 to 65535, got 'x'",
    ],
  ])('one that %s: calls fail at once, and say so', async (_what, resolver, message) => {
    const client = fleet.client({ resolver });
    for (let i = 0; i < 3; i += 1) {
      const error = (await rejection(client.call('name'))) as unknown as RapError;
      expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
      expect(error.message).toContain(message);
    }
    await rejection(client.connect());
  });

  it.each<[string, object, string]>([
    ['has no name', {}, 'the resolver'],
    ['has no prototype', Object.create(null) as object, 'the resolver'],
    ['has a class', new (class Zookeeper {})(), 'the resolver (Zookeeper)'],
    ['says its name', { name: 'math in Zookeeper' }, 'math in Zookeeper'],
    ['says an empty name', { name: '' }, 'the resolver'],
    ['says no text', { name: 7 }, 'the resolver'],
  ])('one that %s is named in errors', async (_what, resolver, name) => {
    const client = fleet.client({
      resolver: Object.assign(
        resolver,
        resolverOf((listener: Listener) => listener([])),
      ),
    });
    const error = (await rejection(client.call('name'))) as unknown as RapError;
    expect(error.message).toBe(`${name} has no servers`);
    expect(error.call?.server).toBe(name);
  });

  it('of a list with junk, the servers are used', async () => {
    const client = fleet.client({
      resolver: resolverOf((listener: Listener) =>
        listener([null, { ...fleet.servers[0], weight: NaN }, { port: -1 }, fleet.servers[0]]),
      ),
    });
    await expect(client.call('name')).resolves.toBe('s0');
    expect(client.stats().endpoints).toMatchObject([{ weight: 1, picks: 1 }]);
    expect(fleet.log).toContain('servers[0] must be an object, got null');
  });

  it('a weight that is none: a negative one counts as 0, others as 1, and each server is named once', async () => {
    const [first, second] = fleet.servers;
    const weights: unknown[] = [-1, -Infinity, NaN, Infinity, '3', null];
    for (const weight of weights) {
      let list!: Listener;
      const client = fleet.client({
        resolver: resolverOf((listener: Listener) => {
          list = listener;
          list([{ ...first, weight }, second]);
        }),
      });
      await client.connect();
      list([second, { ...first, weight }]);
      const used = typeof weight === 'number' && weight < 0 ? 0 : 1;
      expect([weight, ...(client.stats().endpoints ?? [])]).toMatchObject([weight, { weight: used }, {}]);
      const address = `127.0.0.1:${first?.port}`;
      const message = `the weight of ${address} must be a finite number of at least 0, got ${inspect(weight)}: it counts as ${used}`;
      expect(fleet.log.split(message)).toHaveLength(2);
      expect(fleet.log).toContain(`warn RapClient: the list of the resolver: ${message}`);
      list([first, second]);
      list([{ ...first, weight }, second]);
      expect(fleet.log.split(message)).toHaveLength(3); // it was right meanwhile
    }
  });

  class Zookeeper {
    watch(listener: Listener): void {
      listener([]);
    }
  }
  const bare = Object.assign(Object.create(null), { watch: empty }) as Resolver;
  it.each<[string, Resolver, string]>([
    ['a literal', resolverOf(empty), 'the resolver'],
    ['without a prototype', bare, 'the resolver'],
    ['of a class', new Zookeeper() as unknown as Resolver, 'the resolver (Zookeeper)'],
    ['with a name', { name: 'math in Zookeeper', watch: empty } as never, 'math in Zookeeper'],
    ['with a wrong name', { name: 7, watch: empty } as never, 'the resolver'],
  ])('one %s is named in errors', async (_what, resolver, name) => {
    const { message, call } = await errorOf({ resolver });
    expect(message).toContain(`${name} has no servers`);
    expect(call?.server).toBe(name);
  });

  it('those of this package say what they find', () => {
    expect(dnsResolver({ name: 'math.svc' }).name).toBe('math.svc (DNS)');
    expect(dnsResolver({ name: 'localhost' }).name).toBe('localhost (DNS)');
    expect(etcdResolver({ endpoints: ['http://etcd:2379'], service: 'math' }).name).toBe('math (etcd)');
    expect(staticResolver(['a', 'b', 'c', 'd'].map((host) => ({ host }))).name).toBe(
      'a:9000, b:9000, c:9000 and 1 more',
    );
  });

  it('one that recovers: calls succeed again, and the servers stay while it fails', async () => {
    let list!: Listener;
    let fail!: (error: Error) => void;
    const client = fleet.client({
      resolver: resolverOf((listener: Listener, failed: typeof fail) => {
        [list, fail] = [listener, failed];
        failed(new Error('down'));
      }),
    });
    expect((await rejection(client.call('name'))).message).toContain('down');
    list(fleet.servers);
    await client.call('name');
    fail(new Error('down again'));
    list('junk');
    await client.call('name');
    list([]);
    const error = (await rejection(client.call('name', 1, { timeoutMs: 30 }))) as unknown as RapError;
    expect(error).toMatchObject({ sent: 'no', phase: 'connect' });
    expect((error.cause as Error).message).toContain('has no servers');
    list(fleet.servers);
    await client.call('name');
  });

  it('that is async is asked again after it has rejected, and keeps its list after that', async () => {
    let asked = 0;
    let failed!: (error: Error) => void;
    const client = fleet.client({
      resolver: resolverOf((listener: Listener) => {
        asked += 1;
        if (asked === 1) return Promise.reject(new Error('not yet'));
        listener(fleet.servers);
        return new Promise((_resolve, reject) => (failed = reject));
      }),
    });
    expect((await rejection(client.call('name'))).message).toContain('not yet');
    await client.call('name');
    failed(new Error('the end'));
    await eventually('its end is told', () => fleet.log.includes('the end'));
    await client.call('name');
    expect(asked).toBe(2);
  });

  it.each(['before', 'after'])(
    'that is async is stopped if the client is closed %s it has begun',
    async (when) => {
      let begin!: () => void;
      let stopped = 0;
      const client = fleet.client({
        resolver: resolverOf(async (listener: Listener) => {
          listener(fleet.servers);
          await new Promise<void>((resolve) => (begin = resolve));
          return () => (stopped += 1);
        }),
      });
      await client.call('name');
      if (when === 'before') client.close();
      begin();
      await turn();
      if (when === 'after') client.close();
      expect(stopped).toBe(1);
    },
  );

  it('whose end is async and rejects harms nothing', async () => {
    const client = fleet.client({
      resolver: resolverOf((listener: Listener) => {
        listener(fleet.servers);
        return () => Promise.reject(new Error('cannot stop'));
      }),
    });
    await client.call('name');
    client.close();
    await eventually('it is told', () => fleet.log.includes('cannot stop'));
  });

  it('of 10,000 servers, a client uses a thousand', async () => {
    const port = await freePort();
    const many: ServerAddress[] = Array.from({ length: 10_000 }, (_, i) => ({
      path: `/nowhere/${port}/${i}`,
    }));
    const client = fleet.client({ resolver: resolverOf((listener: Listener) => listener(many)) });
    const error = (await rejection(client.call('name'))) as unknown as RapError;
    expect(error.message).toContain('none of the 1000 servers');
    expect(client.stats().endpoints).toHaveLength(1_000);
    expect(fleet.log).toContain('10000 servers are listed, of which 1000 are used: set subset');
  });
});

describe('servers', () => {
  it('a name that does not resolve is named', async () => {
    const { message, call } = await errorOf({
      servers: [
        { host: 'a.invalid', port: 1 },
        { host: 'b.invalid', port: 2 },
      ],
    });
    expect(message).toMatch(
      /^none of the 2 servers of a.invalid:1, b.invalid:2 can be reached; the last: cannot /,
    );
    expect(call?.server).toBe('a.invalid:1, b.invalid:2');
  });

  it('one that accepts and says nothing: the others serve meanwhile, and it is dialled rarely', async () => {
    const silent = await scripted(() => {});
    const servers = [{ host: '127.0.0.1', port: silent.port }, ...fleet.servers];
    const client = await fleet.ready({ servers, limits: { openTimeoutMs: 100 } }, 2);
    for (let i = 0; i < 20; i += 1) await expect(client.call('name')).resolves.toMatch(/^s/);
    await eventually('its attempt is over', () =>
      client.stats().endpoints?.some(({ address, state }) => {
        return address === `127.0.0.1:${silent.port}` && state === 'backingOff';
      }),
    );
    expect(silent.peers.length).toBeLessThan(10);
  });

  it('one that declares and never answers is ejected, and idempotent calls succeed', async () => {
    const mute = await scripted((peer) => void answerDeclare(peer));
    const servers = [{ host: '127.0.0.1', port: mute.port }, ...fleet.servers];
    const client = await fleet.ready(
      { servers, balancer: 'roundRobin', eject: { consecutiveFailures: 2 } },
      3,
    );
    const address = `127.0.0.1:${mute.port}`;
    const mutes = () => client.stats().endpoints?.find((each) => each.address === address);
    for (let i = 0; mutes()?.state !== 'ejected' && i < 30; i += 1)
      await client.call('name', i, { timeoutMs: 150 }).catch((error: RapError) => {
        expect(error.call?.server).toBe(address);
      });
    expect(mutes()).toMatchObject({
      state: 'ejected',
      ejectedUntil: expect.any(Number),
      reason: expect.any(String),
    });
    await expect(client.call('name')).resolves.toMatch(/^s/);
  });

  it('one that is no rap server is left out', async () => {
    const web = await scripted((peer) => void peer.socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const servers = [{ host: '127.0.0.1', port: web.port }, ...fleet.servers];
    const client = await fleet.ready({ servers }, 2);
    for (let i = 0; i < 20; i += 1) await client.call('name');
    expect(fleet.log).toContain(`127.0.0.1:${web.port} is backingOff`);
    expect(web.peers.length).toBeLessThan(10);
  });

  it('all down, one returns: it is found, and the calls that wait succeed', async () => {
    const client = await fleet.ready({ reconnect: { maxDelayMs: 50 } });
    const port = fleet.servers[0]?.port as number;
    for (const app of fleet.apps.splice(0)) await app.close();
    const waiting = Array.from({ length: 20 }, () => client.call('name'));
    await pass(50);
    await fleet.add({ port });
    await expect(Promise.all(waiting)).resolves.toHaveLength(20);
  });
});

describe('functions of the application', () => {
  it('a balancer that throws or returns nonsense: calls go on, and it is logged once', async () => {
    let calls = 0;
    const balancer = (): never => {
      calls += 1;
      if (calls % 2) throw new Error('my balancer');
      return { address: 'nowhere' } as never;
    };
    const client = await fleet.ready({ balancer });
    for (let i = 0; i < 10; i += 1) await client.call('name');
    expect(fleet.log.split('the balancer function has thrown: my balancer')).toHaveLength(2);
    expect(fleet.log.split('none of the servers it may pick')).toHaveLength(2);
  });

  it('a listener of `endpoint` that throws is logged, and others are called', async () => {
    const client = fleet.client();
    const seen: string[] = [];
    client.on('endpoint', () => {
      throw new Error('my listener');
    });
    client.on('endpoint', ({ state }) => seen.push(state));
    await client.call('name');
    expect(seen).toContain('ready');
    expect(fleet.log).toContain('my listener');
  });

  it.each(['metadata', 'tls'] as const)('%s() that throws once: the other server serves', async (name) => {
    let asked = 0;
    const client = fleet.client({
      [name]: () => {
        asked += 1;
        if (name === 'tls' || asked === 1) throw new Error('no secret');
        return {};
      },
    });
    if (name === 'metadata') return expect(await client.call('name')).toMatch(/^s/);
    const error = (await rejection(client.call('name'))) as unknown as RapError;
    expect(error.message).toContain('tls() failed: no secret');
    expect(asked).toBeLessThan(10);
  });
});
