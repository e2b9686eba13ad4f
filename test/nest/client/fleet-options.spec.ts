import 'reflect-metadata';
import { Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { RapClient, type RapClientOptions, RapModule } from '../../../lib/index.js';

const A = { host: '127.0.0.1', port: 1 };
const B = { host: '127.0.0.1', port: 2 };
const servers = [A, B];

/** Options as a user without a compiler writes them. */
type Wrong = Readonly<Record<string, unknown>>;

function refusal(options: Wrong): string {
  try {
    expect(new RapClient(options)).toBe('refused');
  } catch (error) {
    expect(error).toBeInstanceOf(RangeError);
    return (error as Error).message;
  }
  throw new Error('it was accepted');
}

/** What is given, and how the error begins. */
const WRONG: readonly [given: Wrong, message: string][] = [
  [{ servers: 'a:9000' }, "servers must be a list, got 'a:9000'"],
  [{ servers: [] }, 'servers is empty'],
  [{ servers: [A, A] }, 'servers[1] has the address of servers[0]: 127.0.0.1:1'],
  [{ servers: [A, { ...A, weight: 2 }] }, 'servers[1] has the address of servers[0]: 127.0.0.1:1'],
  [{ servers: [{}, { host: 'localhost', port: 9000 }] }, 'servers[1] has the address of servers[0]'],
  [{ servers: [A, null] }, 'servers[1] must be an object, got null'],
  [{ servers: [A, 'b:9000'] }, "servers[1] must be an object, got 'b:9000'"],
  [{ servers: [A, { ...B, prot: 1 }] }, 'servers[1].prot is not an option; did you mean servers[1].port?'],
  [
    { servers: [A, { ...B, wieght: 1 }] },
    'servers[1].wieght is not an option; did you mean servers[1].weight?',
  ],
  [
    { servers: [A, { ...B, servername: 'b' }] },
    'servers[1].servername is not an option; did you mean servers[1].serverName?',
  ],
  [{ servers: [A, { host: 'b', port: 70_000 }] }, 'servers[1].port must be'],
  [
    { servers: [A, { ...B, weight: NaN }] },
    'servers[1].weight must be a finite number of at least 0, got NaN',
  ],
  [{ servers: [A, { ...B, weight: -1 }] }, 'servers[1].weight must be a finite number of at least 0, got -1'],
  [{ servers: [A, { ...B, weight: Infinity }] }, 'servers[1].weight must be a finite number'],
  [
    { servers: [A, { ...B, weight: '2' }] },
    "servers[1].weight must be a finite number of at least 0, got '2'",
  ],
  [{ servers: [{ ...A, weight: NaN }] }, 'servers[0].weight must be a finite number of at least 0, got NaN'],
  [{ servers: [A, { ...B, metadata: 'zone' }] }, "servers[1].metadata must be an object, got 'zone'"],
  [{ servers: [A, { ...B, serverName: 1 }] }, 'servers[1].serverName must be text, got 1'],
  [
    { servers, resolver: { watch: () => () => {} } },
    'options of RapClient: give servers or resolver, not both',
  ],
  [
    { resolver: { watch: () => () => {} }, port: 1 },
    'options of RapClient: give resolver or host, port or path',
  ],
  [{ servers, reconnect: false }, 'reconnect: false is for a client of one server'],
  [{ resolver: {} }, 'resolver must have a function "watch", got {}'],
  [{ resolver: null }, 'resolver must have a function "watch", got null'],
  [{ resolver: 'dns' }, 'resolver must have a function "watch", got \'dns\''],
  [{ resolver: { watch: true } }, 'resolver must have a function "watch", got { watch: true }'],
  [{ balancer: 'p2x' }, /* the names */ "balancer must be 'p2c', 'roundRobin', 'random', 'weighted'"],
  [{ balancer: null }, "balancer must be 'p2c'"],
  [{ balancer: 7 }, "balancer must be 'p2c'"],
  [{ balancer: { kind: 'consistentHash' } }, "balancer must be 'p2c'"],
  [{ pool: 3 }, 'pool must be an object, got 3'],
  [{ pool: { mix: 1 } }, 'pool.mix is not an option; did you mean pool.m'],
  [
    { pool: { callsPerConn: 9 } },
    'pool.callsPerConn is not an option; did you mean pool.callsPerConnection?',
  ],
  [{ pool: { min: 0 } }, 'pool.min must be a whole number of at least 1, got 0'],
  [{ pool: { min: 1.5 } }, 'pool.min must be a whole number of at least 1, got 1.5'],
  [{ pool: { min: '2' } }, "pool.min must be a whole number of at least 1, got '2'"],
  [{ pool: { max: NaN } }, 'pool.max must be a whole number of at least 1, got NaN'],
  [{ pool: { max: -1 } }, 'pool.max must be a whole number of at least 1, got -1'],
  [{ pool: { min: 4 } }, 'pool.min is 4, above pool.max, which is 3'],
  [
    { pool: { callsPerConnection: 0 } },
    'pool.callsPerConnection must be a whole number of at least 1, got 0',
  ],
  [{ pool: { maxConnectionAgeMs: -1 } }, 'pool.maxConnectionAgeMs must be a number of at least 0, got -1'],
  [{ pool: { maxConnectionAgeMs: NaN } }, 'pool.maxConnectionAgeMs must be a number of at least 0, got NaN'],
  [
    { pool: { maxConnectionAgeMs: '60' } },
    "pool.maxConnectionAgeMs must be a number of at least 0, got '60'",
  ],
  [{ pool: { ageJitter: 2 } }, 'pool.ageJitter must be from 0 to 1, got 2'],
  [{ pool: { ageJitter: '1' } }, 'pool.ageJitter must be'],
  [{ subset: 20 }, 'subset must be an object, got 20'],
  [{ subset: {} }, 'subset.size must be a whole number of at least 1, got undefined'],
  [{ subset: { size: 0 } }, 'subset.size must be a whole number of at least 1, got 0'],
  [{ subset: { size: NaN } }, 'subset.size must be a whole number of at least 1, got NaN'],
  [{ subset: { sise: 2 } }, 'subset.sise is not an option; did you mean subset.size?'],
  [{ subset: { size: 2, ordinals: 0 } }, 'subset.ordinals is not an option; did you mean subset.ordinal?'],
  [{ subset: { size: 2, ordinal: 0 } }, 'subset.clients must be a whole number of at least 1, got undefined'],
  [{ subset: { size: 2, clients: 3 } }, 'subset.ordinal must be a whole number of at least 0, got undefined'],
  [
    { subset: { size: 2, ordinal: 3, clients: 3 } },
    'subset.ordinal is 3: it must be below subset.clients, which is 3',
  ],
  [
    { subset: { size: 2, ordinal: -1, clients: 3 } },
    'subset.ordinal must be a whole number of at least 0, got -1',
  ],
  [{ eject: true }, 'eject must be an object or false, got true'],
  [
    { eject: { consecutiveFailure: 5 } },
    'eject.consecutiveFailure is not an option; did you mean eject.consecutiveFailures?',
  ],
  [{ eject: { consecutiveFailures: 0 } }, 'eject.consecutiveFailures must be a whole number above 0, got 0'],
  [{ eject: { maxRatio: 2 } }, 'eject.maxRatio must be a number from 0 to 1, got 2'],
  [
    { eject: { baseMs: 10, maxMs: 5 } },
    'eject.maxMs must be a finite number of at least eject.baseMs (10), got 5',
  ],
  [{ eject: { baseMs: NaN } }, 'eject.baseMs must be a number of at least 0, got NaN'],
  [{ retry: true }, 'retry must be an object or false, got true'],
  [{ eject: { maxRatios: 1 } }, 'eject.maxRatios is not an option; did you mean eject.maxRatio?'],
  [{ retry: { attempts: 3 } }, 'retry.attempts is not an option; did you mean retry.maxAttempts?'],
  [{ retry: { maxAttempt: 3 } }, 'retry.maxAttempt is not an option; did you mean retry.maxAttempts?'],
  [{ retry: { budgets: {} } }, 'retry.budgets is not an option; did you mean retry.budget?'],
  [
    { retry: { maxAttempts: 1, budget: { ratio: 0, perSecond: 0.09 } }, hedge: {} },
    'retry.budget blocks every hedge: ratio is 0 and perSecond is 0.09, less than one in 10 s',
  ],
  [{ retry: { maxAttempts: 0 } }, 'retry.maxAttempts must be a whole number above 0, got 0'],
  [{ retry: { maxAttempts: 2.5 } }, 'retry.maxAttempts must be a whole number above 0, got 2.5'],
  [
    { retry: { baseDelayMs: 50, maxDelayMs: 10 } },
    'retry.maxDelayMs must be a finite number of at least retry.baseDelayMs (50), got 10',
  ],
  [
    { retry: { budget: { ratio: 0, perSecond: 0 } } },
    'retry.budget blocks every retry: ratio is 0 and perSecond is 0',
  ],
  [{ retry: { budget: 0.2 } }, 'retry.budget must be an object'],
  [{ retry: { budget: { ratio: -1 } } }, 'retry.budget.ratio must be a number of at least 0, got -1'],
  [
    { retry: { budget: { rate: 1 } } },
    'retry.budget.rate is not an option; did you mean retry.budget.ratio?',
  ],
  [{ hedge: true }, 'hedge must be an object or false, got true'],
  [
    { hedge: { maxRatio: 0 } },
    'hedge.maxRatio must be above 0, and at most 1; to have no hedges, set hedge to false, got 0',
  ],
  [{ hedge: { quantile: 1 } }, 'hedge.quantile must be between 0 and 1, got 1'],
  [{ hedge: { minSamples: 129 } }, 'hedge.minSamples must be a whole number from 1 to 128, got 129'],
  [
    { retry: { budget: { perSecon: 1 } } },
    'retry.budget.perSecon is not an option; did you mean retry.budget.perSecond?',
  ],
  [{ hedge: { quantil: 0.9 } }, 'hedge.quantil is not an option; did you mean hedge.quantile?'],
  [{ hedge: { minSample: 9 } }, 'hedge.minSample is not an option; did you mean hedge.minSamples?'],
  [{ hedge: { after: 5 } }, 'hedge.after is not an option'],
  [{ start: 'soon' }, "start must be 'lazy', 'eager' or 'required', got 'soon'"],
  [{ start: true }, "start must be 'lazy', 'eager' or 'required', got true"],
  [{ start: null }, "start must be 'lazy', 'eager' or 'required', got null"],
  [{ balancr: 'p2c' }, 'options of RapClient: balancr is not an option; did you mean balancer?'],
  [{ hedges: {} }, 'options of RapClient: hedges is not an option; did you mean hedge?'],
  [{ ejects: {} }, 'options of RapClient: ejects is not an option; did you mean eject?'],
  [{ retries: {} }, 'options of RapClient: retries is not an option; did you mean retry?'],
  [{ subsets: {} }, 'options of RapClient: subsets is not an option; did you mean subset?'],
  [{ pools: {} }, 'options of RapClient: pools is not an option; did you mean pool?'],
  [
    { servers, reconnect: { spread: 1 } },
    'reconnect.spread is not an option; did you mean reconnect.spreadMs?',
  ],
  [{ resolvers: {} }, 'options of RapClient: resolvers is not an option; did you mean resolver?'],
];

it.each(WRONG)('%j is refused when the client is made', (given, message) => {
  expect(refusal(given)).toMatch(new RegExp(`^${message.replaceAll(/[^\w ]/g, String.raw`\$&`)}`));
});

it('names the balancer that was meant', () => {
  expect(refusal({ balancer: 'p2x' })).toContain("got 'p2x': did you mean 'p2c'?");
  expect(refusal({ balancer: 'RoundRobin' })).toContain("did you mean 'roundRobin'?");
  expect(refusal({ balancer: 'consistenthash' })).toContain('did you mean consistentHash({ key })?');
});

it.each<RapClientOptions>([
  { servers, retry: false, eject: false, hedge: false },
  {
    servers: [
      { ...A, weight: 0 },
      { ...B, weight: 0 },
    ],
  },
  { servers, pool: { min: 2, max: 2, maxConnectionAgeMs: 0, ageJitter: 0 } },
  { servers, subset: { size: 5, ordinal: 0, clients: 1 }, start: 'lazy' },
  { servers, retry: { maxAttempts: 1, budget: { ratio: 0, perSecond: 0 } } },
  { servers, balancer: (candidates) => candidates[0] },
  { ...A, start: 'required', reconnect: false },
  { servers, resolver: undefined, pool: undefined, eject: undefined, start: undefined },
])('%j is accepted, and opens nothing', (options) => {
  const client = new RapClient(options);
  expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  client.close();
});

describe('RapModule', () => {
  it('refuses them when the application is put together', async () => {
    const wrong = { name: 'C', servers, balancer: 'p2x' } as never;
    expect(() => RapModule.register([{ name: 'C', servers, start: 'soon' } as never])).toThrow(
      /^start must be/,
    );
    const module = (): Promise<unknown> =>
      Test.createTestingModule({ imports: [RapModule.register([wrong])] }).compile();
    await expect(module()).rejects.toThrow(/did you mean 'p2c'/);
    const later = RapModule.registerAsync([{ name: 'C', useFactory: () => ({ servers, pool: { min: 9 } }) }]);
    await expect(Test.createTestingModule({ imports: [later] }).compile()).rejects.toThrow(
      'pool.min is 9, above pool.max, which is 3',
    );
  });

  it('passes them on', async () => {
    @Injectable()
    class Nothing {}
    const options: RapClientOptions = {
      resolver: { watch: (listener) => (listener(servers), () => {}) },
      balancer: 'roundRobin',
      pool: { max: 1 },
      subset: { size: 1 },
      eject: false,
      retry: false,
      hedge: { maxRatio: 0.1 },
      start: 'lazy',
    };
    const module = await Test.createTestingModule({
      imports: [
        RapModule.register([{ name: 'A', ...options }]),
        RapModule.registerAsync([{ name: 'B', useFactory: () => options }]),
      ],
      providers: [Nothing],
    }).compile();
    for (const name of ['A', 'B']) {
      const client = module.get<RapClient>(name);
      await expect(client.connect()).rejects.toThrow('cannot connect to 127.0.0.1');
      expect(client.stats().endpoints).toHaveLength(1); // of its subset
    }
    await module.close();
  });
});
