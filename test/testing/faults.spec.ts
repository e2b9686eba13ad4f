import 'reflect-metadata';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  CallTimeoutError,
  ConnectionLostError,
  InvokeError,
  type RapConnectionChange,
  RapContext,
} from '../../lib/index.js';
import { createRapTestBed, type RapTestBed, type RapTestBedOptions } from '../../lib/testing.js';
import { eventually, rejection } from '../helpers/async.js';

const beds: RapTestBed[] = [];
let order: unknown[] = [];
let aborted: unknown[] = [];

async function bedOf(options: RapTestBedOptions = {}): Promise<RapTestBed> {
  const bed = await createRapTestBed({ controllers: [Handlers], clock: 'manual', logger: false, ...options });
  beds.push(bed);
  return bed;
}

beforeEach(() => {
  order = [];
  aborted = [];
});

afterEach(async () => {
  for (const bed of beds.splice(0)) await bed.close();
});

@Controller()
class Handlers {
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    order.push(value);
    return value;
  }

  @MessagePattern('never')
  never(@Ctx() { signal }: RapContext): Promise<never> {
    return new Promise((_resolve, reject) =>
      signal.addEventListener('abort', () => {
        aborted.push(signal.reason);
        reject(signal.reason as Error);
      }),
    );
  }

  @MessagePattern('large', { timeoutMs: 3_600_000 })
  async *large(): AsyncGenerator<string> {
    for (let i = 0; i < 10_000; i++) {
      order.push(i);
      yield 'x'.repeat(60_000);
    }
  }
}

/** The next connection that the server closes. */
function nextClose(): Promise<RapConnectionChange> {
  return new Promise((resolve) => {
    const onChange = (message: unknown): void => {
      const change = message as RapConnectionChange;
      if (change.state !== 'closed') return;
      unsubscribe('rap.server.connection', onChange);
      resolve(change);
    };
    subscribe('rap.server.connection', onChange);
  });
}

