import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import type { IncomingCall } from '../../../lib/rpc/server/incoming-call.js';
import type { PendingCall } from '../../../lib/rpc/client/pending-call.js';
import {
  channelFrames,
  ChannelPair,
  readable,
  type ChannelPairOptions,
} from '../../helpers/channel/channel-pair.js';
import { outcomeOf, settled } from '../../helpers/outcome.js';
import { RecordingSink, requestOf } from '../../helpers/peer-pair.js';

let pair: ChannelPair;

function open(options?: ChannelPairOptions): ChannelPair {
  pair = new ChannelPair(options).open();
  return pair;
}

afterEach(() => pair.end());

/** A caller that takes a stream as well. */
class StreamSink extends RecordingSink {
  readonly streams: Channel[] = [];

  stream(channel: Channel): void {
    this.streams.push(channel);
  }

  /** The only stream. */
  get channel(): Channel {
    const [channel] = this.streams;
    if (!channel || this.streams.length > 1) throw new Error(`${this.streams.length} streams instead of one`);
    return channel;
  }
}

interface Exchange {
  readonly sink: StreamSink;
  readonly call: PendingCall;
  readonly incoming: IncomingCall;
}

/** A call of a caller that takes streams. */
function ask(timeoutMs = 10_000): Exchange {
  const sink = new StreamSink();
  const call = pair.client.call(requestOf(null, { timeoutMs }), sink);
  pair.flow();
  return { sink, call, incoming: pair.serverOwner.call() };
}

/** Turns a call into a stream. */
function turn(incoming: IncomingCall): Channel {
  const stream = incoming.turnIntoStream();
  if (!stream) throw new Error('the call became no stream');
  return stream;
}

const tables = (): object => ({
  calls: [pair.client.calls.inFlight, pair.server.incoming.size],
  channels: [pair.client.channels.size, pair.server.channels.size],
});
const EMPTY = { calls: [0, 0], channels: [0, 0] };

describe('a call that is answered with a stream', () => {
  it('goes on as a channel under its id, without DECLARE, to the DROP of the server', async () => {
    open();
    const { sink, call, incoming } = ask();
    const stream = turn(incoming);
    expect(incoming.turnIntoStream()).toBe(stream);
    for (const item of [1, 2, 3]) void stream.write(item);
    pair.flow();
    expect([sink.channel.state, sink.channel.id, sink.outcomes]).toEqual(['open', call.id, []]);
    expect(readable(sink.channel)).toEqual([1, 2, 3]);
    stream.close();
    incoming.ended();
    pair.flow();
    expect(await sink.channel.read()).toBeUndefined();
    expect(channelFrames(pair.links.toClient)).toEqual([
      [{ channel_life_cycle: 'MSG' }, 1],
      [{ channel_life_cycle: 'MSG' }, 2],
      [{ channel_life_cycle: 'MSG' }, 3],
      [{ channel_life_cycle: 'DROP' }, null],
    ]);
    expect(channelFrames(pair.links.toServer)).toEqual([]);
    expect(tables()).toEqual(EMPTY);
  });

  it('is a stream also where it has no value', async () => {
    open();
    const { sink, incoming } = ask();
    turn(incoming).close();
    incoming.ended();
    pair.flow();
    expect([sink.channel.isClosed, await sink.channel.read(), sink.outcomes]).toEqual([true, undefined, []]);
    expect(channelFrames(pair.links.toServer)).toEqual([]);
    expect(tables()).toEqual(EMPTY);
  });

  it('has no time limit of the caller any more', () => {
    open();
    const { sink, incoming } = ask(1000);
    void turn(incoming).write(1);
    pair.flow();
    pair.pass(5000);
    expect([sink.channel.state, sink.outcomes]).toEqual(['open', []]);
  });

  it('ends with the error of the handler', async () => {
    open();
    const { sink, incoming } = ask();
    void turn(incoming).write(1);
    incoming.fail(new Fault({ status: 301, message: 'boom', remoteName: 'ValueError' }), 'InvokeError');
    incoming.ended();
    pair.flow();
    expect((await sink.channel.read())?.body).toBe(1);
    await expect(sink.channel.read()).rejects.toMatchObject({ status: 301, message: 'boom' });
    expect([sink.outcomes, tables()]).toEqual([[], EMPTY]);
  });

  it('ends with the run timeout, whose words are those of a channel', async () => {
    open();
    const { sink, incoming } = ask();
    void turn(incoming).write(1);
    incoming.limitRun(500);
    const { signal } = incoming;
    pair.pass(500);
    expect(signal.aborted).toBe(true);
    await sink.channel.read();
    await expect(sink.channel.read()).rejects.toMatchObject({
      status: 1005,
      message: 'the deadline of the channel is over',
    });
    expect(pair.server.incoming.size).toBe(1);
    incoming.ended();
    expect(tables()).toEqual(EMPTY);
  });

  it('is left by the caller: the handler is told, and nothing more is sent', async () => {
    open();
    const { sink, incoming } = ask();
    const stream = turn(incoming);
    const { signal } = incoming;
    void stream.write(1);
    pair.flow();
    sink.channel.close();
    pair.flow();
    expect([signal.aborted, incoming.settled, stream.closedByPeer]).toEqual([true, true, true]);
    expect(signal.reason).toMatchObject({ code: LocalCode.CallCancelled });
    const before = pair.links.toClient.frames.length;
    await expect(stream.write(2)).rejects.toMatchObject({ status: 10081 });
    incoming.fail(new Fault({ status: 500, message: 'too late' }), 'ServerError');
    incoming.reply('too late');
    incoming.ended();
    expect(pair.links.toClient.frames).toHaveLength(before);
    expect(tables()).toEqual(EMPTY);
  });

  it('takes credit like any channel', () => {
    open({ limits: { channelWindowBytes: 1000 } });
    const { sink, incoming } = ask();
    const stream = turn(incoming);
    const item = 'i'.repeat(100);
    let sent = 0;
    while (stream.tryWrite(item)) sent += 1;
    expect(sent).toBeGreaterThanOrEqual(5);
    expect(sent).toBeLessThanOrEqual(10);
    pair.flow();
    expect(stream.tryWrite(item)).toBe(false);
    expect(readable(sink.channel)).toHaveLength(sent);
    pair.flow();
    expect(stream.tryWrite(item)).toBe(true);
  });

  it('goes with its connection, on both sides at once', async () => {
    open();
    const { sink, incoming } = ask();
    const stream = turn(incoming);
    void stream.write(1);
    pair.flow();
    readable(sink.channel);
    const reads = [outcomeOf(sink.channel.read()), outcomeOf(stream.read())];
    const { signal } = incoming;
    pair.links.server.destroy();
    pair.flow();
    await settled();
    expect(reads.map(({ error }) => error)).toEqual([pair.clientOwner.reason, pair.serverOwner.reason]);
    expect(signal.reason).toBe(pair.serverOwner.reason);
    incoming.ended();
    expect(tables()).toEqual(EMPTY);
  });

  it('keeps a client that drains to its end', () => {
    open();
    const { sink, incoming } = ask();
    const stream = turn(incoming);
    void stream.write(1);
    pair.flow();
    pair.client.finish();
    expect(pair.client.state).toBe('draining');
    stream.close();
    incoming.ended();
    pair.flow();
    expect([pair.client.state, readable(sink.channel)]).toEqual(['closed', [1]]);
  });
});

