import { Fault } from '../../../lib/protocol/fault.js';
import type { Frame } from '../../../lib/protocol/frame.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import { channelFrames, ChannelPair, type ChannelPairOptions } from '../../helpers/channel/channel-pair.js';
import { RecordingSink, requestOf } from '../../helpers/peer-pair.js';

let pair: ChannelPair;

function open(options?: ChannelPairOptions): ChannelPair {
  pair = new ChannelPair(options).open();
  return pair;
}

afterEach(() => pair.end());

/** `[102, 5, {channel_life_cycle: "DROP", status_code: 301}, ["ValueError", "gen boom"]]`, as a peer sent it. */
const ERROR_FIRST = Buffer.from(
  '94660582b26368616e6e656c5f6c6966655f6379636c65a444524f50' +
    'ab7374617475735f636f6465cd012d92aa56616c75654572726f72a867656e20626f6f6d',
  'hex',
);
const DROP: Frame = [102, 5, { channel_life_cycle: 'DROP' }, null];
const boom = (): Fault => new Fault({ status: 301, message: 'boom', remoteName: 'ValueError' });

/** A caller that takes a stream as well. */
class StreamSink extends RecordingSink {
  readonly streams: Channel[] = [];

  stream(channel: Channel): void {
    this.streams.push(channel);
  }
}

describe('an error as the first frame of a stream', () => {
  it.each([['one value', RecordingSink] as const, ['a stream, too', StreamSink] as const])(
    'is the answer to a caller that wanted %s',
    (_what, Sink) => {
      open({ scripted: 'server' });
      const sink = new Sink();
      const before = pair.client.call(requestOf(), new RecordingSink()).id;
      const { id } = pair.client.call(requestOf(), sink);
      pair.flow();
      expect([before, id]).toEqual([3 + 2, 7]);
      const bytes = Buffer.from(ERROR_FIRST);
      bytes[2] = id;
      pair.links.toClient.inject(bytes);
      pair.flow();
      expect(sink.fault).toMatchObject({ status: 301, remoteName: 'ValueError', message: 'gen boom' });
      expect(sink instanceof StreamSink && sink.streams).toEqual(sink instanceof StreamSink && []);
      expect(channelFrames(pair.links.toServer)).toEqual([]);
    },
  );

  it('is a 101 where a server of this project sends it', () => {
    open();
    const { sink, call } = pair.call();
    pair.flow();
    const incoming = pair.serverOwner.call();
    const stream = incoming.turnIntoStream();
    incoming.fail(boom(), 'InvokeError');
    incoming.ended();
    pair.flow();
    expect(stream?.isClosed).toBe(true);
    expect(sink.fault).toMatchObject({ status: 301, remoteName: 'ValueError', message: 'boom' });
    expect(channelFrames(pair.links.toClient)).toEqual([]);
    expect(pair.links.toClient.frames.filter(([type, id]) => type === 101 && id === call.id)).toHaveLength(1);
    expect([pair.server.channels.size, pair.server.incoming.size, pair.client.channels.size]).toEqual([
      0, 0, 0,
    ]);
  });

  it('stays a DROP once a message has gone, also one that waits for room', () => {
    open();
    const sink = new StreamSink();
    pair.client.call(requestOf(), sink);
    pair.flow();
    const incoming = pair.serverOwner.call();
    void incoming.turnIntoStream()?.write(1);
    incoming.fail(boom(), 'InvokeError');
    incoming.ended();
    pair.flow();
    expect(channelFrames(pair.links.toClient).map(([header]) => header)).toMatchObject([
      { channel_life_cycle: 'MSG' },
      { channel_life_cycle: 'DROP', status_code: 301 },
    ]);
    expect(sink.streams[0]?.fault).toMatchObject({ message: 'boom' });
  });
});

describe('DROP as the first frame of a stream', () => {
  it('is not answered with DROP: the caller of one value is told that there are none', () => {
    open({ scripted: 'server' });
    pair.call();
    const { sink, call } = pair.call();
    pair.flow();
    pair.links.toClient.inject([102, call.id, DROP[2], null]);
    pair.flow();
    expect(sink.fault).toMatchObject({ status: 1008 });
    expect(channelFrames(pair.links.toServer)).toEqual([]);
    // and the id is free: what else comes under it is nobody's
    pair.links.toClient.inject([102, call.id, { channel_life_cycle: 'MSG' }, 1]);
    pair.flow();
    expect(channelFrames(pair.links.toServer)).toEqual([[{ status_code: 1008 }, 'channel not create']]);
  });
});

describe('the time of a stream', () => {
  it('ends with 1005 before its first message and after it', () => {
    open();
    const faults = [false, true].map((isBegun) => {
      const sink = new StreamSink();
      pair.client.call(requestOf(), sink);
      pair.flow();
      const incoming = pair.serverOwner.call();
      const stream = incoming.turnIntoStream();
      if (isBegun) void stream?.write(1);
      incoming.limitRun(500);
      pair.pass(500);
      incoming.ended();
      return isBegun ? sink.streams[0]?.fault : sink.fault;
    });
    const { client, incoming } = pair.connect();
    incoming.limitRun(500);
    pair.pass(500);
    for (const fault of [...faults, client.fault]) {
      expect(fault).toMatchObject({ status: 1005, message: 'the deadline of the channel is over' });
    }
  });

  it('of a call that has not become one ends with the words of a call', () => {
    open();
    const { sink } = pair.call();
    pair.flow();
    pair.serverOwner.call().limitRun(500);
    pair.pass(500);
    expect(sink.fault).toMatchObject({ status: 301, remoteName: 'RpcRunTimeError' });
  });
});