describe('faults of a test bed', () => {
  it('latency: a call takes twice as long, and a limit that is shorter ends it', async () => {
    const { client, clock, faults } = await bedOf();
    await client.connect();
    const end = faults.latency(100);
    let answered: unknown;
    const call = client.call('echo', 1).then((value) => (answered = value));
    await clock.advance(199);
    expect(answered).toBeUndefined();
    await clock.advance(1);
    expect(answered).toBe(1);
    await call;
    const late = rejection(client.call('echo', 2, { timeoutMs: 150 }));
    await clock.advance(150);
    expect(await late).toBeInstanceOf(CallTimeoutError);
    end();
    await clock.advance(1000);
    expect(await client.call('echo', 3)).toBe(3);
  });

  it('disconnect: calls in flight are lost, their handlers are cancelled, and the client connects again', async () => {
    const { client, clock, faults, server } = await bedOf();
    const call = rejection(client.call('never'));
    await eventually('the call', () => server.stats().inFlight === 1);
    faults.disconnect();
    const error = await call;
    expect(error).toBeInstanceOf(ConnectionLostError);
    expect(error).toMatchObject({ sent: 'unknown' });
    await eventually('the handler is cancelled', () => aborted.length === 1);
    const next = client.call('echo', 'again');
    await clock.advance(1000);
    expect(await next).toBe('again');
  });

  it('refuseConnections: calls wait until their time is over, or until a server is reached', async () => {
    const { client, clock, faults } = await bedOf();
    await client.connect();
    const end = faults.refuseConnections();
    faults.disconnect();
    await clock.advance(1);
    const late = rejection(client.call('echo', 1, { timeoutMs: 500 }));
    await clock.advance(500);
    expect(await late).toMatchObject({ code: 'ERR_RAP_CALL_TIMEOUT', phase: 'connect' });
    const call = client.call('echo', 2, { timeoutMs: 60_000 });
    end();
    await clock.advance(30_000);
    expect(await call).toBe(2);
  });

  it('refuseConnections: a client that does not reconnect fails at once', async () => {
    const { client, faults } = await bedOf({ client: { reconnect: false } });
    faults.refuseConnections();
    expect(await rejection(client.call('echo', 1))).toMatchObject({
      name: 'ConnectionLostError',
      sent: 'no',
    });
  });

  it('reorder: the server gets the next calls in the reverse order', async () => {
    const { client, faults } = await bedOf();
    faults.reorder(3);
    expect(await Promise.all([1, 2, 3].map((n) => client.call('echo', n)))).toEqual([1, 2, 3]);
    expect(order).toEqual([3, 2, 1]);
    await Promise.all([4, 5].map((n) => client.call('echo', n)));
    expect(order).toEqual([3, 2, 1, 4, 5]);
  });

  it('reorder: calls of several clients, and what is cancelled meanwhile', async () => {
    const bed = await bedOf();
    const other = bed.createClient();
    await Promise.all([bed.client.connect(), other.connect()]);
    const end = bed.faults.reorder();
    const controller = new AbortController();
    const gone = rejection(bed.client.call('echo', 'gone', { signal: controller.signal }));
    await bed.client.ping();
    expect(order).toEqual([]);
    controller.abort();
    await gone;
    expect(await other.call('echo', 'other')).toBe('other');
    expect(order[0]).toBe('other');
    end();
    expect(await bed.client.call('echo', 'next')).toBe('next');
  });

  it('reorder: the end of the fault delivers what is held', async () => {
    const { client, faults, server } = await bedOf();
    await client.connect();
    const end = faults.reorder(5);
    const call = client.call('echo', 1);
    await client.ping();
    expect(server.stats().inFlight).toBe(0);
    end();
    expect(await call).toBe(1);
  });

  it('stallReader: a client that does not read stops a stream, which goes on when it reads again', async () => {
    const bed = await bedOf();
    const items = bed.client.stream<string>('large')[Symbol.asyncIterator]();
    await items.next();
    const end = bed.faults.stallReader('client');
    await bed.clock.advance(10);
    const sent = order.length;
    await bed.clock.advance(10);
    expect(order.length).toBe(sent);
    end();
    for (let i = 0; i < 100; i++) expect((await items.next()).done).toBe(false);
    await items.return?.();
  });

  it('stallReader: a client that does not read its answers is disconnected in the end', async () => {
    const { client, clock, faults, server } = await bedOf({
      server: { limits: { writeStallTimeoutMs: 5_000 } },
    });
    await client.connect();
    const closed = nextClose();
    const end = faults.stallReader('client');
    const calls = Promise.allSettled(
      Array.from({ length: 10 }, () => client.call('echo', 'x'.repeat(60_000))),
    );
    await clock.advance(4_000);
    expect(order).toHaveLength(10);
    expect(server.stats().connections).toBe(1);
    await clock.advance(4_000);
    expect(server.stats().connections).toBe(0);
    expect((await closed).reason?.message).toMatch('the peer does not read (limits.writeStallTimeoutMs)');
    end();
    const last = (await calls).at(-1); // the first answers were on their way
    expect(last).toMatchObject({ status: 'rejected', reason: { name: 'ConnectionLostError' } });
  });

  it('stallReader: calls to a server that does not read take too long', async () => {
    const { client, clock, faults } = await bedOf();
    await client.connect();
    const end = faults.stallReader('server');
    const call = rejection(client.call('echo', 1));
    await clock.advance(10_000);
    expect(await call).toBeInstanceOf(CallTimeoutError);
    expect(order).toEqual([]);
    end();
    expect(await client.call('echo', 2)).toBe(2);
  });

  it('stallReader: if neither side reads, the client notices by its pings', async () => {
    const { client, clock, faults, server } = await bedOf({
      client: { keepAlive: { busyTimeoutMs: 3_000 }, callTimeoutMs: 600_000 },
    });
    const call = rejection(client.call('never'));
    await eventually('the call', () => server.stats().inFlight === 1);
    faults.stallReader('client');
    faults.stallReader('server');
    await clock.advance(4_000);
    expect(await call).toBeInstanceOf(ConnectionLostError);
  });

  it('clear: ends all faults, and delivers what they held up', async () => {
    const { client, faults } = await bedOf();
    await client.connect();
    faults.latency(60_000);
    faults.stallReader('server');
    faults.reorder(9);
    const call = client.call('echo', 1);
    await eventually('it is sent', () => client.stats().inFlight === 1);
    faults.clear();
    expect(await call).toBe(1);
  });

  it('latency: the end of a fault, called twice, ends no later one; the latest that holds counts', async () => {
    const { client, clock, faults } = await bedOf();
    await client.connect();
    const takes = async (ms: number): Promise<void> => {
      let answered: unknown;
      const call = client.call('echo', ms).then((value) => (answered = value));
      await clock.advance(ms - 1);
      expect(answered).toBeUndefined();
      await clock.advance(1);
      expect(answered).toBe(ms);
      await call;
    };
    const first = faults.latency(100);
    first();
    const second = faults.latency(50);
    first();
    await takes(100);
    const third = faults.latency(200);
    await takes(400);
    third();
    await takes(100);
    second();
    expect(await client.call('echo', 0)).toBe(0);
  });

  it('refuseConnections: each fault has an end of its own', async () => {
    const { client, faults } = await bedOf({ client: { reconnect: false } });
    const first = faults.refuseConnections();
    first();
    const second = faults.refuseConnections();
    const third = faults.refuseConnections();
    first();
    second();
    second();
    expect(await rejection(client.call('echo', 1))).toMatchObject({ sent: 'no' });
    third();
    expect(await client.call('echo', 2)).toBe(2);
  });

  it('stallReader: each fault has an end of its own', async () => {
    const { client, clock, faults } = await bedOf();
    await client.connect();
    const first = faults.stallReader('server');
    const second = faults.stallReader('server');
    first();
    first();
    const call = client.call('echo', 1);
    await clock.advance(100);
    expect(order).toEqual([]);
    second();
    expect(await call).toBe(1);
  });

  it('reorder: the end of a fault, called twice, ends no later one', async () => {
    const { client, faults } = await bedOf();
    const first = faults.reorder(2);
    first();
    const second = faults.reorder(2);
    first();
    expect(await Promise.all([1, 2].map((n) => client.call('echo', n)))).toEqual([1, 2]);
    expect(order).toEqual([2, 1]);
    second();
  });

  it('clear: the end of a fault that it has ended ends no later one', async () => {
    const { client, faults } = await bedOf({ client: { reconnect: false } });
    const first = faults.refuseConnections();
    faults.clear();
    faults.refuseConnections();
    first();
    expect(await rejection(client.call('echo', 1))).toMatchObject({ sent: 'no' });
  });

  it.each([
    [(faults: RapTestBed['faults']) => faults.latency(-1), /latency\(\) needs milliseconds, got -1/],
    [
      (faults: RapTestBed['faults']) => faults.latency('5' as never),
      /latency\(\) needs milliseconds, got '5'/,
    ],
    [
      (faults: RapTestBed['faults']) => faults.reorder(1),
      /reorder\(\) needs a number of calls from 2, got 1/,
    ],
    [
      (faults: RapTestBed['faults']) => faults.stallReader('both' as never),
      /needs 'client' or 'server', got 'both'/,
    ],
  ])('refuses what is out of range: %s', async (use, message) => {
    const { faults } = await bedOf();
    expect(() => use(faults)).toThrow(message);
  });
});

