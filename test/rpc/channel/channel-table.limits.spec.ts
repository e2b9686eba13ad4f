import { Fault } from '../../../lib/protocol/fault.js';
import type { Frame } from '../../../lib/protocol/frame.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import { DEFAULT_LIMITS } from '../../../lib/rpc/limits.js';
import {
  channelFrames,
  ChannelPair,
  readable,
  type ChannelPairOptions,
} from '../../helpers/channel/channel-pair.js';
import { outcomeOf, settled } from '../../helpers/outcome.js';
import { requestOf } from '../../helpers/peer-pair.js';

let pair: ChannelPair;

function open(options?: ChannelPairOptions): ChannelPair {
  pair = new ChannelPair(options).open();
  return pair;
}

afterEach(() => pair.end());

const declare = (id: number): Frame => [102, id, { target: '/default/x', channel_life_cycle: 'DECLARE' }, {}];
const drop = (id: number): Frame => [102, id, { channel_life_cycle: 'DROP' }, null];
const ignore = (): void => {};
const closeReasons = (): unknown[] => pair.links.toClient.to('/_event/CLOSE').map(([, , , body]) => body);

describe('maxChannels', () => {
  it('refuses what is beyond it with 429, and starts no handler', async () => {
    open({ limits: { maxChannels: 2 } });
    const served = [pair.connect(), pair.connect()];
    const refused = pair.client.openChannel(requestOf());
    void refused.write('early').catch(() => {});
    const read = outcomeOf(refused.read());
    pair.flow();
    await settled();
    expect(read.error).toMatchObject({ status: 429, message: 'Too many channels' });
    expect([pair.serverOwner.channels.length, pair.server.incoming.refused]).toEqual([2, 1]);
    expect([pair.server.channels.size, pair.server.incoming.size, pair.client.channels.size]).toEqual([
      2, 2, 2,
    ]);
    expect(channelFrames(pair.links.toServer, refused.id)).toHaveLength(2);
    for (const { client } of served) expect(client.state).toBe('open');
  });

  it('holds a place until the handler has ended, not until the channel has', () => {
    open({ limits: { maxChannels: 1 } });
    const { client, incoming } = pair.connect();
    client.close();
    pair.flow();
    expect([pair.server.channels.size, pair.server.incoming.size]).toEqual([0, 1]);
    const refused = pair.client.openChannel(requestOf());
    pair.flow();
    expect(refused.fault).toMatchObject({ status: 429 });
    incoming.ended();
    incoming.ended();
    expect([pair.server.incoming.size, pair.load.running]).toEqual([0, 0]);
    expect(pair.connect().client.state).toBe('open');
  });

  it('does not count calls, nor calls the channels', () => {
    open({ limits: { maxChannels: 1, maxInFlight: 1 } });
    const { client } = pair.connect();
    const { sink } = pair.call();
    pair.flow();
    expect([client.state, sink.settled]).toEqual(['open', false]);
    const [over] = [pair.client.openChannel(requestOf())];
    pair.flow();
    expect(over?.fault).toMatchObject({ status: 429 });
  });

  it('is not the only one: a whole server has its limit, too', () => {
    open({ limits: { maxChannelsTotal: 2, maxInFlightTotal: 1 } });
    pair.load.channels = 1; // another connection's
    pair.connect();
    const { client, incoming } = pair.declare();
    expect(incoming.takeSlot()).toBe(false);
    pair.flow();
    expect(client.fault).toMatchObject({ status: 429 });
    expect([pair.load.channels, pair.load.calls]).toEqual([2, 0]);
    const { sink } = pair.call();
    pair.flow();
    expect(sink.settled).toBe(false);
    pair.load.channels -= 1;
  });

  it.each([
    ['that are refused', { maxChannels: 0 }],
    ['that are answered with 1008', { maxRejectedFrames: 1e9 }],
  ])('does not let a peer that reads nothing fill the memory with answers to frames %s', (_, limits) => {
    open({ limits: { sendBufferSoftBytes: 64 * 1024, sendBufferHardBytes: 256 * 1024, ...limits } });
    pair.links.toClient.hold();
    for (let i = 0; i < 50; i++) {
      for (let j = 0; j < 200; j++) {
        const id = 1001 + 2 * (i * 200 + j);
        pair.links.toServer.inject('maxChannels' in limits ? declare(id) : drop(id));
      }
      pair.flow();
    }
    // either it reads no more of them, or it gives up on the peer
    expect(pair.links.toClient.bytes).toBeLessThan(512 * 1024);
  });
});

/** One channel that the client gives up before it got anything. */
function reset(id: number, afterMs = 0): void {
  pair.links.toServer.inject(declare(id));
  pair.flow();
  pair.clock.advance(afterMs);
  pair.links.toServer.inject(drop(id));
  pair.flow();
  pair.serverOwner.channels.at(-1)?.ended();
}

