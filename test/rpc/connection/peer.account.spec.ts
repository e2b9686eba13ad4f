import type { Frame } from '../../../lib/protocol/frame.js';
import { ChannelPair, type ChannelPairOptions, readable } from '../../helpers/channel/channel-pair.js';
import { requestOf } from '../../helpers/peer-pair.js';

let pair: ChannelPair;

function open(options: ChannelPairOptions): void {
  pair = new ChannelPair(options).open();
}
afterEach(() => pair.end());

/** Costs a little over `100 * count`. */
const maps = (count: number): object[] => Array.from({ length: count }, () => ({}));
/** Costs a little over `bytes`. */
const text = (bytes: number): string => 'x'.repeat(bytes);

describe('calls', () => {
  it('are refused beyond the account of their connection, however few bytes they are', () => {
    open({ limits: { maxHeldBytes: 250_000 } });
    const sinks = Array.from({ length: 4 }, () => pair.call(maps(1000)).sink);
    pair.flow();
    expect(sinks.map(({ settled }) => settled)).toEqual([false, false, true, true]);
    expect(sinks[3]?.fault.status).toBe(429);
    expect(pair.serverOwner.calls).toHaveLength(2);
    expect(pair.server.incoming.refused).toBe(2);
  });

  it('are held until their handlers have ended, also if their callers have given them up', () => {
    open({ limits: { maxHeldBytes: 150_000 } });
    const first = pair.call(maps(1000));
    pair.flow();
    first.call.abandon();
    pair.flow();
    expect(pair.serverOwner.call().settled).toBe(true);
    const second = pair.call(maps(1000));
    pair.flow();
    expect(second.sink.fault.status).toBe(429);
    pair.serverOwner.call().ended();
    const third = pair.call(maps(1000));
    pair.flow();
    expect(third.sink.settled).toBe(false);
  });

  it('are refused beyond the account of the server', () => {
    open({ limits: { maxHeldBytesTotal: 100_000 } });
    pair.load.account.add(100_000); // of other connections
    const { sink } = pair.call(maps(10));
    pair.flow();
    expect(sink.fault.status).toBe(429);
    pair.load.account.add(-100_000);
  });
});

describe('channels', () => {
  it('are refused when their metadata is too much', () => {
    open({ limits: { maxHeldBytes: 100_000 } });
    const channels = Array.from({ length: 3 }, () => pair.client.openChannel(requestOf(text(45_000))));
    pair.flow();
    expect(channels.map(({ fault }) => fault?.status)).toEqual([undefined, undefined, 429]);
    for (const incoming of pair.serverOwner.channels) {
      incoming.close();
      incoming.ended();
    }
    pair.flow();
    expect(pair.declare(text(45_000)).client.fault).toBeUndefined();
  });

  it.each([
    ['with credit', []],
    ['without credit', ['credit']],
  ])('are not read while what came and was not read is too much, %s', (_, without) => {
    open({ limits: { maxHeldBytes: 50_000 }, without });
    const [first, second] = [pair.connect(), pair.connect()];
    for (const { client } of [first, second]) for (let i = 0; i < 3; i++) void client.write(maps(200));
    pair.flow();
    expect(pair.links.server.paused).toBe(true);
    expect(pair.server.isReadingPaused()).toBe(true);
    expect(pair.links.toServer.bytes).toBe(0);
    // the rest is in the chunk that came, and not handed on
    expect(readable(first.server)).toHaveLength(3);
    expect(pair.links.server.paused).toBe(false);
    pair.flow();
    expect(readable(second.server)).toHaveLength(3);
    expect(pair.server.isReadingPaused()).toBe(false);
  });

  it('are read on when the reader of what is too much has ended', () => {
    open({ limits: { maxHeldBytes: 50_000 } });
    const { client, server, incoming } = pair.connect();
    for (let i = 0; i < 3; i++) void client.write(maps(200));
    pair.flow();
    expect(pair.links.server.paused).toBe(true);
    incoming.close();
    expect(server.isClosed).toBe(true);
    incoming.ended();
    pair.flow();
    expect(pair.links.server.paused).toBe(false);
    expect(pair.load.account.held).toBe(0);
  });

  it('end, the one that is furthest behind first, if nobody reads them for too long', () => {
    const never = { intervalMs: 0 };
    open({
      limits: { maxHeldBytes: 50_000, pauseTimeoutMs: 60_000 },
      keepAlive: never,
      clientKeepAlive: never,
    });
    const [first, second] = [pair.connect(), pair.connect()];
    void first.client.write(maps(150));
    for (let i = 0; i < 2; i++) void second.client.write(maps(200));
    pair.flow();
    expect(pair.links.server.paused).toBe(true);
    pair.clock.advance(60_000);
    pair.flow();
    expect([first.client.isClosed, pair.links.server.paused]).toEqual([false, false]);
    for (const { fault } of [second.client, second.server]) {
      expect(fault?.status).toBe(1008);
      expect(fault?.message).toContain('limits.pauseTimeoutMs, limits.maxHeldBytes');
    }
    expect(readable(second.server)).toEqual([]);
    expect(readable(first.server)).toHaveLength(1);
  });

  it('count what was not read until their handler has ended, also after the peer has left', () => {
    open({ limits: { maxHeldBytes: 50_000 } });
    const { client, incoming } = pair.connect();
    for (let i = 0; i < 2; i++) void client.write(maps(200));
    client.close();
    pair.flow();
    const refused = pair.call(maps(200));
    pair.flow();
    expect(refused.sink.fault.status).toBe(429);
    incoming.ended();
    const taken = pair.call(maps(200));
    pair.flow();
    expect(taken.sink.settled).toBe(false);
  });

  it('stop the reading of a client, too, that does not read its streams', () => {
    open({ limits: { maxHeldBytes: 50_000 } });
    const { client, server } = pair.connect();
    for (let i = 0; i < 3; i++) void server.write(maps(200));
    pair.flow();
    expect(pair.links.client.paused).toBe(true);
    expect(readable(client)).toHaveLength(3);
    expect(pair.links.client.paused).toBe(false);
  });
});

