import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import { LifeCycle } from '../../../lib/protocol/life-cycle.js';
import { channelFrames, ChannelPair, readable, type ChannelPairOptions } from '../../helpers/channel-pair.js';
import { outcomeOf, settled } from '../../helpers/outcome.js';
import { requestOf } from '../../helpers/peer-pair.js';

let pair: ChannelPair;

function open(options?: ChannelPairOptions): ChannelPair {
  pair = new ChannelPair(options).open();
  return pair;
}

afterEach(() => pair.end());

const fault = new Fault({ status: 301, message: 'no such room', remoteName: 'ValueError' });

/** Frames of channels that each side has sent so far. */
const sent = (): [byClient: number, byServer: number] => [
  channelFrames(pair.links.toServer).length,
  channelFrames(pair.links.toClient).length,
];

describe('a channel', () => {
  it('is opened by DECLARE with target and metadata, accepted by the same, and ended by one DROP', () => {
    open();
    const { client, server, incoming } = pair.declare({ room: 'lobby' });
    expect([client.metadata, server.metadata]).toEqual([{ room: 'lobby' }, { room: 'lobby' }]);
    expect([incoming.header, incoming.id]).toEqual([
      { target: '/default/x', channel_life_cycle: 'DECLARE' },
      client.id,
    ]);
    expect([client.id % 2, client.state, server.state]).toEqual([1, 'declaring', 'open']);
    incoming.open();
    pair.flow();
    expect(client.state).toBe('open');
    void client.write('hello');
    void server.write('welcome');
    pair.flow();
    expect([readable(server), readable(client)]).toEqual([['hello'], ['welcome']]);
    client.close();
    pair.flow();
    expect([client.state, server.state]).toEqual(['closed', 'closed']);
    expect([client.closedByPeer, server.closedByPeer]).toEqual([false, true]);
    incoming.ended();
    expect(channelFrames(pair.links.toServer)).toEqual([
      [{ target: '/default/x', channel_life_cycle: 'DECLARE' }, { room: 'lobby' }],
      [{ channel_life_cycle: 'MSG' }, 'hello'],
      [{ channel_life_cycle: 'DROP' }, null],
    ]);
    expect(channelFrames(pair.links.toClient)).toEqual([
      [{ channel_life_cycle: 'DECLARE' }, null],
      [{ channel_life_cycle: 'MSG' }, 'welcome'],
    ]);
  });

  it('has an empty map as its metadata where there is none: a Python server looks into it', () => {
    open();
    const client = pair.client.openChannel(requestOf(undefined));
    expect(channelFrames(pair.links.toServer)[0]?.[1]).toEqual({});
    client.close();
  });

  it('echoes messages, with headers, in order, both ways at once', () => {
    open();
    const { client, server } = pair.connect();
    const got: number[] = [];
    for (let i = 1; i <= 200; i++) {
      void client.write(i, { 'x-place': i });
      void server.write(-i);
      if (i % 7 > 0 && i < 200) continue;
      pair.flow();
      for (let message = server.poll(); message; message = server.poll()) {
        expect(message.header).toEqual({ channel_life_cycle: 'MSG', 'x-place': message.body });
        void server.write(message.body);
      }
      pair.flow();
      got.push(...(readable(client) as number[]));
    }
    const places = Array.from({ length: 200 }, (_, i) => i + 1);
    expect(got.filter((body) => body > 0)).toEqual(places);
    expect(got.filter((body) => body < 0)).toEqual(places.map((place) => -place));
    client.close();
    pair.flow();
  });

  it('ends with an error of the server, after the messages from before it', async () => {
    open();
    const { client, server, incoming } = pair.connect();
    void server.write('first');
    incoming.fail(fault, 'InvokeError');
    incoming.ended();
    pair.flow();
    expect((await client.read())?.body).toBe('first');
    await expect(client.read()).rejects.toMatchObject({
      status: 301,
      remoteName: 'ValueError',
      message: 'no such room',
    });
    expect([client.closedByPeer, server.fault]).toEqual([true, undefined]);
    expect(pair.server.channels.size).toBe(0);
  });

  it('ends with an error of the client', async () => {
    open();
    const { client, server, incoming } = pair.connect();
    const { signal } = incoming;
    const read = outcomeOf(server.read());
    client.close(new Fault({ status: 500, message: 'out of disk' }), 'ServerError');
    pair.flow();
    await settled();
    expect(read.error).toMatchObject({ status: 500, message: 'out of disk' });
    expect([signal.aborted, signal.reason]).toEqual([true, server.fault]);
  });

  it('is refused before it was accepted', async () => {
    open();
    const { client, incoming } = pair.declare();
    const read = outcomeOf(client.read());
    incoming.fail(new Fault({ status: 404, message: 'Not found func. name: x' }), 'FuncNotFoundError');
    incoming.ended();
    pair.flow();
    await settled();
    expect(read.error).toMatchObject({ status: 404, message: 'Not found func. name: x' });
    expect(client.state).toBe('closed');
  });

  it('is left before it was accepted', () => {
    open();
    const client = pair.client.openChannel(requestOf());
    client.close();
    pair.flow();
    const [incoming] = pair.serverOwner.channels;
    expect(incoming?.channel.isClosed).toBe(true);
    expect(incoming?.signal.reason).toMatchObject({ code: 'ERR_RAP_CALL_CANCELLED' });
    if (incoming) incoming.open();
    pair.flow();
    // an answer to DECLARE that crossed the goodbye is nobody's fault
    expect(sent()).toEqual([2, 1]);
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
  });

  it('is half-closed by each side in its time, and needs no DROP', async () => {
    open();
    const { client, server, incoming } = pair.connect();
    await client.write('question');
    await client.end();
    pair.flow();
    expect([client.state, server.state]).toEqual(['ended', 'peerEnded']);
    expect([(await server.read())?.body, await server.read()]).toEqual(['question', undefined]);
    await server.write('answer');
    await server.end();
    pair.flow();
    expect([(await client.read())?.body, await client.read()]).toEqual(['answer', undefined]);
    expect([client.state, server.state, client.fault, server.fault]).toEqual([
      'closed',
      'closed',
      undefined,
      undefined,
    ]);
    incoming.close();
    incoming.ended();
    expect(
      pair.links.toServer.frames.concat(pair.links.toClient.frames).flatMap(([, , header]) => header),
    ).not.toContainEqual(expect.objectContaining({ channel_life_cycle: LifeCycle.Drop }));
  });

  it('is half-closed by both at once', async () => {
    open();
    const { client, server } = pair.connect();
    await Promise.all([client.end(), server.end()]);
    pair.flow();
    expect([client.state, server.state]).toEqual(['closed', 'closed']);
    expect([await client.read(), await server.read()]).toEqual([undefined, undefined]);
  });

  it('opens with its first messages where the server has fast_open, else after the answer', () => {
    for (const without of [[], ['fast_open']]) {
      open({ without });
      pair.links.toClient.hold();
      const client = pair.client.openChannel(requestOf());
      void client.write('early');
      expect({ without, sent: sent()[0] }).toEqual({ without, sent: without.length > 0 ? 1 : 2 });
      pair.flow();
      const [incoming] = pair.serverOwner.channels;
      if (incoming) incoming.open();
      pair.links.toClient.release();
      pair.flow();
      expect(incoming && readable(incoming.channel)).toEqual(['early']);
      pair.end();
    }
    open();
  });

  it('cannot be half-closed where the peer does not know that', async () => {
    open({ without: ['half_close'] });
    const { client, server } = pair.connect();
    await expect(client.end()).rejects.toMatchObject({ status: 10081 });
    await expect(server.end()).rejects.toMatchObject({ status: 10081 });
    expect(sent()).toEqual([1, 1]);
  });

  it('is not opened where its header or metadata cannot be sent, and leaves nothing behind', () => {
    open();
    const circular: unknown[] = [];
    circular.push(circular);
    expect(() => pair.client.openChannel(requestOf({ circular }))).toThrow(Fault);
    const header = { target: '/default/x', note: 'n'.repeat(20_000) };
    expect(() => pair.client.openChannel(requestOf(null, { header }))).toThrow(Fault);
    expect([pair.client.channels.size, sent()]).toEqual([0, [0, 0]]);
  });

  it.each([
    ['closed', () => pair.client.close('enough')],
    ['draining', () => pair.client.finish()],
  ])('that is opened on a connection that is %s ends at once', async (_, over) => {
    open();
    const { client: first } = pair.connect();
    over();
    const reads = [];
    try {
      reads.push(outcomeOf(pair.client.openChannel(requestOf()).read()));
    } catch (error) {
      expect(error).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
    }
    await settled();
    for (const read of reads) expect(read.error).toMatchObject({ code: LocalCode.ConnectionLost });
    expect(pair.client.channels.size).toBe(first.isClosed ? 0 : 1);
  });
});

