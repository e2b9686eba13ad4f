import type { Frame } from '../../../lib/protocol/frame.js';
import { PeerPair, RecordingSink, type PairOptions } from '../../helpers/peer-pair.js';

const PING = '/_event/ping';

let pair: PeerPair;

function open(options?: PairOptions): PeerPair {
  pair = new PeerPair(options).open();
  return pair;
}

afterEach(() => pair.end());

function ping(from: 'client' | 'server'): RecordingSink {
  const sink = new RecordingSink();
  pair[from].measurePing(sink);
  return sink;
}

const closeReasons = (): unknown[] => pair.links.toClient.to('/_event/CLOSE').map(([, , , body]) => body);

it('asks as 103 with an odd id from the client, and is answered under the same id with an empty header', () => {
  const sink = ping((open(), 'client'));
  pair.flow();
  expect(sink.outcomes).toHaveLength(1);
  expect(pair.links.toServer.frames.at(-1)).toEqual([103, 5, { target: PING }, {}]);
  expect(pair.links.toClient.frames.at(-1)).toEqual([103, 5, {}, {}]);
});

it('asks as 203 with an even id from the server, and is answered by the same frame', () => {
  const sink = ping((open(), 'server'));
  pair.flow();
  expect(sink.outcomes).toHaveLength(1);
  expect(pair.links.toClient.frames.at(-1)).toEqual([203, 4, { target: PING }, '']);
  expect(pair.links.toServer.frames.at(-1)).toEqual([203, 4, { target: PING }, '']);
});

it.each([{}, '', { mos: 5 }, null, 'x', [1]])('sends back what a ping holds: %p', (body: unknown) => {
  open();
  pair.links.toServer.inject([103, 77, { target: PING }, body]);
  pair.links.toClient.inject([203, 78, { target: PING }, body]);
  pair.flow();
  expect(pair.links.toClient.frames.find(([type, id]) => type === 103 && id === 77)?.[3]).toEqual(body);
  expect(pair.links.toServer.frames.find(([type, id]) => type === 203 && id === 78)?.[3]).toEqual(body);
});

it('keeps several pings of both sides apart', () => {
  open();
  const sinks = [ping('client'), ping('server'), ping('client'), ping('server')];
  pair.flow();
  expect(sinks.map(({ outcomes }) => outcomes.length)).toEqual([1, 1, 1, 1]);
});

it('ignores answers to pings that nobody sent, and a second answer', () => {
  open();
  const sink = ping('client');
  pair.flow();
  pair.links.toClient.inject([103, 5, {}, {}], [103, 99, {}, {}]);
  pair.links.toServer.inject([203, 4, { target: PING }, ''], [203, 1, {}, '']);
  pair.flow();
  expect(sink.outcomes).toHaveLength(1);
  expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
});

it('fails with the connection, and at once after that', () => {
  open();
  pair.links.toServer.lose();
  const waiting = ping('client');
  pair.links.server.destroy();
  pair.flow();
  expect(waiting.fault).toBe(pair.clientOwner.reason);
  expect(ping('client').fault).toBe(pair.clientOwner.reason);
});

function flood(count: number): void {
  for (let i = 0; i < count; i++) pair.links.toServer.inject([103, 1001 + 2 * i, { target: PING }, {}]);
  pair.flow();
}

describe('a flood', () => {
  it('of pings ends the connection with its reason, within the burst it does not', () => {
    open();
    flood(60);
    expect(pair.server.state).toBe('open');
    flood(1);
    expect(closeReasons()).toEqual(['too many pings']);
    expect(pair.links.toClient.frames.filter(([type]) => type === 103)).toHaveLength(61); // DECLARE's answer too
    expect(pair.client.state).toBe('closed');
  });

  it('is none at the pace of a Python client: three every second', () => {
    open();
    for (let second = 0; second < 120; second++) {
      flood(3);
      pair.pass(1000);
    }
    expect(pair.server.state).toBe('open');
  });

  it.each(['client', 'server'] as const)('of large pings does not fill the memory of a %s', (side) => {
    open({ limits: { sendBufferSoftBytes: 10_000, sendBufferHardBytes: 20_000 } });
    const [type, inWire, outWire] =
      side === 'client'
        ? ([203, pair.links.toClient, pair.links.toServer] as const)
        : ([103, pair.links.toServer, pair.links.toClient] as const);
    outWire.hold();
    for (let i = 0; i < 50; i++) inWire.inject([type, 1000 + i, { target: PING }, 'x'.repeat(2_000)]);
    pair.flow();
    expect(outWire.bytes).toBeLessThanOrEqual(22_100);
  });

  it('from a server ends the connection, too', () => {
    open();
    for (let i = 0; i < 61; i++) pair.links.toClient.inject([203, 1000 + 2 * i, { target: PING }, '']);
    pair.flow();
    expect(pair.client.state).toBe('closed');
    expect(pair.clientOwner.reason?.message).toContain('too many pings');
  });
});