const answers = (): Frame[] => pair.links.toClient.frames.filter(([type]) => type === 101);

function answerAll(count: number, bytes: number): void {
  pair.serverOwner.serve = undefined;
  for (let i = 0; i < count; i++) pair.call();
  pair.flow();
  pair.links.toClient.hold();
  for (const call of pair.serverOwner.calls) {
    call.reply(text(bytes));
    call.ended();
  }
}

describe('answers that are not taken', () => {
  it('are no more than the account; the others wait in their slots, and all arrive', () => {
    open({ limits: { maxHeldBytes: 100_000, sendBufferSoftBytes: 10_000 } });
    answerAll(50, 10_000);
    expect(pair.links.toClient.bytes).toBeLessThan(120_000);
    const sent = answers().length;
    expect(sent).toBeGreaterThan(1);
    expect([pair.server.incoming.size, pair.load.calls]).toEqual([50 - sent, 50 - sent]);
    expect(pair.links.server.paused).toBe(true);
    pair.links.toClient.release();
    pair.flow();
    expect(answers()).toHaveLength(50);
    expect([pair.server.incoming.size, pair.load.running, pair.load.account.held]).toEqual([0, 0, 0]);
    expect(pair.links.server.paused).toBe(false);
  });

  it('hold up no other answer for the sake of what is held otherwise', () => {
    open({ limits: { maxHeldBytes: 10_000, sendBufferSoftBytes: 10_000 } });
    const { sink } = pair.call(text(9_000));
    pair.flow();
    pair.serverOwner.call().reply(text(5_000));
    pair.flow();
    expect(sink.outcome).toBe(text(5_000));
  });

  it('go with their connection, and their calls with them', () => {
    open({ limits: { maxHeldBytes: 100_000, sendBufferSoftBytes: 10_000 } });
    answerAll(50, 10_000);
    pair.links.server.close(undefined);
    expect([pair.server.incoming.size, pair.load.running, pair.load.account.held]).toEqual([0, 0, 0]);
  });

  it('leave before a connection that drains is closed', () => {
    open({ limits: { maxHeldBytes: 100_000, sendBufferSoftBytes: 10_000 } });
    answerAll(50, 10_000);
    pair.server.drain(9_000);
    pair.links.toClient.release();
    pair.flow();
    expect(answers()).toHaveLength(50);
  });
});
