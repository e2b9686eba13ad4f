import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import type { Frame } from '../../../lib/protocol/frame.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import {
  channelFrames,
  ChannelPair,
  readable,
  type ChannelPairOptions,
} from '../../helpers/channel/channel-pair.js';
import { outcomeOf, settled, type Outcome } from '../../helpers/outcome.js';

let pair: ChannelPair;

function open(options?: ChannelPairOptions): ChannelPair {
  pair = new ChannelPair(options).open();
  return pair;
}

afterEach(() => pair.end());

const KIB = 1024;
const states = (outcomes: readonly Outcome[]): string[] => [...new Set(outcomes.map(({ state }) => state))];

/** Writes `count` items of `size` bytes, numbered. */
function pour(channel: Channel, count: number, size: number): Outcome<void>[] {
  return Array.from({ length: count }, (_, i) => outcomeOf(channel.write([i, Buffer.alloc(size)])));
}

/** Numbers of the items that wait. */
const numbers = (channel: Channel): number[] => readable(channel).map((body) => (body as [number])[0]);

describe('with credits', () => {
  it('a slow channel does not hold up 99 fast ones', async () => {
    open({ limits: { channelWindowBytes: 16 * KIB } });
    const ends = Array.from({ length: 100 }, () => pair.connect());
    const [slow, ...fast] = ends;
    const slowWrites = pour(slow?.server as Channel, 100, KIB);
    const writes = fast.flatMap(({ server }) => pour(server, 50, KIB));
    const got = fast.map((): number[] => []);
    for (let turn = 0; turn < 50; turn++) {
      pair.flow();
      for (const [i, { client }] of fast.entries()) got[i]?.push(...numbers(client));
    }
    await settled();
    expect(got.every((items) => items.length === 50 && items.every((item, i) => item === i))).toBe(true);
    expect([states(writes), pair.links.client.paused]).toEqual([['resolved'], false]);
    // what waits of the slow one is its window and one message
    expect(slowWrites.filter(({ state }) => state === 'resolved').length).toBeLessThanOrEqual(17);
    // its reader comes back, and misses nothing
    const late: number[] = [];
    for (let turn = 0; turn < 50; turn++) {
      late.push(...numbers(slow?.client as Channel));
      pair.flow();
    }
    expect(late).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  it('a reader that waits gets its messages in order, however slowly the bytes come', async () => {
    open({ limits: { channelWindowBytes: 500 } });
    pair.links.toClient.release(7);
    pair.links.toServer.release(3);
    const { client, server } = pair.connect();
    const writes = pour(server, 60, 20);
    const got: number[] = [];
    for (let i = 0; i < 60; i++) {
      const read = client.read();
      pair.flow();
      const { body } = (await read) ?? {};
      got.push((body as [number])[0]);
    }
    expect(got).toEqual(Array.from({ length: 60 }, (_, i) => i));
    await settled();
    expect(states(writes)).toEqual(['resolved']);
  });

  it('few frames give it back', () => {
    open();
    const { client, server } = pair.connect();
    let got = 0;
    for (let i = 0; i < 40; i++) {
      pour(server, 50, KIB);
      pair.flow();
      got += numbers(client).length;
      pair.flow();
    }
    expect(got).toBe(2000);
    // 2 MiB in halves of a window of 256 KiB
    expect(channelFrames(pair.links.toServer).length - 1).toBeLessThanOrEqual(17);
  });

  it('both directions have windows of their own', () => {
    open({ limits: { channelWindowBytes: 1000 } });
    const { client, server } = pair.connect();
    pour(client, 10, 400);
    pour(server, 10, 400);
    pair.flow();
    expect([numbers(server), numbers(client)]).toEqual([
      [0, 1, 2],
      [0, 1, 2],
    ]);
  });

  it.each([[0], [-1], [NaN], ['many'], [null]])(
    'a window of %p is none: the answer to DECLARE does not agree to credits',
    (window) => {
      pair = new ChannelPair({ scripted: 'client' });
      pair.server.start();
      pair.links.toServer.inject([
        103,
        3,
        { target: '/_event/DECLARE' },
        { client_info: {}, extensions: { credit: { window }, half_close: {} } },
      ]);
      pair.flow();
      const [, , , answer] = pair.links.toClient.frames[0] as Frame;
      expect((answer as { extensions: object }).extensions).toEqual({ half_close: {} });
    },
  );
});

describe('without credits', () => {
  it('a full channel stops the reading of the connection, and its reader lets it go on', async () => {
    open({ without: ['credit'], limits: { channelWindowBytes: 4 * KIB } });
    const { client, server } = pair.connect();
    pair.links.toClient.release(KIB); // the network is not infinitely fast
    const writes = pour(server, 40, 500);
    pair.flow();
    expect(pair.links.client.paused).toBe(true);
    const waiting = pair.links.toClient.bytes;
    expect(waiting).toBeGreaterThan(10 * KIB);
    const { sink } = pair.call('hello');
    pair.flow();
    pair.serverOwner.call().reply('waits behind them');
    pair.serverOwner.call().ended();
    pair.flow();
    expect(sink.settled).toBe(false);
    const got: number[] = [];
    for (let turn = 0; turn < 40; turn++) {
      got.push(...numbers(client));
      pair.flow();
    }
    expect(got).toEqual(Array.from({ length: 40 }, (_, i) => i));
    await settled();
    expect([states(writes), sink.outcome, pair.links.client.paused]).toEqual([
      ['resolved'],
      'waits behind them',
      false,
    ]);
  });

  it.each([
    ['closes', (channel: Channel) => channel.close()],
    ['cancels', (channel: Channel) => channel.cancel(new Fault({ status: 500, message: 'enough' }))],
  ])('a reader that %s lets it go on', (_, over) => {
    open({ without: ['credit'], limits: { channelWindowBytes: KIB } });
    const { client, server } = pair.connect();
    pour(server, 10, 500);
    pair.flow();
    expect(pair.links.client.paused).toBe(true);
    over(client);
    expect(pair.links.client.paused).toBe(false);
    const { sink } = pair.call();
    pair.flow();
    pair.serverOwner.call().reply('here');
    pair.serverOwner.call().ended();
    pair.flow();
    expect(sink.outcome).toBe('here');
  });

  it('a full channel that nobody reads ends after the time of a pause, and the connection goes on', async () => {
    open({
      without: ['credit'],
      limits: { channelWindowBytes: KIB, pauseTimeoutMs: 60_000 },
      keepAlive: { intervalMs: 0 },
    });
    const [silent, busy] = [pair.connect(), pair.connect()];
    pour(silent.server, 10, 500);
    pair.flow();
    pair.clock.advance(59_999);
    expect([pair.links.client.paused, silent.client.isClosed]).toEqual([true, false]);
    pair.clock.advance(1);
    expect(pair.links.client.paused).toBe(false);
    pair.flow();
    const read = outcomeOf(silent.client.read());
    await settled();
    for (const fault of [read.error, silent.client.fault, silent.server.fault]) {
      expect(fault).toMatchObject({ status: 1008 });
      expect((fault as Fault).message).toContain('limits.pauseTimeoutMs');
    }
    pour(busy.server, 3, 10);
    pair.flow();
    expect(numbers(busy.client)).toEqual([0, 1, 2]);
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
  });

  it('a full channel whose reader is slow, but reads, keeps its time', () => {
    open({ without: ['credit'], limits: { pauseTimeoutMs: 60_000 }, keepAlive: { intervalMs: 0 } });
    const { client, server } = pair.connect();
    pour(server, 130, 10);
    pair.flow();
    const got: unknown[] = [];
    while (pair.links.client.paused) {
      pair.clock.advance(59_000);
      got.push(client.poll()?.body);
    }
    expect([got.length, client.isClosed]).toEqual([64, false]);
    pair.flow();
    expect([...got.map((body) => (body as [number])[0]), ...numbers(client)]).toEqual(
      Array.from({ length: 130 }, (_, i) => i),
    );
  });

  it('a peer that is gone is found so, whatever it has left behind', () => {
    open({
      without: ['credit'],
      limits: { channelWindowBytes: KIB, pauseTimeoutMs: 60_000 },
      clientKeepAlive: { intervalMs: 0 },
    });
    const { client } = pair.connect();
    pour(client, 10, 500);
    pair.flow();
    pair.links.toServer.lose();
    expect(pair.links.server.paused).toBe(true);
    pair.clock.advance(60_000);
    expect(pair.server.state).toBe('open');
    pair.clock.advance(60_000);
    expect(pair.server.state).toBe('closed');
    expect(pair.serverOwner.reason?.message).toContain('recv pong timeout');
  });

  it('two full channels both have to be read', () => {
    open({ without: ['credit'], limits: { channelWindowBytes: 100 } });
    const ends = [pair.connect(), pair.connect()];
    // both in one piece: the second comes before the first could stop it
    for (const { server } of ends) pour(server, 1, 500);
    pair.flow();
    expect(pair.links.client.paused).toBe(true);
    for (let turn = 0; turn < 4; turn++) {
      for (const { client } of ends) readable(client);
      pair.flow();
    }
    expect(pair.links.client.paused).toBe(false);
  });
});

describe('a writer that is faster than the connection', () => {
  it('waits at 256 KiB, so that a call does not wait behind all that it has', async () => {
    open({ limits: { channelWindowBytes: 64 * KIB * KIB } });
    const { client, server } = pair.connect();
    pair.links.toClient.hold();
    const writes = pour(server, 1000, 4 * KIB);
    await settled();
    const pending = pair.links.toClient.bytes;
    expect(pending).toBeGreaterThanOrEqual(256 * KIB);
    expect(pending).toBeLessThan(264 * KIB);
    expect(server.tryWrite('no room')).toBe(false);
    // an answer goes out behind these, and before the rest
    const { sink } = pair.call('ping');
    pair.flow();
    pair.serverOwner.call().reply('pong');
    pair.serverOwner.call().ended();
    expect(pair.links.toClient.bytes - pending).toBeLessThan(100);
    pair.links.toClient.release();
    pair.links.client.receive(pair.links.toClient);
    expect(sink.outcome).toBe('pong');
    pair.links.server.drained();
    pair.flow();
    await settled();
    expect(states(writes)).toEqual(['resolved']);
    expect(numbers(client)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  });

  it('shares the connection with others message by message', () => {
    open({ limits: { channelWindowBytes: 64 * KIB * KIB } });
    const ends = Array.from({ length: 10 }, () => pair.connect());
    pair.links.toClient.hold();
    pour(ends[0]?.server as Channel, 500, KIB); // more than the mark before the others come
    for (const { server } of ends.slice(1)) pour(server, 500, KIB);
    expect(pair.links.toClient.bytes).toBeLessThan(264 * KIB);
    pair.links.toClient.release();
    pair.links.client.receive(pair.links.toClient);
    expect(ends.slice(1).map(({ client }) => numbers(client).length)).toEqual(Array(9).fill(0));
    numbers(ends[0]?.client as Channel);
    pair.links.server.drained();
    pair.links.client.receive(pair.links.toClient);
    const shares = ends.map(({ client }) => numbers(client).length);
    expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
  });

  it('loses its turn when it ends, and takes nobody else’s with it', async () => {
    open({ limits: { channelWindowBytes: 64 * KIB * KIB } });
    const [first, second, third] = [pair.connect(), pair.connect(), pair.connect()];
    pair.links.toClient.hold();
    const lost = pour(first.server, 100, 4 * KIB);
    const kept = pour(second.server, 20, 4 * KIB);
    pour(third.server, 20, 4 * KIB);
    first.incoming.close();
    third.client.close();
    pair.flow();
    pair.links.toClient.release();
    pair.flow();
    await settled();
    expect(states(kept)).toEqual(['resolved']);
    expect(states(lost)).toEqual(['resolved', 'rejected']);
    const got = numbers(first.client);
    expect(got).toEqual(
      Array.from({ length: lost.filter(({ state }) => state === 'resolved').length }, (_, i) => i),
    );
    expect(numbers(second.client)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it('is told when it never waits, before it fills the memory', async () => {
    open();
    const { server } = pair.connect();
    pair.links.toClient.hold();
    const writes = pour(server, 3000, KIB);
    await settled();
    const refused = writes.filter(({ state }) => state === 'rejected');
    expect(refused.length).toBeGreaterThanOrEqual(3000 - 1024 - 256);
    expect(refused[0]?.error).toMatchObject({ code: LocalCode.Overload });
    pair.links.toClient.release();
    pair.flow();
    await settled();
    expect(writes.filter(({ state }) => state === 'pending').length).toBeGreaterThan(0); // for credit
  });

  it('gets an end to everything that waits with the connection', async () => {
    open();
    const { server } = pair.connect();
    pair.links.toClient.hold();
    const writes = [...pour(server, 500, KIB), outcomeOf(server.end())];
    pair.server.abort(new Fault({ status: 1006, code: LocalCode.ConnectionLost, message: 'gone' }));
    await settled();
    expect(states(writes)).toEqual(['resolved', 'rejected']);
    expect(writes.at(-1)?.error).toBe(pair.serverOwner.reason);
  });
});

it('both sides write large messages at once, and none waits for ever', async () => {
  for (const without of [[], ['credit'], ['half_close', 'credit', 'fast_open']]) {
    open({ without });
    const { client, server } = pair.connect();
    const writes = [...pour(client, 20, 500 * KIB), ...pour(server, 20, 500 * KIB)];
    let got = 0;
    for (let turn = 0; turn < 60; turn++) {
      pair.flow();
      got += numbers(client).length + numbers(server).length;
    }
    await settled();
    expect([got, states(writes)]).toEqual([40, ['resolved']]);
    pair.end();
  }
  open();
});
