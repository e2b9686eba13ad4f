import type { LoadReport } from '../../../lib/rpc/connection/load-report.js';
import { GradientLimit } from '../../../lib/rpc/server/gradient-limit.js';
import type { Frame } from '../../../lib/protocol/frame.js';
import { PeerPair, RecordingSink, type PairOptions } from '../../helpers/peer-pair.js';

const LOAD = '/_event/load';
const PING = '/_event/ping';
const NOTHING: LoadReport = {
  inFlight: undefined,
  latencyMs: undefined,
  loopDelayMs: undefined,
  refused: undefined,
  mos: undefined,
};

/** Pings of the keep-alive would be in the way, and its verdicts. */
const NEVER = { intervalMs: 0 };

let pair: PeerPair;

function open(options: PairOptions = {}): PeerPair {
  pair = new PeerPair({ isMetered: true, keepAlive: NEVER, clientKeepAlive: NEVER, ...options }).open();
  return pair;
}

afterEach(() => pair.end());

const sent = (): unknown[] => pair.links.toClient.to(LOAD).map(([, , , body]) => body);
const reports = (): LoadReport[] => pair.clientOwner.reports;

/** A call that takes so long. */
function callOf(ms: number): void {
  pair.call();
  pair.flow();
  pair.pass(ms);
  const call = pair.serverOwner.call();
  call.reply(1);
  call.ended();
  pair.flow();
}

/** The event loop is late by this much, so many times. */
function lag(turns: number, ms = 300): void {
  for (let i = 0; i < turns; i++) pair.clock.stall(25 + ms);
  pair.flow();
}

function ping(): void {
  pair.client.measurePing(new RecordingSink());
  pair.flow();
}

/** Bodies of the answers to pings. */
const pongs = (): unknown[] =>
  pair.links.toClient.frames.filter(([type, id]) => type === 103 && id > 3).map(([, , , body]) => body);

/** Opens a connection on which a call runs. */
function busy(options: PairOptions = {}): PeerPair {
  open(options);
  pair.call(null, { timeoutMs: 600_000 });
  pair.flow();
  return pair;
}

const limitOf = (initial: number): GradientLimit =>
  new GradientLimit({ min: 1, max: 1000, initial, tolerance: 1.5 });

describe('reports', () => {
  it('say what runs on the server, and how long calls take', () => {
    open();
    pair.load.calls = 40; // of other connections
    callOf(100);
    pair.call();
    pair.flow();
    pair.pass(250);
    pair.load.calls -= 40;
    expect(sent()).toEqual([{ in_flight: 41, latency_us: 100_000, loop_delay_us: 0, refused: 0 }]);
    expect(reports()).toEqual([{ inFlight: 41, latencyMs: 100, loopDelayMs: 0, refused: 0, mos: undefined }]);
  });

  it('say the mean of what has run since the last one', () => {
    busy();
    pair.load.calls += 40; // of other connections
    pair.pass(100);
    pair.load.calls -= 40;
    pair.pass(150);
    expect(reports()).toMatchObject([{ inFlight: 17 }]);
    pair.pass(250);
    expect(reports()).toMatchObject([{ inFlight: 17 }, { inFlight: 1 }]);
  });

  it('say nothing of the latency before a call has ended', () => {
    open();
    pair.call();
    pair.flow();
    pair.pass(250);
    expect(sent()).toEqual([{ in_flight: 1, loop_delay_us: 0, refused: 0 }]);
    expect(reports()[0]?.latencyMs).toBeUndefined();
  });

  it('come four times a second at most, while a call runs or calls come', () => {
    open();
    pair.call(null, { timeoutMs: 60_000 });
    pair.flow();
    pair.pass(10_000, 5);
    expect(sent()).toHaveLength(40);
    pair.serverOwner.call().ended();
    for (let i = 0; i < 100; i++) callOf(10);
    expect(sent()).toHaveLength(44);
  });

  it('do not come on an idle connection, and nothing is measured there', () => {
    open();
    pair.pass(100_000, 100);
    callOf(10);
    pair.pass(5_000, 25);
    expect(sent()).toHaveLength(1);
    const { made } = pair.lanes;
    pair.pass(100_000, 100);
    expect([sent().length, pair.lanes.made - made]).toEqual([1, 0]);
    callOf(10);
    pair.pass(300);
    expect(sent()).toHaveLength(2);
  });

  it('do not go to a peer that has not asked for them', () => {
    pair = new PeerPair({ scripted: 'client', isMetered: true });
    pair.server.start();
    pair.links.toServer.inject(
      [103, 3, { target: '/_event/DECLARE' }, { extensions: { cancel: {} } }],
      [101, 5, { target: '/default/x' }, null],
    );
    pair.flow();
    pair.pass(3000, 25);
    expect(pair.server.incoming.size).toBe(1);
    expect(sent()).toEqual([]);
  });

  it('do not fill the buffer of a peer that does not read', () => {
    open({ limits: { sendBufferSoftBytes: 10_000, sendBufferHardBytes: 10_000_000 } });
    pair.call(null, { timeoutMs: 10_000_000 });
    pair.call(null, { timeoutMs: 10_000_000 });
    pair.flow();
    pair.links.toClient.hold();
    pair.serverOwner.call(0).reply(Buffer.alloc(20_000));
    pair.flow();
    const { pendingBytes } = pair.links.server;
    pair.pass(5_000, 25);
    expect(pair.links.server.pendingBytes).toBe(pendingBytes);
  });

  it('have the share of refused calls, and forget it', () => {
    open({ limits: { maxInFlight: 256, maxInFlightTotal: 1 } });
    for (let i = 0; i < 4; i++) pair.call();
    pair.flow();
    pair.pass(250);
    expect(reports().at(-1)?.refused).toBe(0.75);
    pair.pass(750, 25);
    for (let i = 0; i < 100; i++) {
      pair.serverOwner.call().ended();
      pair.call();
      pair.flow();
    }
    pair.pass(300);
    expect(reports().at(-1)?.refused).toBeLessThan(0.05);
  });

  it('have the delay of the event loop', () => {
    open();
    pair.call(null, { timeoutMs: 60_000 });
    pair.flow();
    lag(6, 100);
    expect(reports().at(-1)?.loopDelayMs).toBe(100);
  });
});

