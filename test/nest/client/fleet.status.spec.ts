import type { Subscription } from 'rxjs';
import {
  ConnectionLostError,
  type EndpointChange,
  type RapClient,
  type RapClientOptions,
  RapError,
  type RapStatus,
  type Resolver,
  type ServerAddress,
} from '../../../lib/index.js';
import { eventually, rejection, turn } from '../../helpers/async.js';
import { freePort } from '../../helpers/ports.js';
import { TestFleet, type Work } from './test-fleet.js';

let fleet: TestFleet;
let unhandled: unknown[];
const note = (error: unknown): void => void unhandled.push(error);
const subscriptions: Subscription[] = [];

beforeEach(async () => {
  unhandled = [];
  process.on('unhandledRejection', note);
  fleet = await TestFleet.start(2);
});
afterEach(async () => {
  for (const each of subscriptions.splice(0)) each.unsubscribe();
  await fleet.close();
  await turn();
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

const FAST: RapClientOptions = { reconnect: { baseDelayMs: 1, maxDelayMs: 5, spreadMs: 5 } };
const addressOf = (index: number): string => `127.0.0.1:${fleet.servers[index]?.port}`;

/** A resolver whose list a test sets. */
class SetResolver implements Resolver {
  set!: (servers: readonly ServerAddress[]) => void;

  constructor(private readonly first: readonly ServerAddress[]) {}

  watch(listener: (servers: readonly ServerAddress[]) => void): () => void {
    this.set = listener;
    listener(this.first);
    return () => {};
  }
}

/** What a client says of itself, in its order: its `status`, and its events. */
class Told {
  readonly statuses: RapStatus[] = [];
  readonly events: string[] = [];
  readonly reasons: (Error | undefined)[] = [];
  readonly changes: EndpointChange[] = [];

  constructor(client: RapClient) {
    subscriptions.push(client.status.subscribe((status) => this.statuses.push(status)));
    client.on('connect', () => this.events.push('connect'));
    client.on('disconnect', (reason) => this.#lost('disconnect', reason));
    client.on('reconnecting', (reason) => this.#lost('reconnecting', reason));
    client.on('status', (status) => this.events.push(`status ${status}`));
    client.on('endpoint', (change) => this.changes.push(change));
  }

  #lost(event: string, reason: Error | undefined): void {
    this.events.push(event);
    this.reasons.push(reason);
  }

  /** The states of one server. */
  states(address: string): string[] {
    return this.changes.filter((each) => each.address === address).map(({ state }) => state);
  }

  /** Until a server is in this state, as it was told last. */
  async until(address: string, state: string): Promise<void> {
    await eventually(`${address} is ${state}`, () => this.states(address).at(-1) === state);
  }
}

async function stop(index: number): Promise<number> {
  const [app] = fleet.apps.splice(index, 1);
  await app?.close();
  return app?.port as number;
}

it('a list of one server is a fleet: it has events and stats, and what the server refused is tried again', async () => {
  const client = fleet.client({ ...FAST, servers: fleet.servers.slice(0, 1) });
  const told = new Told(client);
  await client.connect();
  await told.until(addressOf(0), 'ready');
  let runs = 0;
  (fleet.works[0] as Work).fault = () => {
    runs += 1;
    if (runs === 1) throw new RapError('broken', { status: 500 });
    return 'mended';
  };
  await expect(client.call('name', undefined, { idempotent: true })).resolves.toBe('mended');
  expect(client.stats().endpoints).toMatchObject([{ address: addressOf(0), state: 'ready', picks: 2 }]);
});

describe('status', () => {
  it('is connected as long as one server takes calls, and reconnecting when none does', async () => {
    const client = fleet.client(FAST);
    const told = new Told(client);
    expect(told.statuses).toEqual([]);
    const [first, second] = [addressOf(0), addressOf(1)];
    await client.connect();
    await told.until(first, 'ready');
    await told.until(second, 'ready');
    expect(told.statuses).toEqual(['connecting', 'connected']);

    await stop(0);
    await told.until(first, 'backingOff');
    await expect(client.call('name')).resolves.toBe('s1');
    expect(told.statuses).toHaveLength(2);

    const port = await stop(0);
    await eventually('all are lost', () => told.statuses.length === 4);
    await told.until(second, 'backingOff');
    expect(told.statuses.slice(2)).toEqual(['disconnected', 'reconnecting']);

    await fleet.add({ port });
    await expect(client.call('name')).resolves.toBe('s2');
    expect(told.statuses.slice(4)).toEqual(['connected']);

    client.close();
    expect(told.statuses.slice(5)).toEqual(['disconnected']);
    await expect(client.call('name')).resolves.toBe('s2');
    expect(told.statuses.slice(6)).toEqual(['connecting', 'connected']);
    await client.drain();
    expect(told.statuses.slice(8)).toEqual(['disconnected']);

    expect(told.events).toEqual([
      // the first servers
      'status connecting',
      'status connected',
      'connect',
      // all are lost, one comes back
      'status disconnected',
      'disconnect',
      'status reconnecting',
      'reconnecting',
      'status connected',
      'connect',
      // closed, used again, drained
      'status disconnected',
      'disconnect',
      'status connecting',
      'status connected',
      'connect',
      'status disconnected',
      'disconnect',
    ]);
    const [lost, again, closed, drained] = told.reasons;
    expect(lost).toBeInstanceOf(ConnectionLostError);
    expect(lost?.message).toContain(second);
    expect(again?.message).toBe(lost?.message);
    expect([closed, drained]).toEqual([undefined, undefined]);
  });

  it('is connecting while no server was reached yet', async () => {
    const servers = [{ port: await freePort() }, { port: await freePort() }];
    const client = fleet.client({ ...FAST, servers });
    const told = new Told(client);
    await rejection(client.connect());
    await rejection(client.call('name'));
    expect(told.statuses).toEqual(['connecting']);
    client.close();
    expect(told.statuses).toEqual(['connecting', 'disconnected']);
    expect(told.events).toEqual(['status connecting', 'status disconnected', 'disconnect']);
  });

  it('is reconnecting if the servers are not listed any more, with the reason', async () => {
    const resolver = new SetResolver(fleet.servers);
    const client = await fleet.ready({ resolver });
    const told = new Told(client);
    const last = addressOf(1);
    resolver.set(fleet.servers.slice(1));
    expect(told.statuses).toEqual(['connected']);
    resolver.set([]);
    expect(told.statuses).toEqual(['connected', 'disconnected', 'reconnecting']);
    expect(told.events).toEqual(['status disconnected', 'disconnect', 'status reconnecting', 'reconnecting']);
    expect(told.reasons[0]?.message).toBe(`${last} is not listed any more`);
    resolver.set(fleet.servers);
    await expect(client.call('name')).resolves.toMatch(/^s/);
    expect(told.statuses.at(-1)).toBe('connected');
  });

  it('says why the servers were lost now, not why one was lost before', async () => {
    const resolver = new SetResolver(fleet.servers);
    const client = await fleet.ready({ ...FAST, resolver });
    const told = new Told(client);
    const [first, second] = [addressOf(0), addressOf(1)];
    const port = await stop(0);
    await told.until(first, 'backingOff');
    await fleet.add({ port });
    await told.until(first, 'ready');
    resolver.set([{ host: '127.0.0.1', port: await freePort() }]);
    expect(told.reasons[0]?.message).toMatch(/ is not listed any more$/);
    expect([first, second]).toContain(told.reasons[0]?.message.split(' ')[0]);
  });

  it('of one server is told once for each change, however often the client tries', async () => {
    const client = fleet.client({
      host: '127.0.0.1',
      port: fleet.servers[0]?.port,
      ...FAST,
      servers: undefined,
    });
    const told = new Told(client);
    await client.connect();
    const port = await stop(0);
    await eventually('reconnecting', () => told.statuses.at(-1) === 'reconnecting');
    const attempts = await new Promise<number>((resolve) => {
      let count = 0;
      subscriptions.push(
        client.status.subscribe((status) => (status === 'connected' ? resolve(count) : count++)),
      );
      void fleet.add({ port });
    });
    expect(attempts).toBe(1); // the one that is told at first
    await eventually('told', () => told.events.at(-1) === 'connect');
    expect(told.events.filter((each) => each.startsWith('status'))).toEqual([
      'status connecting',
      'status connected',
      'status disconnected',
      'status reconnecting',
      'status connected',
    ]);
  });
});

it('a listener of `status` may close the client: that was the last change', async () => {
  const client = fleet.client();
  const told = new Told(client);
  client.on('status', (status) => void (status === 'connected' && client.close()));
  await rejection(client.connect());
  expect(told.events).toEqual(['status connecting', 'status connected', 'status disconnected', 'disconnect']);
  expect(told.statuses).toEqual(['connecting', 'connected', 'disconnected']);
});

describe('endpoint', () => {
  it('tells each state of a server that is drained and comes back, with the reason', async () => {
    const client = fleet.client(FAST);
    const told = new Told(client);
    const [first, second] = [addressOf(0), addressOf(1)];
    await client.connect();
    await told.until(first, 'ready');
    await told.until(second, 'ready');
    const port = await stop(0);
    await told.until(first, 'backingOff');
    await fleet.add({ port });
    await told.until(first, 'ready');

    const states = told.states(first);
    expect(states.slice(0, 3)).toEqual(['connecting', 'ready', 'draining']);
    expect(states.slice(-2)).toEqual(['connecting', 'ready']);
    // no state is told twice in a row
    expect(states.filter((state, i) => state === states[i - 1])).toEqual([]);
    const reasonOf = (state: string): unknown =>
      told.changes.find((each) => each.address === first && each.state === state)?.reason;
    expect(reasonOf('ready')).toBeUndefined();
    expect(reasonOf('draining')).toBe(`${first} shuts down`);
    expect(reasonOf('backingOff')).toContain(`cannot connect to ${first}`);
    expect(told.states(second)).toEqual(['connecting', 'ready']);
  });

  it('tells of servers that are listed and not listed any more', async () => {
    const resolver = new SetResolver(fleet.servers.slice(0, 1));
    const client = fleet.client({ resolver });
    const told = new Told(client);
    const [first, second] = [addressOf(0), addressOf(1)];
    await client.connect();
    resolver.set(fleet.servers.slice(1));
    await told.until(second, 'ready');
    expect(told.changes).toEqual([
      { address: first, state: 'connecting', reason: undefined },
      { address: first, state: 'ready', reason: undefined },
      { address: first, state: 'gone', reason: 'it is not listed any more' },
      { address: second, state: 'connecting', reason: undefined },
      { address: second, state: 'ready', reason: undefined },
    ]);
    expect(client.stats().endpoints?.map(({ address, state }) => [address, state])).toEqual([
      [second, 'ready'],
    ]);
  });

  it('tells whether a server has left the list, or only the subset', async () => {
    let list!: (servers: readonly ServerAddress[]) => void;
    const client = fleet.client({
      resolver: { watch: (listener) => ((list = listener), () => {}) },
      subset: { size: 1, ordinal: 0, clients: 1 },
    });
    const reasons: (string | undefined)[] = [];
    client.on('endpoint', ({ state, reason }) => state === 'gone' && reasons.push(reason));
    client.connect().catch(() => {});
    const [first, second] = fleet.servers as [ServerAddress, ServerAddress];
    list([first]);
    list([second]);
    list([first, second]); // one of the two lists is no change
    list([first]);
    list([second, first]);
    list([second]);
    expect(new Set(reasons)).toEqual(
      new Set(['it is not listed any more', 'it is not in the subset any more']),
    );
  });

  it.each(['close', 'drain'] as const)('tells nothing more after %s()', async (how) => {
    const client = await fleet.ready(FAST);
    const told = new Told(client);
    const addresses = [addressOf(0), addressOf(1)];
    await client[how]();
    expect(told.changes).toEqual(addresses.map((address) => ({ address, state: 'idle', reason: undefined })));
    await Promise.all(fleet.apps.splice(0).map(async (app) => app.close()));
    await turn();
    expect(told.changes).toHaveLength(2);
    expect(client.stats().endpoints?.map(({ state }) => state)).toEqual(['idle', 'idle']);
  });
});

describe('a listener that throws', () => {
  const EVENTS = ['connect', 'disconnect', 'reconnecting', 'endpoint', 'status'] as const;

  it.each([
    [
      'throws',
      () => {
        throw new Error('my listener');
      },
    ],
    ['rejects', async () => Promise.reject(new Error('my listener'))],
  ])('or %s is logged, and the client goes on', async (_how, fail) => {
    const client = fleet.client(FAST);
    const heard = new Set<string>();
    for (const event of EVENTS) {
      client.on(event, fail);
      client.on(event, () => void heard.add(event));
    }
    await expect(client.call('name')).resolves.toMatch(/^s/);
    const ports = [await stop(0), await stop(0)];
    await eventually('all are lost', () => heard.has('reconnecting'));
    await fleet.add({ port: ports[0] as number });
    await expect(client.call('name')).resolves.toBe('s2');
    client.close();
    expect([...heard].toSorted()).toEqual([...EVENTS].toSorted());
    expect(fleet.log).toContain('error RapClient: my listener');
  });
});
