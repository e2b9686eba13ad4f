import type {
  RapClientOptions,
  RapError,
  RapServerOptions,
  Resolver,
  ServerAddress,
} from '../../../lib/index.js';
import { eventually, rejection, turn } from '../../helpers/async.js';
import { TestAuthority } from '../../helpers/certificates.js';
import { TestFleet } from './test-fleet.js';

const authority = new TestAuthority();
const { cert: ca } = authority;
const NAMES = ['127.0.0.1', 'math.test'];
const good = authority.issue({ commonName: 'server', names: NAMES });

let fleet: TestFleet;
let unhandled: unknown[];
const note = (error: unknown): void => void unhandled.push(error);
beforeEach(() => {
  unhandled = [];
  process.on('unhandledRejection', note);
  fleet = new TestFleet();
});
afterEach(async () => {
  await fleet.close();
  await turn();
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

const FAST = { baseDelayMs: 1, maxDelayMs: 5, spreadMs: 5 };

/** Two servers with certificates for their address, and one that differs. */
async function startWith(odd: RapServerOptions): Promise<string> {
  const { port } = await fleet.add(odd);
  await fleet.add({ tls: good });
  await fleet.add({ tls: good });
  return `127.0.0.1:${port}`;
}

const WRONG: readonly [what: string, odd: RapServerOptions, reason: RegExp][] = [
  [
    'has a certificate for another name',
    { tls: authority.issue({ commonName: 'server', names: ['other.test'] }) },
    /does not match certificate's altnames/,
  ],
  [
    'has a certificate of another authority',
    { tls: new TestAuthority().issue({ commonName: 'server', names: NAMES }) },
    /certificate signature failure/,
  ],
  [
    'has a certificate that has expired',
    { tls: authority.issue({ commonName: 'server', names: NAMES, expired: true }) },
    /certificate has expired/,
  ],
  ['speaks no TLS', {}, /speaks no TLS/],
  [
    'wants a certificate of the client',
    { tls: { ...good, requestCert: true, ca } },
    /refused TLS: certificate required|may not accept the certificate/,
  ],
];

describe.each(WRONG)('one server of three %s', (_what, odd, reason) => {
  it('the others take all calls, and the reason is told with the server', async () => {
    const address = await startWith(odd);
    const client = fleet.client({ tls: { ca }, balancer: 'roundRobin' });
    const reasons: (string | undefined)[] = [];
    const ready = new Set<string>();
    client.on('endpoint', (change) => {
      if (change.state === 'ready') ready.add(change.address);
      if (change.address === address && change.state === 'backingOff') reasons.push(change.reason);
    });
    await client.connect();
    await eventually('all attempts are over', () => ready.size === 2 && reasons.length > 0);
    const names = await Promise.all(Array.from({ length: 30 }, () => client.call<string>('name')));
    expect(names.toSorted()).toEqual([...Array<string>(15).fill('s1'), ...Array<string>(15).fill('s2')]);

    expect(ready).not.toContain(address);
    expect(reasons[0]).toMatch(reason);
    expect(reasons[0]).toContain(`cannot connect to ${address}: `);
    expect(fleet.log).toContain(`warn RapClient: ${address} is backingOff: ${reasons[0]}`);
    expect(client.stats().endpoints?.[0]).toMatchObject({ address, picks: 0, failures: 0, connections: 0 });
  });

  it('if it is the only one, the call fails with the server and the reason', async () => {
    const { port } = await fleet.add(odd);
    const client = fleet.client({ servers: [{ host: '127.0.0.1', port }], tls: { ca }, eject: {} });
    const error = (await rejection(client.call('name'))) as unknown as RapError;
    expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
    expect(error.message).toMatch(reason);
    expect(error.message).toContain(`127.0.0.1:${port}`);
  });
});

it('the name to verify is that of the server in the list', async () => {
  await startWith({ tls: authority.issue({ commonName: 'server', names: ['first.test'] }) });
  const [first, second, third] = fleet.servers;
  const servers = [
    { ...first, serverName: 'first.test' },
    { ...second, serverName: 'math.test' },
    { ...third, serverName: 'other.test' },
  ];
  const client = await fleet.ready({ tls: { ca }, servers }, 2);
  const names = new Set(await Promise.all(Array.from({ length: 30 }, () => client.call<string>('name'))));
  expect(names).toEqual(new Set(['s0', 's1']));
  expect(fleet.log).toMatch(/is backingOff: cannot connect to .*other\.test.* not in the cert's altnames/);
});

const certificate = (name: string) => authority.issue({ commonName: 'server', names: [name] });

it('new connections verify the name that the list says now', async () => {
  const { port } = await fleet.add({ tls: certificate('old.test') });
  const listed = (serverName: string): ServerAddress[] => [{ host: '127.0.0.1', port, serverName }];
  let list!: (servers: readonly ServerAddress[]) => void;
  const resolver: Resolver = {
    watch(listener) {
      list = listener;
      listener(listed('old.test'));
      return () => {};
    },
  };
  const client = fleet.client({ resolver, tls: { ca }, reconnect: FAST });
  expect(await client.call('name')).toBe('s0');

  await fleet.apps[0]?.close();
  list(listed('new.test'));
  await fleet.add({ tls: certificate('new.test'), port });
  expect(await client.call('name')).toBe('s1');
});

const thrown = (error: unknown) => (): never => {
  throw error;
};

const options = (option: 'tls' | 'metadata', ask: () => unknown): RapClientOptions => ({
  tls: { ca },
  reconnect: FAST,
  [option]: ask,
});

describe('a function as tls or metadata', () => {
  const cyclic: Record<string, unknown> = {};
  cyclic['self'] = cyclic;
  type Failing = readonly [
    option: 'tls' | 'metadata',
    what: string,
    fail: () => unknown,
    message: string | RegExp,
  ];
  const FAILING: readonly Failing[] = (['tls', 'metadata'] as const).flatMap((option): Failing[] => {
    const expected = option === 'tls' ? 'not an object or true' : 'not an object';
    return [
      [option, 'throws', thrown(new Error('no vault')), `${option}() failed: no vault`],
      [option, 'throws text', thrown('no vault'), `${option}() failed: no vault`],
      [option, 'throws nothing', thrown(undefined), `${option}() failed: undefined`],
      [option, 'rejects', () => Promise.reject(new Error('no vault')), `${option}() failed: no vault`],
      [option, 'rejects with nothing', () => Promise.reject(undefined), `${option}() failed: undefined`],
      [option, 'gives null', () => null, `${option}() gave null, ${expected}`],
      [option, 'gives text', () => 'secret', `${option}() gave text, ${expected}`],
      [option, 'gives a list', () => Promise.resolve([1]), `${option}() gave a list, ${expected}`],
      [option, 'gives a number', () => 7, `${option}() gave a number, ${expected}`],
    ];
  });
  const all: readonly Failing[] = [
    ...FAILING,
    ['tls', 'gives false', () => false, 'tls() gave a boolean, not an object or true'],
    ['tls', 'gives nothing', () => undefined, 'tls() gave undefined, not an object or true'],
    [
      'tls',
      'gives a certificate that is none',
      () => ({ ca, cert: 'junk', key: 'junk' }),
      /PEM|no start line/i,
    ],
    ['tls', 'gives a certificate of a wrong type', () => ({ ca: 5 }), /must be of type|ca/],
    ['metadata', 'gives a cycle', () => cyclic, /cannot|circular|nested|depth/i],
  ];

  describe.each(all)('%s() that %s', (option, _what, fail, message) => {
    it('always: each call fails with the reason, and it is asked again', async () => {
      await startWith({ tls: good });
      let asked = 0;
      const client = fleet.client(options(option, () => ((asked += 1), fail())));
      for (let i = 0; i < 2; i += 1) {
        const error = (await rejection(client.call('name'))) as unknown as RapError;
        expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
        expect(error.message).toMatch(message);
        expect(error.message).toMatch(/cannot connect to 127\.0\.0\.1:\d+: /);
        client.close();
      }
      expect(asked).toBeGreaterThanOrEqual(2 * fleet.apps.length);
      expect(fleet.calls).toBe(0);
    });

    it('for the first server: the others take the calls, and it is connected with the next attempt', async () => {
      const first = await startWith({ tls: good });
      const fine: unknown = option === 'tls' ? { ca } : {};
      let asked = 0;
      const client = fleet.client(options(option, () => ((asked += 1), asked === 1 ? fail() : fine)));
      const states: string[] = [];
      client.on('endpoint', ({ address, state, reason }) => {
        if (address === first) states.push(reason === undefined ? state : `${state} ${reason}`);
      });
      await expect(client.call('name')).resolves.toMatch(/^s/);
      await eventually('the first is ready', () => states.at(-1) === 'ready');
      expect(states.map((each) => each.split(' ')[0])).toEqual([
        'connecting',
        'backingOff',
        'connecting',
        'ready',
      ]);
      expect(states[1]).toMatch(message);
      expect(states[1]).toContain(`cannot connect to ${first}: `);
      expect(asked).toBe(fleet.apps.length + 1);
    });
  });

  it.each(['tls', 'metadata'] as const)('%s() is asked for each connection', async (option) => {
    await startWith({ tls: good });
    let asked = 0;
    const fine = option === 'tls' ? { ca } : {};
    const client = await fleet.ready({ ...options(option, () => ((asked += 1), fine)), pool: { min: 2 } });
    const connections = (): number =>
      fleet.apps.reduce((sum, { server }) => sum + server.stats().connections, 0);
    await eventually('two to each', () => connections() === 6);
    await client.withConnection(() => client.call('name'), { exclusive: true });
    expect(asked).toBe(7);
    await client.call('name');
    expect(asked).toBe(7);
  });
});