describe('timeout_ms', () => {
  it('tells the server how long the channel may last, where the caller asked for a limit', () => {
    open();
    const { incoming } = pair.declare(null, { timeoutMs: 1234.2, tellTimeLeft: true });
    expect(incoming.header.timeout_ms).toBe(1235);
    expect(pair.declare(null, { timeoutMs: 500 }).incoming.header).not.toHaveProperty('timeout_ms');
    pair.end();
    open({ without: ['deadline'] });
    const old = pair.declare(null, { timeoutMs: 500, tellTimeLeft: true }).incoming;
    expect(old.header).not.toHaveProperty('timeout_ms');
  });

  it('ends the channel on both sides when it is over', async () => {
    open();
    const { client, server, incoming } = pair.connect();
    incoming.limitRun(1000);
    const { signal } = incoming;
    const read = outcomeOf(client.read());
    pair.clock.advance(999);
    expect([signal.aborted, incoming.timeLeftMs]).toEqual([false, 1]);
    pair.clock.advance(1);
    pair.flow();
    await settled();
    expect([signal.aborted, client.state, server.state]).toEqual([true, 'closed', 'closed']);
    expect(read.error).toMatchObject({ status: 1005, message: 'the deadline of the channel is over' });
    expect(signal.reason).toMatchObject({ status: 1005 });
    expect(pair.server.incoming.size).toBe(1);
    incoming.ended();
    expect(pair.server.incoming.size).toBe(0);
  });

  it('does nothing to a channel that has ended before', () => {
    open();
    const { client, incoming } = pair.connect();
    incoming.limitRun(1000);
    client.close();
    pair.flow();
    incoming.ended();
    const before = sent();
    pair.pass(2000);
    expect(sent()).toEqual(before);
  });
});

