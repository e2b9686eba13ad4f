import type { Frame } from '../../../lib/protocol/frame.js';
import { peerLimitsOf, advertisedLimits } from '../../../lib/rpc/connection/peer-limits.js';
import { DEFAULT_LIMITS } from '../../../lib/rpc/limits.js';
import { ChannelPair, type ChannelPairOptions } from '../../helpers/channel/channel-pair.js';
import { requestOf } from '../../helpers/peer-pair.js';

let pair: ChannelPair;

function open(options?: ChannelPairOptions): ChannelPair {
  pair = new ChannelPair(options).open();
  return pair;
}

/** A client whose server, which the test plays, has told these limits. */
function told(limits: Record<string, unknown>): ChannelPair {
  pair = new ChannelPair({ scripted: 'server' });
  pair.links.toClient.hold();
  pair.server.start();
  pair.client.start();
  pair.flow();
  pair.links.toClient.drop();
  pair.links.toClient.release();
  pair.links.toClient.inject([103, 3, {}, { conn_id: 'x', extensions: { limits } }]);
  pair.flow();
  return pair;
}

const lastId = (): unknown => pair.links.toClient.to('/_event/CLOSE')[0]?.[2]['last_id'];

const telling = (limits: object): object => ({ 3: { extensions: { limits } } });
const callsOf = (): readonly Frame[] => pair.links.toServer.frames.filter(([type]) => type === 101);

afterEach(() => pair.end());

describe('the limits that a side tells', () => {
  beforeEach(() => open({ limits: { maxFrameBytes: 100_000, maxInFlight: 7, maxChannels: 3 } }));

  it('are those of its own frames, and at a server of calls and channels', () => {
    const ofServer = { max_frame_bytes: 100_000, max_in_flight: 7, max_channels: 3 };
    expect(pair.links.toServer.frames[0]).toMatchObject(telling({ max_frame_bytes: 100_000 }));
    expect(pair.links.toServer.frames[0]).not.toMatchObject(telling({ max_in_flight: 7 }));
    expect(pair.links.toClient.frames[0]).toMatchObject(telling(ofServer));
  });

  it('hold no number that is none', () => {
    const endless = { ...DEFAULT_LIMITS, maxInFlight: Infinity, maxChannels: 0, maxFrameBytes: 20_000.5 };
    expect(advertisedLimits(endless, true)).toEqual({ max_frame_bytes: 20_000 });
  });
});

it.each([[undefined], [0], [-1], [1.5], ['7'], [null], [Number.NaN], [Infinity], [7n]])(
  'a limit of %p is none',
  (value) => {
    open();
    const limits = { max_frame_bytes: value, max_in_flight: value, max_channels: value };
    expect(peerLimitsOf(new Map([['limits', limits]]))).toEqual({
      maxFrameBytes: Infinity,
      maxInFlight: Infinity,
    });
  },
);

describe('a client', () => {
  it('holds calls back beyond those that its server runs at once', () => {
    told({ max_in_flight: 2 });
    const sinks = [1, 2, 3].map((n) => pair.call(n).sink);
    pair.flow();
    expect([callsOf().length, pair.client.calls.queued]).toEqual([2, 1]);
    pair.links.toClient.inject([101, callsOf()[0]?.[1] ?? 0, {}, 'done']);
    pair.flow();
    expect([callsOf().length, sinks[0]?.outcome]).toEqual([3, 'done']);
  });

  it('holds calls back beyond its own limit, if that is the smaller one', () => {
    open({ limits: { maxInFlight: 1 } });
    pair.call();
    pair.call();
    expect([pair.client.calls.inFlight, pair.client.calls.queued]).toEqual([1, 1]);
  });

  it('sends no body that its server would refuse with the connection: the call fails, and says why', () => {
    told({ max_frame_bytes: 20_000 });
    const large = pair.call('x'.repeat(30_000)).sink;
    const small = pair.call('x'.repeat(19_000)).sink;
    pair.flow();
    expect(large.fault).toMatchObject({
      status: 1003,
      code: 'ERR_RAP_FRAME_TOO_LARGE',
      message: 'frame too large: the peer takes at most 20000 bytes (its limits.maxFrameBytes)',
    });
    expect([callsOf().length, small.settled, pair.client.state]).toEqual([1, false, 'open']);
  });

  it('cannot be told that it may send nothing at all', () => {
    told({ max_frame_bytes: 1 });
    const { sink } = pair.call('x'.repeat(16_000));
    pair.flow();
    expect([callsOf().length, sink.settled]).toEqual([1, false]);
  });
});

