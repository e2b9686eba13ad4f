import { expectTypeOf } from 'expect-type';
import { etcdResolver, registerInEtcd } from '../../lib/etcd.js';
import {
  type BalancerOption,
  consistentHash,
  dnsResolver,
  type EndpointChange,
  type EndpointStats,
  RapClient,
  type RapClientOptions,
  RapModule,
  RapServer,
  type RapServerStats,
  type RapStatus,
  type Resolver,
  type ServerAddress,
  staticResolver,
} from '../../lib/index.js';

// The compiler is the test, see services.spec.ts: the options of a client of several servers, and what it shows.

const servers: readonly ServerAddress[] = [
  { host: 'a', port: 9000, weight: 10, metadata: { zone: 'z' } },
  { path: '/run/math.sock' },
];
const client = new RapClient({ servers });

/** Right options compile. */
export function rightOptionsCompile(): RapClientOptions[] {
  const own: Resolver = { watch: (listener) => (listener(servers), () => {}) };
  const failing: Resolver = {
    watch(_listener, onError) {
      onError?.(new Error('down'));
      return () => {};
    },
  };
  RapModule.register([{ name: 'MATH', servers, pool: { max: 4 } }]);
  RapModule.registerAsync([{ name: 'MATH', useFactory: () => ({ resolver: own, hedge: {} }) }]);
  return [
    {},
    { host: 'a', port: 9000 },
    { path: '/run/math.sock', pool: { min: 8, max: 8 } },
    { servers: [{ host: 'a', port: 9000, weight: 0 }, {}] },
    { resolver: dnsResolver({ name: 'math.svc', port: 9000 }) },
    { resolver: dnsResolver({ name: '_rap._tcp.math.svc', type: 'SRV', nameServers: ['10.0.0.2:8600'] }) },
    { resolver: staticResolver(servers) },
    { resolver: etcdResolver({ endpoints: ['http://e:2379'], service: 'math' }) },
    { resolver: own },
    { resolver: failing },
    { servers, balancer: 'p2c' },
    { servers, balancer: 'roundRobin' },
    { servers, balancer: 'random' },
    { servers, balancer: 'weighted' },
    { servers, balancer: 'leastInFlight' },
    { servers, balancer: consistentHash({ key: 'tenant' }) },
    { servers, balancer: consistentHash({ key: { header: 'tenant' }, boundedLoad: Infinity }) },
    { servers, balancer: consistentHash({ key: { body: 'userId' } }) },
    { servers, balancer: consistentHash({ key: ({ header }) => header['tenant'] as string }) },
    { servers, balancer: (candidates) => candidates[0] },
    { servers, balancer: (all, { target }) => (target === 'sum' ? all[0] : undefined) },
    { servers, pool: { min: 1, max: 3, callsPerConnection: 100, maxConnectionAgeMs: 0, ageJitter: 0.1 } },
    { servers, subset: { size: 20 } },
    { servers, subset: { size: 20, ordinal: 3, clients: 10 } },
    { servers, eject: { consecutiveFailures: 5 } },
    { servers, eject: false },
    { servers, retry: { maxAttempts: 3, budget: { ratio: 0.2, perSecond: 10 } } },
    { servers, retry: { budget: { ratio: 0.1 } } },
    { servers, retry: false },
    { servers, hedge: { maxRatio: 0.05, quantile: 0.99, minSamples: 20, minDelayMs: 1 } },
    { servers, hedge: {} },
    { servers, hedge: false },
    { servers, start: 'lazy' },
    { servers, start: 'eager' },
    { servers, start: 'required' },
    { servers, tls: true, metadata: { app: 'demo' } },
    { servers, tls: () => ({ ca: 'pem' }), metadata: async () => Promise.resolve({ token: 't' }) },
    { servers: undefined, resolver: undefined, balancer: undefined, pool: undefined, hedge: undefined },
  ];
}