describe('keep-alive', () => {
  it('does nothing on a connection that answers, for hours', () => {
    open({ keepAlive: { idleTimeoutMs: 0 } });
    pair.pass(4 * 3_600_000, 1000);
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
    // one ping keeps both sides from pinging: bytes are bytes
    expect(pair.links.toServer.to(PING).length).toBeGreaterThan(100);
  });

  it('a client gives up a server that is silent, and fails its calls with one reason', () => {
    open();
    const calls = [pair.call(1), pair.call(2)];
    const waiting = ping('client');
    pair.links.toServer.lose();
    pair.links.toClient.lose();
    pair.clock.advance(35_000);
    expect(pair.client.state).toBe('closed');
    const reason = pair.clientOwner.reason;
    expect(reason).toMatchObject({
      code: 'ERR_RAP_CONNECTION_LOST',
      message: 'the peer is silent: recv pong timeout',
    });
    expect(waiting.fault).toBe(reason);
    // the calls' own time was over before
    expect(calls.map(({ sink }) => sink.fault.phase)).toEqual(['response', 'response']);
  });

  it('a client gives up within 35 s by default, and not before 20 s', () => {
    open();
    pair.links.toClient.hold();
    pair.clock.advance(19_999);
    expect(pair.client.state).toBe('open');
    pair.clock.advance(15_001);
    expect(pair.client.state).toBe('closed');
  });

  it('a server gives up a client that is silent after its pings, and says why before it goes', () => {
    open({
      keepAlive: { intervalMs: 30_000, timeoutMs: 10_000, maxMissed: 2 },
      clientKeepAlive: { intervalMs: 0 },
    });
    pair.call();
    pair.flow();
    pair.links.toServer.lose();
    pair.pass(90_000, 1000);
    expect(pair.serverOwner.reason?.message).toContain('recv pong timeout');
    expect(pair.serverOwner.call().settled).toBe(true);
    // the client still reads: it must learn why
    expect(closeReasons()).toEqual(['recv pong timeout']);
    expect(pair.clientOwner.reason?.message).toBe('the server closed the connection: recv pong timeout');
  });

  it('spreads the pings of servers by a tenth, so that they do not come together', () => {
    const firsts = new Set<number>();
    for (let i = 0; i < 30; i++) {
      open({ keepAlive: { intervalMs: 30_000, timeoutMs: 10_000, maxMissed: 2 } });
      pair.links.toServer.lose();
      let ms = 0;
      while (pair.links.toClient.to(PING).length === 0) {
        pair.clock.advance(100);
        ms += 100;
      }
      expect(ms).toBeGreaterThanOrEqual(27_000);
      expect(ms).toBeLessThanOrEqual(33_100);
      firsts.add(ms);
      pair.end();
    }
    expect(firsts.size).toBeGreaterThan(5);
    open();
  });

  it('takes any bytes of an unfinished frame for a sign of life', () => {
    pair = new PeerPair({ scripted: 'client', keepAlive: { idleTimeoutMs: 0 } });
    pair.server.start();
    pair.links.toServer.inject([103, 3, { target: '/_event/DECLARE' }, {}]);
    pair.flow();
    // a call whose body is text of 4 KiB
    pair.links.toServer.inject(Buffer.from([0x94, 0x65, 0x05, 0x80, 0xda, 0x10, 0x00]));
    for (let i = 0; i < 20; i++) {
      pair.pass(10_000);
      pair.links.toServer.inject(Buffer.from('x'));
    }
    expect(pair.server.state).toBe('open');
    pair.pass(100_000, 1000);
    expect(pair.server.state).toBe('closed');
  });

  it('a client with an idle time counts its own calls, however short they are', () => {
    open({ clientKeepAlive: { intervalMs: 15_000, idleTimeoutMs: 60_000 } });
    pair.serverOwner.serve = (call) => {
      call.reply(1);
      call.ended();
    };
    for (let i = 0; i < 40; i++) {
      pair.call();
      pair.flow();
      pair.pass(5_000);
    }
    expect(pair.client.state).toBe('open');
    pair.pass(100_000, 1000);
    expect(pair.client.state).toBe('closed');
  });

  it('does not take a client for silent while the server itself reads nothing of it', () => {
    // the client reads slowly but steadily; the server holds back its requests, and so its pongs, meanwhile
    open({
      limits: { sendBufferSoftBytes: 50_000, sendBufferHardBytes: 10_000_000 },
      clientKeepAlive: { intervalMs: 0 },
      keepAlive: { intervalMs: 30_000, timeoutMs: 10_000, maxMissed: 2, idleTimeoutMs: 0 },
    });
    pair.call();
    pair.flow();
    pair.links.toClient.hold();
    pair.serverOwner.call().reply(Buffer.alloc(1_000_000));
    pair.flow();
    expect(pair.links.server.paused).toBe(true);
    for (let second = 0; second < 120; second++) {
      pair.clock.advance(1000);
      // 8 kB a second go through
      pair.links.toClient.release(8_000);
      pair.links.toClient.take();
      pair.links.toClient.hold();
      pair.flow();
    }
    expect(pair.server.state).toBe('open');
    expect(pair.links.server.pendingBytes).toBeGreaterThan(0);
  });

  it('ends a connection without calls after its idle time, with the reason', () => {
    open({ keepAlive: { intervalMs: 30_000, timeoutMs: 10_000, maxMissed: 2, idleTimeoutMs: 300_000 } });
    pair.pass(400_000, 1000);
    expect(closeReasons()).toEqual(['idle timeout']);
    expect([pair.client.state, pair.server.state]).toEqual(['closed', 'closed']);
  });

  it('does not end one with calls between its looks', () => {
    open({ keepAlive: { intervalMs: 30_000, timeoutMs: 10_000, maxMissed: 2, idleTimeoutMs: 100_000 } });
    pair.serverOwner.serve = (call) => {
      call.reply(1);
      call.ended();
    };
    for (let i = 0; i < 100; i++) {
      pair.call();
      pair.flow();
      pair.pass(9_000);
    }
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
  });
});