describe('the connection', () => {
  it.each([
    ['is aborted by the client', () => pair.client.abort(lost)],
    ['is aborted by the server', () => pair.server.abort(lost)],
    ['is closed by the server', () => pair.server.close('enough')],
    ['is cut', () => pair.links.client.destroy()],
  ])('takes all its channels with it when it %s', async (_, over) => {
    open();
    const ends = Array.from({ length: 20 }, () => pair.connect());
    void ends[0]?.server.write('last words');
    pair.flow();
    const reads = ends
      .slice(1)
      .flatMap(({ client, server }) => [outcomeOf(client.read()), outcomeOf(server.read())]);
    const handlers = ends.map(({ incoming }) => incoming.signal);
    const streams = ends.map(({ client }) => client.signal);
    over();
    pair.flow();
    await settled();
    expect([pair.client.channels.size, pair.server.channels.size]).toEqual([0, 0]);
    for (const [i, read] of reads.entries()) {
      expect(read.error).toBe(i % 2 === 0 ? pair.clientOwner.reason : pair.serverOwner.reason);
    }
    expect(handlers.every((signal) => signal.aborted && signal.reason === pair.serverOwner.reason)).toBe(
      true,
    );
    expect(streams.every((signal) => signal.aborted && signal.reason === pair.clientOwner.reason)).toBe(true);
    expect(pair.clientOwner.reason).toMatchObject({ code: LocalCode.ConnectionLost });
    expect(pair.load.running).toBe(20); // the slots are the handlers' until they end
    const first = ends[0]?.client;
    expect((await first?.read())?.body).toBe('last words');
    await expect(first?.read()).rejects.toBe(pair.clientOwner.reason);
  });

  it('that drains is closed by the client with the end of its last channel, whoever ends that', () => {
    const endings: [string, (ends: ReturnType<ChannelPair['connect']>) => void][] = [
      ['the server closes', ({ incoming }) => incoming.close()],
      ['the client closes', ({ client }) => client.close()],
      ['the client cancels', ({ client }) => client.cancel(fault)],
      ['both end', ({ client, server }) => void Promise.all([client.end(), server.end()])],
    ];
    const left: unknown[] = [];
    for (const [name, over] of endings) {
      open();
      const ends = pair.connect();
      pair.client.finish();
      pair.flow();
      expect([name, pair.client.state]).toEqual([name, 'draining']);
      over(ends);
      ends.incoming.ended();
      pair.flow();
      if (pair.client.state !== 'closed') left.push(name);
      pair.end();
    }
    open();
    expect(left).toEqual([]);
  });

  it('that drains is closed by the server when the handler of its last channel has ended', () => {
    open();
    const { client, incoming } = pair.connect();
    pair.server.drain(3000);
    pair.flow();
    expect([pair.client.state, pair.server.state]).toEqual(['draining', 'draining']);
    void client.write('still works');
    pair.flow();
    expect(readable(incoming.channel)).toEqual(['still works']);
    incoming.close();
    incoming.ended();
    pair.flow();
    expect([pair.client.state, pair.server.state]).toEqual(['closed', 'closed']);
    expect(client.fault).toBeUndefined();
  });
});

const lost = new Fault({ status: 1006, code: LocalCode.ConnectionLost, message: 'gone', sent: 'unknown' });