describe('a client that reads reports', () => {
  const MAX = Number.MAX_VALUE;

  it.each<[unknown, Partial<LoadReport> | undefined]>([
    [{ in_flight: 3 }, { inFlight: 3 }],
    [
      { in_flight: -3, latency_us: -1, loop_delay_us: -0.1, refused: -9 },
      { inFlight: 0, latencyMs: 0, loopDelayMs: 0, refused: 0 },
    ],
    [
      { in_flight: MAX, latency_us: Infinity, loop_delay_us: MAX, refused: 7 },
      { inFlight: 2 ** 31, latencyMs: 3_600_000, loopDelayMs: 3_600_000, refused: 1 },
    ],
    [{ in_flight: 2n ** 63n }, { inFlight: 2 ** 31 }],
    [{ in_flight: NaN, latency_us: '5', loop_delay_us: [1], refused: 0.5 }, { refused: 0.5 }],
    [{ in_flight: NaN, latency_us: '5', loop_delay_us: {}, refused: null }, undefined],
    [{ mos: 1, other: 4 }, undefined],
    [{ in_flight: 1, mos: 1 }, { inFlight: 1 }],
    ['', undefined],
    [null, undefined],
    [[1, 2], undefined],
    [7, undefined],
  ])('%p', (body, expected) => {
    open();
    pair.links.toClient.inject([203, 900, { target: LOAD }, body]);
    pair.flow();
    expect(reports()).toEqual(expected ? [{ ...NOTHING, ...expected }] : []);
    expect(pair.client.state).toBe('open');
  });

  it('reads no more than it may expect of a flood', () => {
    open();
    const flood: Frame[] = [];
    for (let i = 0; i < 10_000; i++) flood.push([203, 900, { target: LOAD }, { in_flight: i }]);
    pair.links.toClient.inject(...flood);
    pair.flow();
    expect(reports()).toHaveLength(20);
    pair.pass(1000);
    pair.links.toClient.inject(...flood);
    pair.flow();
    expect(reports()).toHaveLength(28);
    expect(pair.client.state).toBe('open');
  });

  it('reads none of a server that has not agreed to send them', () => {
    pair = new PeerPair({ scripted: 'server' });
    pair.client.start();
    pair.flow();
    pair.links.toClient.inject(
      [103, 3, {}, { conn_id: 'x', extensions: { cancel: {} } }],
      [203, 4, { target: LOAD }, { in_flight: 1 }],
    );
    pair.flow();
    expect([pair.client.state, reports()]).toEqual(['open', []]);
  });
});