describe('the clock of a test bed', () => {
  it('runs the limits of handlers', async () => {
    const { client, clock } = await bedOf({ server: { runTimeoutMs: 2_000 } });
    await client.connect();
    const call = rejection(client.call('never'));
    let isOver = false;
    void call.then(() => (isOver = true));
    await clock.advance(1_999);
    expect(isOver).toBe(false);
    await clock.advance(1);
    expect(await call).toBeInstanceOf(InvokeError);
    expect(await call).toMatchObject({ remoteName: 'RpcRunTimeError', call: { afterMs: 2_000 } });
    expect(aborted).toHaveLength(1);
  });

  it('runs the waits before the client connects again', async () => {
    const { client, clock, faults } = await bedOf({
      client: { reconnect: { baseDelayMs: 10_000, maxDelayMs: 10_000 }, callTimeoutMs: 60_000 },
    });
    await client.connect();
    const end = faults.refuseConnections();
    faults.disconnect();
    await clock.advance(1);
    end();
    await clock.advance(30_000);
    expect(await client.call('echo', 1)).toBe(1);
  });

  it('closes idle connections by keep-alive only when it is advanced', async () => {
    const { client, clock } = await bedOf();
    await client.connect();
    const before = clock.now();
    await clock.advance(24 * 3_600_000);
    expect(clock.now() - before).toBe(24 * 3_600_000);
    expect(await client.call('echo', 1)).toBe(1);
  });

  it('advances in turn if it is told twice at once', async () => {
    const { clock } = await bedOf();
    const before = clock.now();
    await Promise.all([clock.advance(10), clock.advance(20)]);
    expect(clock.now() - before).toBe(30);
  });

  it('is that of the machine by default, and cannot be advanced then', async () => {
    const { clock } = await bedOf({ clock: 'real' });
    expect(clock.isManual).toBe(false);
    expect(() => clock.advance(1)).toThrow(`make the bed with clock: 'manual' to advance it`);
    const { clock: manual } = await bedOf();
    expect(manual.isManual).toBe(true);
    expect(() => manual.advance(NaN)).toThrow('advance() needs milliseconds, got NaN');
  });

  it('lets a bed close while calls run, streams are open and faults hold', async () => {
    const bed = await bedOf();
    const call = rejection(bed.client.call('never'));
    const items = bed.client.stream('large')[Symbol.asyncIterator]();
    await items.next();
    bed.faults.stallReader('client');
    bed.faults.latency(1_000);
    await bed.close();
    expect(await call).toBeInstanceOf(ConnectionLostError);
    expect(bed.server.stats().connections).toBe(0);
  });
});