describe('a caller that wanted one value', () => {
  it('is told so, and tells the server, once', () => {
    open();
    const { sink } = pair.call();
    pair.flow();
    const incoming = pair.serverOwner.call();
    const { signal } = incoming;
    const stream = turn(incoming);
    for (let i = 0; i < 5; i++) void stream.write(i).catch(() => {});
    pair.flow();
    expect(sink.fault).toMatchObject({
      status: 1008,
      message: '/default/x yields several values: use stream(), not call()',
    });
    expect(channelFrames(pair.links.toServer)).toEqual([[{ channel_life_cycle: 'DROP' }, null]]);
    expect(signal.reason).toMatchObject({ code: LocalCode.CallCancelled });
    incoming.ended();
    expect(tables()).toEqual(EMPTY);
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
  });

  it('may be told when the stream is over already', () => {
    open();
    const { sink } = pair.call();
    pair.flow();
    const incoming = pair.serverOwner.call();
    const stream = turn(incoming);
    void stream.write(1);
    stream.close();
    incoming.ended();
    pair.flow();
    expect(sink.fault).toMatchObject({ status: 1008 });
    // the DROP of the client came after that of the server: nobody answers it
    expect(channelFrames(pair.links.toClient)).toHaveLength(2);
    expect(tables()).toEqual(EMPTY);
  });
});