describe('a client that opens and drops', () => {
  it('is cut off after 500 of them', () => {
    open();
    for (let i = 0; i < 499; i++) reset(11 + 2 * i);
    expect(pair.server.state).toBe('open');
    reset(11 + 2 * 499);
    expect([pair.server.state, closeReasons()]).toEqual(['closed', ['excessive resets']]);
  });

  it('is cut off as well where that comes in one piece', () => {
    open({ limits: { maxChannels: 1000 } });
    const flood = Array.from({ length: 1000 }, (_, i) => [declare(11 + 2 * i), drop(11 + 2 * i)]).flat();
    pair.links.toServer.inject(...flood);
    pair.flow();
    expect([pair.server.state, closeReasons()]).toEqual(['closed', ['excessive resets']]);
    // no handler beyond the sample was started
    expect(pair.serverOwner.channels.length).toBeLessThanOrEqual(500);
  });

  it('is cut off where it gives up calls', () => {
    open({ limits: { maxInFlight: 1000 } });
    for (let i = 0; i < 500; i++) {
      pair.links.toServer.inject([101, 11 + 4 * i, { target: '/default/x' }, null]);
      pair.links.toServer.inject([103, 13 + 4 * i, { target: '/_event/cancel' }, { id: 11 + 4 * i }]);
    }
    pair.flow();
    expect([pair.server.state, closeReasons()]).toEqual(['closed', ['excessive resets']]);
  });

  it.each([
    ['is served on if their own time was over', 100, 600, 'open'],
    ['is cut off if they had time', 1500, 500, 'closed'],
  ])('and gives up calls %s', (_what, timeout_ms, calls, state) => {
    open({ limits: { maxInFlight: 1000 } });
    for (let i = 0; i < calls; i++) {
      pair.links.toServer.inject([101, 11 + 4 * i, { target: '/default/x', timeout_ms }, null]);
      pair.links.toServer.inject([103, 13 + 4 * i, { target: '/_event/cancel' }, { id: 11 + 4 * i }]);
    }
    pair.flow();
    expect(pair.server.state).toBe(state);
  });

  it('never has more handlers running than it may, however fast it drops', () => {
    open();
    let most = 0;
    for (let i = 0; i < 400; i++) {
      pair.links.toServer.inject(declare(11 + 2 * i), drop(11 + 2 * i));
      pair.flow();
      most = Math.max(most, pair.server.incoming.size);
    }
    expect(most).toBe(DEFAULT_LIMITS.maxChannels);
    expect(pair.serverOwner.channels).toHaveLength(DEFAULT_LIMITS.maxChannels);
    expect(pair.server.channels.size).toBe(0);
  });

  it('is welcome where the handler wrote something first: a stream that was left early', () => {
    open();
    for (let i = 0; i < 1200; i++) {
      const { client, server, incoming } = pair.connect();
      void server.write(i);
      pair.flow();
      client.close();
      pair.flow();
      incoming.ended();
    }
    expect([pair.server.state, pair.client.state]).toEqual(['open', 'open']);
  });

  it('is welcome where the server ended most of them: short streams and channels', () => {
    open();
    for (let i = 0; i < 1200; i++) {
      const ends = pair.connect();
      if (i % 2 === 0) ends.incoming.close();
      else ends.client.close();
      pair.flow();
      ends.incoming.ended();
    }
    expect([pair.server.state, pair.client.state]).toEqual(['open', 'open']);
  });

  it('is welcome where it takes its time', () => {
    open({ keepAlive: { intervalMs: 0 }, clientKeepAlive: { intervalMs: 0 } });
    for (let i = 0; i < 1200; i++) reset(11 + 2 * i, 1000);
    expect(pair.server.state).toBe('open');
  });

  it('is welcome where both sides end in order, though only the client wrote: short uploads', async () => {
    open();
    for (let i = 0; i < 510 && pair.server.state === 'open'; i++) {
      const { client, server, incoming } = pair.connect();
      void client.write(i);
      await client.end();
      pair.flow();
      expect(readable(server)).toEqual([i]);
      await server.end();
      pair.flow();
      incoming.ended();
    }
    expect([pair.server.state, closeReasons()]).toEqual(['open', []]);
  });
});

describe('a fault whose details the connection cannot carry', () => {
  it('ends the channel, and frees its place', () => {
    open({ limits: { maxHeaderBytes: 512 } });
    const { client, incoming } = pair.connect();
    const details = { note: 'n'.repeat(2000) };
    incoming.fail(new Fault({ status: 301, message: 'no', details }), 'InvokeError');
    incoming.ended();
    pair.flow();
    expect([client.isClosed, pair.server.incoming.size, pair.server.channels.size]).toEqual([true, 0, 0]);
    expect(pair.server.state).toBe('open');
  });
});

describe('what a caller writes into the stream that answers its call', () => {
  it('counts as held until the stream is over, also if nobody has read it', () => {
    open();
    const callers: Channel[] = [];
    const stream = (channel: Channel): void => void callers.push(channel);
    pair.client.call(requestOf(), { resolve: ignore, reject: ignore, stream });
    pair.flow();
    const call = pair.serverOwner.call();
    void call.turnIntoStream()?.write('first');
    pair.flow();
    void callers[0]?.write('unread'.repeat(30_000)); // accounts report in steps
    pair.flow();
    const { held } = pair.load.account;
    callers[0]?.close();
    pair.flow();
    call.ended();
    expect([held > 0, pair.load.account.held]).toEqual([true, 0]);
  });
});
