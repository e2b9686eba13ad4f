import type { ConnStore } from '../../lib/plugins/conn-store.js';
import { ConnLimitMiddleware } from '../../lib/plugins/conn-limit-middleware.js';
import { IpMaxConnMiddleware } from '../../lib/plugins/ip-max-conn-middleware.js';
import { CloseReason } from '../../lib/protocol/event.js';
import type { ConnectionMiddleware } from '../../lib/pipeline/api.js';
import { Gate } from '../helpers/async.js';
import { FakeClock } from '../helpers/fake-clock.js';
import { FakeConnection } from '../helpers/fake-connection.js';
import { silenced } from '../helpers/silent-log.js';

silenced();

/** What each of these connections gets, none of which goes. */
async function outcomes(middleware: ConnectionMiddleware, ...addresses: string[]): Promise<boolean[]> {
  const connections = addresses.map((address) => new FakeConnection(address));
  for (const connection of connections) await connection.through(middleware);
  return connections.map(({ served }) => served);
}

describe('ConnLimitMiddleware', () => {
  it('lets in as many as the limit says, refuses the excess with the reason of rap, and gives a freed place to the next', async () => {
    const limit = new ConnLimitMiddleware({ maxConnections: 2 });
    const [first, second, third, fourth] = Array.from({ length: 4 }, () => new FakeConnection());
    const { end } = await first!.through(limit);
    await second!.through(limit);
    await third!.through(limit);
    expect([first, second, third].map((it) => [it!.served, it!.reason])).toEqual([
      [true, undefined],
      [true, undefined],
      [false, 'Currently exceeding the maximum number of connections limit'],
    ]);
    await end();
    await fourth!.through(limit);
    expect(fourth!.served).toBe(true);
  });

  it('gives a place back once, also if serving fails', async () => {
    const limit = new ConnLimitMiddleware({ maxConnections: 1 });
    const failed = Promise.resolve(limit.use(new FakeConnection(), () => Promise.reject(new Error('no'))));
    await expect(failed).rejects.toThrow('no');
    expect(await outcomes(limit, '10.0.0.1', '10.0.0.1')).toEqual([true, false]);
  });

  it('refuses everybody for the block time after an excess, and not longer', async () => {
    const clock = new FakeClock();
    const limit = new ConnLimitMiddleware({ maxConnections: 1, blockTimeMs: 60_000, clock });
    const { end } = await new FakeConnection().through(limit);
    expect(await outcomes(limit, '10.0.0.1')).toEqual([false]);
    await end(); // there is a place, and nobody gets it
    clock.advance(30_000);
    expect(await outcomes(limit, '10.0.0.1')).toEqual([false]); // which does not make it longer
    clock.advance(29_999);
    expect(await outcomes(limit, '10.0.0.1')).toEqual([false]);
    clock.advance(1);
    expect(await outcomes(limit, '10.0.0.1')).toEqual([true]);
    expect(clock.pending).toBe(0);
  });

  it('with 0 lets nobody in', async () => {
    expect(await outcomes(new ConnLimitMiddleware({ maxConnections: 0 }), '10.0.0.1')).toEqual([false]);
  });

  it.each([
    [{ maxConnections: -1 }, 'maxConnections must be a number of at least 0, got -1'],
    [{ maxConnections: NaN }, 'maxConnections must be a number of at least 0, got NaN'],
    [{ maxConnections: '3' as never }, "maxConnections must be a number of at least 0, got '3'"],
    [{ blockTimeMs: -1 }, 'blockTimeMs'],
    [{ leaseMs: 0 }, 'leaseMs must be a number above 0, got 0'],
    [{ storeTimeoutMs: Infinity }, 'storeTimeoutMs must be a number above 0, got Infinity'],
    [{ onStoreError: 'maybe' as never }, "onStoreError must be 'open' or 'closed', got 'maybe'"],
  ])('refuses %j', (options, message) => {
    expect(() => new ConnLimitMiddleware(options)).toThrow(RangeError);
    expect(() => new ConnLimitMiddleware(options)).toThrow(message);
  });
});