/** Wrong options do not. */
export function wrongOptionsDoNot(): RapClientOptions[] {
  // @ts-expect-error -- an address is an object
  const text: RapClientOptions = { servers: ['a:9000'] };
  // @ts-expect-error -- misspelt
  const misspelt: RapClientOptions = { servers, balancr: 'p2c' };
  // @ts-expect-error -- misspelt in a server
  const inServer: RapClientOptions = { servers: [{ host: 'a', wieght: 1 }] };
  // @ts-expect-error -- a weight is a number
  const weight: RapClientOptions = { servers: [{ host: 'a', weight: '10' }] };
  // @ts-expect-error -- a resolver has a function watch
  const noResolver: RapClientOptions = { resolver: {} };
  // @ts-expect-error -- what watch returns stops it
  const endless: RapClientOptions = { resolver: { watch: (listener) => listener(servers) } };
  // @ts-expect-error -- no such balancer
  const balancer: RapClientOptions = { servers, balancer: 'p2x' };
  // @ts-expect-error -- it is made by consistentHash()
  const hash: RapClientOptions = { servers, balancer: 'consistentHash' };
  // @ts-expect-error -- a function returns one of the servers
  const picks: RapClientOptions = { servers, balancer: () => 'a:9000' };
  // @ts-expect-error -- misspelt
  const pool: RapClientOptions = { servers, pool: { maximum: 3 } };
  // @ts-expect-error -- a pool is an object
  const number: RapClientOptions = { servers, pool: 3 };
  // @ts-expect-error -- a subset has a size
  const subset: RapClientOptions = { servers, subset: { ordinal: 1, clients: 2 } };
  // @ts-expect-error -- misspelt
  const eject: RapClientOptions = { servers, eject: { consecutiveFailure: 5 } };
  // @ts-expect-error -- it is on already
  const ejects: RapClientOptions = { servers, eject: true };
  // @ts-expect-error -- misspelt
  const retry: RapClientOptions = { servers, retry: { attempts: 3 } };
  // @ts-expect-error -- a budget has two numbers
  const budget: RapClientOptions = { servers, retry: { budget: 0.2 } };
  // @ts-expect-error -- misspelt in the budget
  const rate: RapClientOptions = { servers, retry: { budget: { rate: 0.2 } } };
  // @ts-expect-error -- misspelt
  const hedge: RapClientOptions = { servers, hedge: { after: 5 } };
  // @ts-expect-error -- `{}` switches it on
  const hedges: RapClientOptions = { servers, hedge: true };
  // @ts-expect-error -- no such mode
  const start: RapClientOptions = { servers, start: 'soon' };
  // @ts-expect-error -- a function as tls says what TLS is
  const tls: RapClientOptions = { servers, tls: () => undefined };
  // @ts-expect-error -- metadata is an object
  const metadata: RapClientOptions = { servers, metadata: () => 'token' };
  return [
    text,
    misspelt,
    inServer,
    weight,
    noResolver,
    endless,
    balancer,
    hash,
    picks,
    pool,
    number,
    subset,
    eject,
    ejects,
    retry,
    budget,
    rate,
    hedge,
    hedges,
    start,
    tls,
    metadata,
  ];
}

export function wrongResolversDoNotCompile(): void {
  // @ts-expect-error -- the name is missing
  dnsResolver({ port: 9000 });
  // @ts-expect-error -- no such type of record
  dnsResolver({ name: 'a', type: 'TXT' });
  // @ts-expect-error -- misspelt
  dnsResolver({ name: 'a', nameServer: ['10.0.0.2'] });
  // @ts-expect-error -- the service is missing
  etcdResolver({ endpoints: ['http://e:2379'] });
  // @ts-expect-error -- members are a list
  etcdResolver({ endpoints: 'http://e:2379', service: 'math' });
  // @ts-expect-error -- misspelt
  registerInEtcd(new RapServer(), { endpoints: ['http://e:2379'], service: 'math', wieght: 1 });
  // @ts-expect-error -- a key is needed
  consistentHash({});
  // @ts-expect-error -- no such key
  consistentHash({ key: { query: 'a' } });
  // @ts-expect-error -- misspelt
  void client.withConnection(() => 1, { exclusiv: true });
}

/** What a client shows has its types. */
export function statsAndEvents(): void {
  expectTypeOf<BalancerOption>()
    .extract<string>()
    .toEqualTypeOf<'p2c' | 'roundRobin' | 'random' | 'weighted' | 'leastInFlight'>();
  expectTypeOf(client.stats().endpoints).toEqualTypeOf<readonly EndpointStats[] | undefined>();
  const [endpoint] = client.stats().endpoints ?? [];
  expectTypeOf(endpoint?.state).toEqualTypeOf<
    'idle' | 'connecting' | 'ready' | 'suspect' | 'ejected' | 'backingOff' | 'draining' | 'gone' | undefined
  >();
  expectTypeOf(endpoint?.latencyMs).toEqualTypeOf<number | undefined>();
  expectTypeOf(endpoint?.reason).toEqualTypeOf<string | undefined>();
  client.on('endpoint', (change) => expectTypeOf(change).toEqualTypeOf<EndpointChange>());
  client.on('status', (status, reason) => {
    expectTypeOf(status).toEqualTypeOf<RapStatus>();
    expectTypeOf(reason).toEqualTypeOf<Error | undefined>();
  });
  // @ts-expect-error -- no such event
  client.on('endpoints', () => {});
  expectTypeOf(new RapServer().stats()).toEqualTypeOf<RapServerStats>();
  expectTypeOf(client.withConnection(() => 1, { exclusive: true })).toEqualTypeOf<Promise<number>>();
}