it('answers the goodbye of a client, and an event that it does not know', () => {
  open();
  pair.links.toServer.inject(
    [103, 51, { target: '/_event/DROP' }, ''],
    [103, 53, { target: '/_event/nope' }, ''],
    [103, 55, {}, ''],
  );
  pair.flow();
  expect(pair.links.toClient.frames.slice(1)).toEqual([
    [103, 51, {}, 'success'],
    [103, 53, { status_code: 1003 }, 'unknown event'],
    [103, 55, { status_code: 1003 }, 'unknown event'],
  ]);
});

it('ignores events of the server that it does not know, or that tell of a fault', () => {
  open();
  pair.links.toClient.inject(
    [203, 8, { target: '/_event/nope' }, ''],
    [203, 10, { target: '/_event/Server Error', status_code: 500 }, 'oh'],
    [203, 12, {}, ''],
  );
  pair.flow();
  expect(pair.client.state).toBe('open');
  expect(pair.links.toServer.frames).toHaveLength(1);
});

describe('channel frames, which this version does not have', () => {
  const STEP: Frame = [102, 9, { channel_life_cycle: 'MSG' }, 'x'];

  it('are answered with 1008', () => {
    open({ scripted: 'client' });
    pair.links.toServer.inject(STEP);
    pair.links.toClient.lose();
    pair.flow();
    expect(pair.links.toClient.frames.at(-1)).toEqual([102, 9, { status_code: 1008 }, 'channel not create']);
  });

  it('do not make two peers answer each other for ever', () => {
    open();
    pair.links.toServer.inject(STEP);
    pair.flow();
    expect(pair.links.toClient.frames.filter(([type]) => type === 102)).toHaveLength(1);
  });

  it('of a peer that reads nothing do not fill the memory', () => {
    open({ limits: { sendBufferSoftBytes: 10_000, sendBufferHardBytes: 20_000 } });
    pair.links.toClient.hold();
    for (let i = 0; i < 2000; i++) pair.links.toServer.inject(STEP);
    pair.flow();
    expect(pair.links.server.pendingBytes).toBeLessThanOrEqual(20_100);
  });
});