describe('a caller that has given up', () => {
  it('crosses the turn: its cancel counts as DROP, and what was sent is ignored', async () => {
    open();
    const { sink, call, incoming } = ask();
    pair.links.toServer.hold();
    const stream = turn(incoming);
    const { signal } = incoming;
    void stream.write(1);
    call.abandon();
    pair.flow();
    void stream.write(2);
    pair.links.toServer.release();
    pair.flow();
    expect([sink.outcomes, sink.streams]).toEqual([[], []]);
    expect([stream.isClosed, stream.closedByPeer, signal.aborted]).toEqual([true, true, true]);
    await expect(stream.write(3)).rejects.toMatchObject({ status: 10081 });
    incoming.ended();
    // only DECLARE, the call and the cancel: no 1008 and no DROP
    expect(pair.links.toServer.frames.map(([type]) => type)).toEqual([103, 101, 103]);
    expect(channelFrames(pair.links.toClient)).toHaveLength(2);
    expect(tables()).toEqual(EMPTY);
  });

  it('crosses the end of the stream', () => {
    open();
    const { call, incoming } = ask();
    const stream = turn(incoming);
    void stream.write(1);
    stream.close();
    incoming.ended();
    call.abandon();
    pair.flow();
    expect(channelFrames(pair.links.toServer)).toEqual([]);
    expect(tables()).toEqual(EMPTY);
  });

  it('by time-out is the same', () => {
    open();
    const { sink, incoming } = ask(1000);
    pair.links.toClient.hold();
    const stream = turn(incoming);
    void stream.write(1);
    pair.flow();
    pair.pass(1000);
    expect(sink.fault).toMatchObject({ code: LocalCode.CallTimeout });
    pair.links.toClient.release();
    pair.flow();
    expect([sink.streams, stream.isClosed]).toEqual([[], true]);
    incoming.ended();
    expect(tables()).toEqual(EMPTY);
  });

  it('gets no answer, and its call becomes no stream after that', () => {
    open();
    const { call, incoming } = ask();
    const { signal } = incoming;
    call.abandon();
    pair.flow();
    expect([signal.aborted, incoming.settled, incoming.turnIntoStream()]).toEqual([true, true, undefined]);
    const before = pair.links.toClient.frames.length;
    incoming.reply('too late');
    incoming.fail(new Fault({ status: 500, message: 'too late' }), 'ServerError');
    expect(pair.server.incoming.size).toBe(1);
    incoming.ended();
    expect(pair.links.toClient.frames).toHaveLength(before);
    expect(tables()).toEqual(EMPTY);
  });

  it.each([[null], [{}], [{ id: '3' }], [{ id: -1 }], [{ id: 9999 }], ['id'], [7]])(
    'is not meant by a cancel with the body %p',
    (body) => {
      open();
      const { incoming } = ask();
      pair.links.toServer.inject([103, 21, { target: '/_event/cancel' }, body]);
      pair.flow();
      expect([incoming.settled, pair.server.state]).toEqual([false, 'open']);
      incoming.reply(1);
      incoming.ended();
    },
  );

  it('cannot cancel a channel by that event, which is for calls', () => {
    open();
    const { client, server } = pair.connect();
    pair.links.toServer.inject([103, 21, { target: '/_event/cancel' }, { id: client.id }]);
    pair.flow();
    expect([client.state, server.state]).toEqual(['open', 'open']);
  });

  it('of a peer without cancel says nothing, and drops the late answer', () => {
    open({ without: ['cancel'] });
    const { call, incoming } = ask();
    call.abandon();
    pair.flow();
    expect(incoming.settled).toBe(false);
    incoming.reply('late');
    incoming.ended();
    pair.flow();
    expect([pair.client.lateAnswers, tables()]).toEqual([1, EMPTY]);
  });

  it('of a peer without cancel learns of a stream that it does not want by DROP', () => {
    open({ without: ['cancel'] });
    const { sink, call, incoming } = ask();
    call.abandon();
    const stream = turn(incoming);
    void stream.write(1);
    pair.flow();
    expect([stream.isClosed, sink.streams]).toEqual([true, []]);
    incoming.ended();
    expect(tables()).toEqual(EMPTY);
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
  });
});

describe('a peer that knows no such answers', () => {
  it('gets none, and is answered once', () => {
    open({ without: ['stream_reply'] });
    const { sink, incoming } = ask();
    expect(incoming.turnIntoStream()).toBeUndefined();
    incoming.reply('one value');
    incoming.ended();
    pair.flow();
    expect([sink.outcome, tables()]).toEqual(['one value', EMPTY]);
  });

  it('answers one that comes nevertheless with 1008', () => {
    open({ without: ['stream_reply'] });
    const { sink, call, incoming } = ask();
    pair.links.toClient.inject([102, call.id, { channel_life_cycle: 'MSG' }, 1]);
    pair.flow();
    expect(channelFrames(pair.links.toServer)).toEqual([[{ status_code: 1008 }, 'channel not create']]);
    expect([sink.streams, sink.settled]).toEqual([[], false]);
    incoming.reply(1);
    incoming.ended();
  });
});

it('an event becomes no stream', () => {
  open();
  pair.emit(1);
  pair.flow();
  const event = pair.serverOwner.call();
  expect([event.oneWay, event.turnIntoStream()]).toEqual([true, undefined]);
  event.ended();
});