describe('a frame that starts something and carries an error', () => {
  it.each([
    ['a DECLARE', [102, 5, { channel_life_cycle: 'DECLARE', target: '/default/x', status_code: 500 }, {}]],
    ['a call', [101, 5, { target: '/default/x', status_code: 500 }, {}]],
  ] as [string, Frame][])('starts nothing and is not answered: %s', (_what, frame) => {
    open({ scripted: 'client' });
    const before = pair.links.toClient.frames.length;
    pair.links.toServer.inject(frame);
    pair.flow();
    expect([pair.serverOwner.calls.length, pair.serverOwner.channels.length]).toEqual([0, 0]);
    expect(pair.links.toClient.frames.slice(before)).toEqual([]);
    expect(pair.server.state).toBe('open');
  });

  it('does not open a connection', () => {
    pair = new ChannelPair({ scripted: 'client' });
    pair.server.start();
    pair.links.toServer.inject([103, 3, { target: '/_event/DECLARE', status_code: 500 }, {}]);
    pair.flow();
    expect(pair.serverOwner.events).toEqual(['close']);
    expect(pair.links.toClient.to('/_event/CLOSE')).toMatchObject([
      [203, 4, {}, 'the first frame must be DECLARE'],
    ]);
    pair.client.start();
  });
});

describe('END', () => {
  it('is a violation where it was not agreed', () => {
    open({ without: ['half_close'] });
    const { client, server } = pair.connect();
    pair.links.toServer.inject([102, client.id, { channel_life_cycle: 'END' }, null]);
    pair.flow();
    const wrong = { status: 1008, message: 'half-closed channels were not agreed' };
    expect([client.fault, server.fault]).toMatchObject([wrong, wrong]);
  });
});

it('a second DECLARE on a live channel ends it with 1008, and only it', () => {
  open();
  const first = pair.connect();
  const other = pair.connect();
  pair.links.toServer.inject([
    102,
    first.client.id,
    { channel_life_cycle: 'DECLARE', target: '/default/x' },
    {},
  ]);
  pair.flow();
  expect(first.client.fault).toMatchObject({ status: 1008, message: 'a second DECLARE' });
  expect([pair.serverOwner.channels.length, other.server.state, pair.server.state]).toEqual([
    2,
    'open',
    'open',
  ]);
});

it.each([
  [5.0, undefined],
  [1.5, 'credit must be a positive integer'],
  [0, 'credit must be a positive integer'],
  [-1, 'credit must be a positive integer'],
  ['5', 'credit must be a positive integer'],
  [Number.NaN, 'credit must be a positive integer'],
  [null, 'credit must be a positive integer'],
  [2 ** 40, 'too much credit'],
  [2n ** 60n, 'credit must be a positive integer'],
])('credit of %p', (credit, wrong) => {
  open();
  const { client, server } = pair.connect();
  // a whole number is one in whichever form it travels: here as float 64
  const float = Buffer.alloc(9, 0xcb);
  float.writeDoubleBE(5, 1);
  const head = Buffer.from(
    `9466${client.id.toString(16).padStart(2, '0')}81b26368616e6e656c5f6c6966655f6379636c65a6435245444954`,
    'hex',
  );
  pair.links.toServer.inject(
    credit === 5 ? Buffer.concat([head, float]) : [102, client.id, { channel_life_cycle: 'CREDIT' }, credit],
  );
  pair.flow();
  expect(server.fault?.message).toBe(wrong);
});

describe('the id of a one-way call', () => {
  const event: Frame = [101, 5, { target: '/default/x', one_way: true }, null];

  it('is in use at the server until its handler has ended, and free after that', () => {
    open();
    pair.links.toServer.inject(event);
    pair.flow();
    pair.serverOwner.call().ended();
    pair.links.toServer.inject(event);
    pair.flow();
    expect([pair.serverOwner.calls.length, pair.server.state]).toEqual([2, 'open']);
    pair.links.toServer.inject(event);
    pair.flow();
    expect([pair.serverOwner.calls.length, pair.server.state]).toEqual([2, 'closed']);
    expect(pair.links.toClient.to('/_event/CLOSE')[0]?.[3]).toBe('correlation id 5 is in use');
  });
});

describe('an answer under another id', () => {
  it.each([
    ['of a call that was never made', [101, 9, {}, 'x']],
    ['of a call, as an event', [103, 5, {}, 'x']],
    ['of an event', [101, 3, {}, 'x']],
    ['of a call, with an error', [101, 9, { status_code: 500 }, 'x']],
    ['of a channel, with an error', [102, 9, { status_code: 500 }, 'x']],
  ] as [string, Frame][])('is ignored: %s', (_what, frame) => {
    open({ scripted: 'server' });
    const { sink, call } = pair.call();
    pair.flow();
    const before = pair.links.toServer.frames.length;
    pair.links.toClient.inject(frame);
    pair.flow();
    expect([call.id, sink.settled, pair.client.state]).toEqual([5, false, 'open']);
    expect(pair.links.toServer.frames.length).toBe(before);
  });
});