it('a server answers with an error if the client would not take the answer', () => {
  pair = new ChannelPair({ scripted: 'client' });
  pair.server.start();
  const extensions = { limits: { max_frame_bytes: 20_000 } };
  pair.links.toServer.inject([103, 3, { target: '/_event/DECLARE' }, { extensions }]);
  pair.links.toServer.inject([101, 5, { target: '/default/x' }, null]);
  pair.flow();
  pair.serverOwner.call().reply('x'.repeat(30_000));
  pair.serverOwner.call().ended();
  expect(pair.links.toClient.frames.at(-1)).toMatchObject([
    101,
    5,
    { status_code: 1003 },
    'frame too large: the peer takes at most 20000 bytes (its limits.maxFrameBytes)',
  ]);
  pair.client.start();
});

describe('the last id that a server took', () => {
  it('is told with CLOSE: what came too late has surely not run', () => {
    open();
    const taken = pair.call().sink;
    const channel = pair.client.openChannel(requestOf());
    pair.flow();
    pair.links.toServer.hold();
    const late = pair.call().sink;
    const lateChannel = pair.client.openChannel(requestOf());
    pair.server.close('idle timeout');
    pair.flow();
    expect(lastId()).toBe(channel.id);
    expect(pair.links.toClient.to('/_event/CLOSE')[0]?.[2]['close_code']).toBe(2);
    expect([taken.fault.sent, late.fault.sent]).toEqual(['unknown', 'no']);
    expect([channel.fault?.sent, lateChannel.fault?.sent]).toEqual(['unknown', 'no']);
  });

  it('is 0 if it took nothing', () => {
    open();
    pair.links.toServer.hold();
    const { sink } = pair.call();
    pair.server.close('idle timeout');
    pair.flow();
    expect([lastId(), sink.fault.sent]).toEqual([0, 'no']);
  });

  it('is not told with what ends a connection for a frame of the client: repeated, it would end the next', () => {
    open();
    const { sink } = pair.call();
    pair.links.toServer.inject(
      [101, 9, { target: '/default/x' }, null],
      [101, 9, { target: '/default/x' }, null],
    );
    pair.flow();
    expect([lastId(), sink.fault.sent]).toEqual([undefined, 'unknown']);
    expect(pair.links.toClient.to('/_event/CLOSE')[0]?.[2]['close_code']).toBe(102);
  });

  it('is not told to a client that does not know of it', () => {
    open({ without: ['close'] });
    pair.call();
    pair.server.close('idle timeout');
    pair.flow();
    expect(pair.links.toClient.to('/_event/CLOSE')[0]?.[2]).toEqual({ target: '/_event/CLOSE' });
  });

  it('says nothing if it was not agreed on', () => {
    open({ scripted: 'server', without: ['close'] });
    const { sink } = pair.call();
    pair.flow();
    pair.links.toClient.inject([203, 4, { target: '/_event/CLOSE', last_id: 0 }, 'bye']);
    pair.flow();
    expect(sink.fault.sent).toBe('unknown');
  });

  it.each([['3'], [-1], [1.5], [2 ** 32], [null], [Infinity]])('of %p says nothing', (value) => {
    open({ scripted: 'server' });
    const { sink } = pair.call();
    pair.flow();
    pair.links.toClient.inject([203, 4, { target: '/_event/CLOSE', last_id: value }, 'bye']);
    pair.flow();
    expect(sink.fault.sent).toBe('unknown');
  });
});