describe('mos', () => {
  it('is not said by a server that is well: the answer is that of a Python server', () => {
    open();
    callOf(10);
    ping();
    expect([pongs(), reports().filter(({ mos }) => mos !== undefined)]).toEqual([[{}], []]);
  });

  it('falls with the delay of the event loop, and the client learns that it is well again', () => {
    open();
    pair.call(null, { timeoutMs: 60_000 });
    pair.flow();
    lag(6, 100);
    ping();
    lag(6, 1000);
    ping();
    pair.pass(200, 25);
    ping();
    ping();
    expect(pongs()).toEqual([{ mos: 3 }, { mos: 0 }, {}, {}]);
    expect(
      reports()
        .map(({ mos }) => mos)
        .filter((mos) => mos !== undefined),
    ).toEqual([3, 0, 5]);
  });

  it('falls with the share of refusals', () => {
    open({ limits: { maxInFlightTotal: 1 } });
    for (let i = 0; i < 4; i++) pair.call();
    pair.flow();
    pair.pass(250);
    ping();
    expect(pongs()).toEqual([{ mos: 1 }]);
  });

  it.each(['', null, 'x', [1], 7, Buffer.from('a')])('is not added to a ping that has no map: %p', (body) => {
    open();
    pair.call(null, { timeoutMs: 60_000 });
    pair.flow();
    lag(6, 1000);
    pair.links.toServer.inject([103, 77, { target: PING }, body]);
    pair.flow();
    expect(pongs().at(-1)).toEqual(body);
  });

  it('stands beside what the client has sent, and a client cannot pretend one', () => {
    open();
    pair.call(null, { timeoutMs: 60_000 });
    pair.flow();
    lag(6, 1000);
    pair.links.toServer.inject([103, 77, { target: PING }, { a: 1, mos: 5 }]);
    pair.flow();
    expect(pongs().at(-1)).toEqual({ a: 1, mos: 0 });
  });

  it.each([
    [{ mos: 3 }, [3]],
    [{ mos: 4.5 }, [4.5]],
    [{ mos: 5 }, [5]],
    [{ mos: -7 }, [0]],
    [{ mos: 1e300 }, [5]],
    [{ mos: NaN }, []],
    [{ mos: '3' }, []],
    [{ mos: null }, []],
    [{}, []],
    ['', []],
    [[3], []],
  ])('of a Python server is read: %p', (body, expected) => {
    pair = new PeerPair({ scripted: 'server' });
    pair.client.start();
    pair.flow();
    pair.links.toClient.inject([103, 3, {}, { conn_id: 'x' }]);
    pair.flow();
    ping();
    const [, id] = pair.links.toServer.to(PING).at(-1) as Frame;
    pair.links.toClient.inject([103, id, {}, body], [103, id, {}, { mos: 1 }], [103, 999, {}, { mos: 1 }]);
    pair.flow();
    expect(reports()).toEqual(expected.map((mos) => ({ ...NOTHING, mos })));
  });

  it('is not said to a server, and not taken from a client', () => {
    open();
    pair.server.measurePing(new RecordingSink());
    pair.flow();
    pair.server.measurePing(new RecordingSink());
    const [, id] = pair.links.toClient.to(PING).at(-1) as Frame;
    pair.links.toServer.inject([203, id, { target: PING }, { mos: 1 }]);
    pair.flow();
    expect([pair.server.state, pair.client.state, reports()]).toEqual(['open', 'open', []]);
    expect(pair.links.toClient.frames.filter(([, , { status_code: status }]) => status)).toEqual([]);
  });
});