describe('IpMaxConnMiddleware', () => {
  it('bounds each address, however it came', async () => {
    const limit = new IpMaxConnMiddleware({ maxConnections: 2 });
    expect(
      await outcomes(limit, '10.0.0.1', '::ffff:10.0.0.1', '10.0.0.1', '::ffff:a00:1', '10.0.0.2'),
    ).toEqual([true, true, false, false, true]);
    expect(await outcomes(limit, '2001:db8::1', '2001:DB8:0::1', '2001:db8::1', '2001:db8::2')).toEqual([
      true,
      true,
      false,
      true,
    ]);
  });

  it('says so in the words of rap', async () => {
    const refused = new FakeConnection();
    await refused.through(new IpMaxConnMiddleware({ maxConnections: 0 }));
    expect(refused.reason).toBe(CloseReason.TooManyConnectionsOfAddress);
    expect(refused.reason).toBe('Currently exceeding the maximum number of ip conn limit');
  });

  it('blocks only the address that had an excess', async () => {
    const clock = new FakeClock();
    const limit = new IpMaxConnMiddleware({ maxConnections: 1, blockTimeMs: 1000, clock });
    const { end } = await new FakeConnection('10.0.0.1').through(limit);
    expect(await outcomes(limit, '10.0.0.1')).toEqual([false]);
    await end();
    expect(await outcomes(limit, '10.0.0.1', '10.0.0.2')).toEqual([false, true]);
    clock.advance(1000);
    expect(await outcomes(limit, '10.0.0.1')).toEqual([true]);
  });

  it('does not bind Unix sockets', async () => {
    const connection = new FakeConnection('/tmp/rap.sock', 'unix');
    await connection.through(new IpMaxConnMiddleware({ maxConnections: 0 }));
    expect(connection.served).toBe(true);
  });

  it('names its own option', () => {
    expect(() => new IpMaxConnMiddleware({ timeoutMs: 0 })).toThrow(
      'timeoutMs must be a number above 0, got 0',
    );
  });
});

/** A store that answers when the test says so, and what it was told. */
class SlowStore implements ConnStore {
  readonly told: string[] = [];
  answer = new Gate<boolean>();

  async acquire(): Promise<boolean> {
    this.told.push('acquire');
    return this.answer.opened;
  }

  hold(): void {
    this.told.push('hold');
  }

  release(): void {
    this.told.push('release');
  }
}

/** A connection whose store has not answered in time. */
async function started(
  onStoreError: 'open' | 'closed',
): Promise<{ store: SlowStore; connection: FakeConnection; end: () => Promise<void> }> {
  const store = new SlowStore();
  const clock = new FakeClock();
  const connection = new FakeConnection();
  const limit = new ConnLimitMiddleware({ maxConnections: 1, store, onStoreError, clock });
  const through = connection.through(limit);
  clock.advance(499);
  expect([connection.served, connection.reason]).toEqual([false, undefined]);
  clock.advance(1);
  return { store, connection, end: (await through).end };
}

describe('a store that does not answer', () => {
  it('open: lets in, counts the connection when the store is back, and gives its place back', async () => {
    const { store, connection, end } = await started('open');
    expect([connection.served, connection.reason, store.told]).toEqual([
      true,
      undefined,
      ['acquire', 'hold'],
    ]);
    store.answer.open(true);
    await store.answer.opened;
    expect(store.told).toEqual(['acquire', 'hold']);
    await end();
    expect(store.told).toEqual(['acquire', 'hold', 'release']);
  });

  it('open: gives back a place that comes when the connection has gone', async () => {
    const { store, end } = await started('open');
    await end();
    store.answer.open(true);
    await store.answer.opened;
    await Promise.resolve();
    expect(store.told).toEqual(['acquire', 'hold', 'release', 'release']);
  });

  it('closed: refuses, and gives back a place that comes too late', async () => {
    const { store, connection } = await started('closed');
    expect([connection.served, connection.reason]).toEqual([false, CloseReason.TooManyConnections]);
    expect(store.told).toEqual(['acquire']);
    store.answer.open(true);
    await store.answer.opened;
    await Promise.resolve();
    expect(store.told).toEqual(['acquire', 'release']);
  });
});