describe('a server whose event loop lags', () => {
  const LAGS = 'The server is overloaded: its event loop lags';

  it('refuses calls, events and channels at once, and what runs goes on', () => {
    busy();
    lag(5);
    const { sink } = pair.call();
    const event = pair.emit();
    const channel = pair.client.openChannel({
      header: { target: '/default/x' },
      target: '/default/x',
      timeoutMs: 1000,
      body: null,
    });
    const read = channel.read();
    pair.flow();
    expect(sink.fault).toMatchObject({ status: 429, message: LAGS });
    expect(event.sink.fault).toMatchObject({ status: 429, message: LAGS });
    expect(channel.fault).toMatchObject({ status: 429, message: LAGS });
    expect([pair.serverOwner.calls.length, pair.serverOwner.channels.length]).toEqual([1, 0]);
    expect(pair.meter?.refusedByLoopDelay).toBe(3);
    pair.serverOwner.call().reply('done');
    pair.flow();
    expect(pair.server.incoming.size).toBe(1);
    return expect(read).rejects.toBeDefined();
  });

  it('answers pings meanwhile', () => {
    busy();
    lag(5);
    const sink = new RecordingSink();
    pair.client.measurePing(sink);
    pair.flow();
    expect(sink.outcomes).toHaveLength(1);
  });

  it('does not refuse for one handler that blocks, however long', () => {
    busy();
    pair.pass(1000, 25);
    pair.clock.stall(60_000);
    pair.flow();
    pair.call();
    pair.flow();
    expect(pair.serverOwner.calls).toHaveLength(2);
  });

  it('takes calls again a tenth of a second after', () => {
    busy();
    lag(100, 900);
    pair.call();
    pair.flow();
    expect(pair.serverOwner.calls).toHaveLength(1);
    pair.pass(100, 25);
    pair.call();
    pair.flow();
    expect(pair.serverOwner.calls).toHaveLength(2);
  });

  it('takes calls again after a pause without any: what nobody measures refuses nobody', () => {
    busy();
    lag(5);
    pair.serverOwner.call().ended();
    pair.call();
    pair.flow();
    expect(pair.serverOwner.calls).toHaveLength(1);
    lag(5, 2000); // each is a report of an idle server
    pair.call();
    pair.flow();
    expect(pair.serverOwner.calls).toHaveLength(2);
  });

  it.each([
    [0, 5000],
    [500, 400],
  ])('refuses nobody with maxLoopDelayMs %i and a delay of %i ms', (maxLoopDelayMs, delay) => {
    busy({ limits: { maxLoopDelayMs } });
    lag(20, delay);
    pair.call();
    pair.flow();
    expect(pair.serverOwner.calls).toHaveLength(2);
  });

  it('says that a limit is reached if that is why', () => {
    busy({ limits: { maxInFlightTotal: 1 } });
    lag(5);
    const { sink } = pair.call();
    pair.flow();
    expect(sink.fault.message).toBe('Too many calls in flight');
    expect(pair.meter?.refusedByLoopDelay).toBe(0);
  });
});

describe('the adaptive limit', () => {
  const FULL = 'Too many calls in flight: the adaptive limit of the server is reached';
  it('refuses calls beyond it, and not channels; a refused call does not count', () => {
    open({ adaptive: limitOf(2) });
    const sinks = [1, 2, 3, 4].map(() => pair.call().sink);
    pair.client.openChannel({
      header: { target: '/default/x' },
      target: '/default/x',
      timeoutMs: 1000,
      body: null,
    });
    pair.flow();
    expect(sinks.map(({ settled }) => settled)).toEqual([false, false, true, true]);
    expect(sinks[3]?.fault).toMatchObject({ status: 429, message: FULL });
    expect([pair.serverOwner.calls.length, pair.serverOwner.channels.length]).toEqual([2, 1]);
    expect(pair.meter?.refusedByAdaptiveLimit).toBe(2);
    pair.serverOwner.call().ended();
    const { sink } = pair.call();
    pair.flow();
    expect(sink.settled).toBe(false);
  });

  it('does not count calls that have become streams, and their time is not that of a call', () => {
    open({ adaptive: limitOf(2) });
    for (let i = 0; i < 10; i++) {
      pair.call(null, { header: { target: '/default/x', accept_stream: true } });
      pair.flow();
      expect(pair.serverOwner.call().turnIntoStream()).toBeDefined();
    }
    expect(pair.serverOwner.calls).toHaveLength(10);
    pair.pass(1000, 25);
    for (const call of pair.serverOwner.calls) call.ended();
    pair.pass(1000, 25);
    expect(pair.meter?.latencyMs).toBeUndefined();
  });

  it('follows the latency of calls', () => {
    const adaptive = limitOf(4);
    open({ adaptive });
    const round = (ms: number): void => {
      for (let i = adaptive.limit; i > 0; i--) pair.call();
      pair.flow();
      pair.pass(ms, 25);
      for (const call of pair.serverOwner.calls.splice(0)) {
        call.reply(1);
        call.ended();
      }
      pair.flow();
    };
    for (let i = 0; i < 40; i++) round(250);
    const high = adaptive.limit;
    expect(high).toBeGreaterThan(8);
    for (let i = 0; i < 10; i++) round(2500);
    expect(adaptive.limit).toBeLessThan(high);
  });
});
