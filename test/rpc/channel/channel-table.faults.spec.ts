import { Fault } from '../../../lib/protocol/fault.js';
import type { Frame } from '../../../lib/protocol/frame.js';
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

/** A frame of a channel. */
const step = (id: number, lifeCycle: unknown, body: unknown = null, header: object = {}): Frame => [
  102,
  id,
  { ...header, channel_life_cycle: lifeCycle as string },
  body,
];

/** Frames of channels that answer what a side injects. */
function answersTo(side: 'client' | 'server', ...frames: Frame[]): unknown[] {
  const { toServer, toClient } = pair.links;
  const [there, back] = side === 'client' ? [toServer, toClient] : [toClient, toServer];
  const before = channelFrames(back).length;
  there.inject(...frames);
  pair.flow();
  return channelFrames(back)
    .slice(before)
    .map(([header, body]) => [header, body]);
}

const NOT_THERE = [{ status_code: 1008 }, 'channel not create'];

const closeReasons = (): unknown[] => pair.links.toClient.to('/_event/CLOSE').map(([, , , body]) => body);

describe('a frame for a channel that does not exist', () => {
  it.each(['MSG', 'DROP', 'CREDIT', 'END', '', 'DESTROY', undefined, 7, null, {}])(
    'is answered with 1008: %p to the server',
    (lifeCycle) => {
      open();
      expect(answersTo('client', step(77, lifeCycle))).toEqual([NOT_THERE]);
      expect(pair.server.state).toBe('open');
    },
  );

  it.each(['DECLARE', 'MSG', 'DROP', 'CREDIT', 'END', ''])(
    'is answered with 1008: %p to the client',
    (lifeCycle) => {
      open();
      expect(answersTo('server', step(77, lifeCycle), step(78, lifeCycle))).toEqual([NOT_THERE, NOT_THERE]);
      expect(pair.client.state).toBe('open');
      expect(pair.client.channels.size).toBe(0);
    },
  );

  it('is not answered where it is an error: two peers would answer each other without end', () => {
    open();
    for (const status of [301, 400, 1008, 10081]) {
      for (const lifeCycle of ['DROP', 'MSG', undefined]) {
        const frame = step(77, lifeCycle, 'channel not create', { status_code: status });
        expect([answersTo('client', frame), answersTo('server', frame)]).toEqual([[], []]);
      }
    }
  });

  it('does no harm to the channels that do', () => {
    open();
    const { client, server } = pair.connect();
    void client.write('one');
    answersTo('client', step(77, 'MSG', 'stray'), step(77, 'DROP'));
    answersTo('server', step(78, 'MSG', 'stray'), step(78, 'DROP'));
    void client.write('two');
    pair.flow();
    expect(readable(server)).toEqual(['one', 'two']);
    expect([client.state, server.state]).toEqual(['open', 'open']);
  });

  it('closes the connection when there are too many of them', () => {
    open();
    const flood = Array.from({ length: 100 }, (_, i) => step(1001 + 2 * i, 'MSG'));
    expect(answersTo('client', ...flood)).toHaveLength(100);
    expect(pair.server.state).toBe('open');
    answersTo('client', step(999, 'MSG'));
    expect([pair.server.state, closeReasons()]).toEqual(['closed', ['excessive rejected frames']]);
  });

  it('closes the connection of a client as well', () => {
    open();
    const flood = Array.from({ length: 101 }, (_, i) => step(1001 + 2 * i, 'MSG'));
    expect(answersTo('server', ...flood)).toHaveLength(100);
    expect(pair.client.state).toBe('closed');
  });

  it('is allowed now and then for ever', () => {
    open({ clientKeepAlive: { intervalMs: 0 }, keepAlive: { intervalMs: 0 } });
    for (let i = 0; i < 300; i++) {
      expect(answersTo('client', step(1001 + 2 * i, 'DROP'))).toHaveLength(1);
      pair.pass(1000);
    }
    expect(pair.server.state).toBe('open');
  });
});

describe('what comes late', () => {
  it('for a channel that this side has closed is ignored, up to DROP', () => {
    for (const side of ['client', 'server'] as const) {
      open();
      const ends = pair.connect();
      const { id } = ends.client;
      const [own, peer] = side === 'client' ? [ends.client, ends.server] : [ends.server, ends.client];
      const wire = side === 'client' ? pair.links.toServer : pair.links.toClient;
      wire.hold();
      own.close();
      void peer.write('crosses');
      void peer.end().catch(() => {});
      pair.flow();
      const other = side === 'client' ? 'server' : 'client';
      expect(answersTo(other, step(id, 'MSG', 1), step(id, 'CREDIT', 1), step(id, 'DROP'))).toEqual([]);
      // now the peer has ended it too: what follows makes no sense
      expect(answersTo(other, step(id, 'MSG', 2))).toEqual([NOT_THERE]);
      expect(answersTo(other, step(id, 'DROP'))).toEqual([NOT_THERE]);
      wire.release();
      pair.flow();
      pair.end();
    }
    open();
  });

  it('is nothing where both close at once', () => {
    open();
    const { client, server } = pair.connect();
    client.close();
    server.close();
    pair.flow();
    expect(channelFrames(pair.links.toServer).map(([header]) => header)).toEqual([
      expect.objectContaining({ channel_life_cycle: 'DECLARE' }),
      { channel_life_cycle: 'DROP' },
    ]);
    expect(channelFrames(pair.links.toClient).map(([header]) => header)).toEqual([
      { channel_life_cycle: 'DECLARE' },
      { channel_life_cycle: 'DROP' },
    ]);
    expect([client.closedByPeer, server.closedByPeer]).toEqual([false, false]);
  });

  it('is nothing where both close at once with an error', () => {
    open();
    const { client, server, incoming } = pair.connect();
    client.violated(fault());
    incoming.fail(fault(), 'ServerError');
    pair.flow();
    expect([client.state, server.state]).toEqual(['closed', 'closed']);
    expect([channelFrames(pair.links.toServer).length, channelFrames(pair.links.toClient).length]).toEqual([
      2, 2,
    ]);
  });

  it('for a channel that the peer has ended is answered with 1008', () => {
    open();
    const { client } = pair.connect();
    expect(answersTo('client', step(client.id, 'DROP'))).toEqual([]);
    expect(answersTo('client', step(client.id, 'MSG', 1), step(client.id, 'DROP'))).toEqual([
      NOT_THERE,
      NOT_THERE,
    ]);
    // our own client thinks the channel open: for it the first of these answers is the end
    expect(client.fault).toMatchObject({ status: 1008, message: 'channel not create' });
  });

  it('for a channel that both have ended is not held against those who read on', async () => {
    open();
    const { client, server } = pair.connect();
    pair.links.toServer.hold();
    await client.end();
    await server.write('x'.repeat(200_000));
    await server.end();
    pair.flow();
    readable(client);
    pair.links.toServer.release();
    pair.flow();
    expect([client.state, server.state, client.fault, server.fault]).toEqual([
      'closed',
      'closed',
      undefined,
      undefined,
    ]);
    expect(pair.links.toServer.frames.concat(pair.links.toClient.frames)).not.toContainEqual(
      expect.arrayContaining([expect.objectContaining({ status_code: 1008 })]),
    );
  });

  it('is remembered of the last 4096 channels', () => {
    open({ limits: { maxChannels: 10_000, maxInFlightTotal: 100_000 } });
    pair.links.toServer.lose();
    const ids = Array.from({ length: 4097 }, () => {
      const channel = pair.client.openChannel(requestOf());
      channel.close();
      return channel.id;
    });
    pair.flow();
    pair.links.toServer.release();
    const [oldest, second] = ids as [number, number];
    expect(answersTo('server', step(second, 'MSG', 1), step(ids.at(-1) ?? 0, 'MSG', 1))).toEqual([]);
    expect(answersTo('server', step(oldest, 'MSG', 1))).toEqual([NOT_THERE]);
  });

  it('counts against nobody who uses an id anew', () => {
    open();
    const frames = [step(11, 'DECLARE', {}, { target: '/default/x' }), step(11, 'MSG', 'hello')];
    answersTo('client', ...frames);
    const [first] = pair.serverOwner.channels;
    first?.close();
    first?.ended();
    expect(answersTo('client', step(11, 'MSG', 'late'))).toEqual([]);
    answersTo('client', ...frames);
    expect(pair.serverOwner.channels).toHaveLength(2);
    expect(pair.serverOwner.channels.map(({ channel }) => readable(channel))).toEqual([[], ['hello']]);
    answersTo('client', step(11, 'DROP'));
  });
});

describe('a frame that the life of its channel does not allow', () => {
  it.each([
    ['a second DECLARE', [step(11, 'DECLARE', {}, { target: '/default/x' })], 'a second DECLARE'],
    ['an unknown life cycle', [step(11, 'LIVE')], 'unknown life cycle'],
    ['no life cycle', [step(11, undefined)], 'unknown life cycle'],
    ['a message after END', [step(11, 'END'), step(11, 'MSG', 1)], 'the peer has ended its side'],
    ['END after END', [step(11, 'END'), step(11, 'END')], 'the peer has ended its side'],
    ['no credit at all', [step(11, 'CREDIT', 0)], 'credit must be a positive integer'],
    ['negative credit', [step(11, 'CREDIT', -5)], 'credit must be a positive integer'],
    ['half a byte of credit', [step(11, 'CREDIT', 0.5)], 'credit must be a positive integer'],
    ['credit beyond all windows', [step(11, 'CREDIT', 2 ** 40)], 'too much credit'],
    ['credit beyond all numbers', [step(11, 'CREDIT', 2n ** 63n)], 'credit must be a positive integer'],
    ['credit in words', [step(11, 'CREDIT', 'plenty')], 'credit must be a positive integer'],
    ['nothing for credit', [step(11, 'CREDIT')], 'credit must be a positive integer'],
  ])('ends it with 1008 on both sides, and no other: %s', async (_, frames, message) => {
    open();
    const other = pair.connect();
    answersTo('client', step(11, 'DECLARE', {}, { target: '/default/x' }));
    const incoming = pair.serverOwner.channels.at(-1);
    if (!incoming) throw new Error('no channel came in');
    const { signal } = incoming;
    expect(answersTo('client', ...frames)).toEqual([
      [
        {
          channel_life_cycle: 'DROP',
          status_code: 1008,
          error: { name: 'ChannelError', code: 'ERR_RAP_CHANNEL' },
        },
        message,
      ],
    ]);
    expect(incoming.channel.fault).toMatchObject({ status: 1008, message });
    expect([signal.aborted, signal.reason]).toEqual([true, incoming.channel.fault]);
    await expect(incoming.channel.read()).rejects.toMatchObject({ status: 1008, message });
    // what was on its way
    expect(answersTo('client', step(11, 'MSG', 1), step(11, 'DROP'))).toEqual([]);
    expect([pair.server.state, other.client.state, other.server.state]).toEqual(['open', 'open', 'open']);
  });

  it('ends it at a client as well', async () => {
    for (const [frame, message] of [
      [(id: number) => step(id, 'MSG', 1), 'not declared yet'],
      [(id: number) => step(id, 'END'), 'not declared yet'],
      [(id: number) => step(id, 'CREDIT', 1), 'not declared yet'],
    ] as const) {
      open();
      const { client, server } = pair.declare();
      const read = outcomeOf(client.read());
      expect(answersTo('server', frame(client.id))).toHaveLength(1);
      await settled();
      expect(read.error).toMatchObject({ status: 1008, message });
      expect(server.fault).toMatchObject({ status: 1008, message });
      pair.end();
    }
    open();
  });

  it('ends it where credit comes that was not agreed', () => {
    open({ without: ['credit'] });
    const { client, server } = pair.connect();
    answersTo('client', step(client.id, 'CREDIT', 100));
    expect(server.fault).toMatchObject({ status: 1008, message: 'credits were not agreed' });
    expect(client.fault).toMatchObject({ status: 1008, message: 'credits were not agreed' });
  });

  it('ends it where more comes than there was credit for', () => {
    open({ limits: { channelWindowBytes: 1000 } });
    const { client, server } = pair.connect();
    const large = (): Frame => step(client.id, 'MSG', 'm'.repeat(600));
    expect(answersTo('client', large(), large())).toEqual([]);
    expect(answersTo('client', large())).toHaveLength(1);
    expect(server.fault).toMatchObject({ status: 1008, message: 'more bytes than it had credit for' });
    expect(readable(server)).toHaveLength(2);
  });

  it('closes the connection where DECLARE uses the id of something that runs', () => {
    for (const what of ['a call', 'a handler whose channel is over']) {
      open();
      if (what === 'a call') pair.links.toServer.inject([101, 11, { target: '/default/x' }, null]);
      else answersTo('client', step(11, 'DECLARE', {}, { target: '/default/x' }), step(11, 'DROP'));
      answersTo('client', step(11, 'DECLARE', {}, { target: '/default/x' }));
      expect([what, pair.server.state, closeReasons()]).toEqual([
        what,
        'closed',
        ['correlation id 11 is in use'],
      ]);
      pair.end();
    }
    open();
  });
});

describe('an error for a channel that is open', () => {
  it.each([
    ['without a life cycle, as a Python server sends it', undefined],
    ['with DROP', 'DROP'],
    ['with MSG', 'MSG'],
  ])('is its end: %s', async (_, lifeCycle) => {
    open();
    const { client } = pair.connect();
    const read = outcomeOf(client.read());
    const frame = step(client.id, lifeCycle, 'channel not create', { status_code: 1008 });
    expect(answersTo('server', frame)).toEqual([]);
    await settled();
    expect(read.error).toMatchObject({ status: 1008, message: 'channel not create' });
    expect([client.isClosed, client.closedByPeer, pair.client.channels.size]).toEqual([true, true, 0]);
  });

  it('tells the handler of the server, too', () => {
    open();
    const { client, incoming } = pair.connect();
    const { signal } = incoming;
    answersTo('client', step(client.id, 'DROP', ['ValueError', 'bad line'], { status_code: 301 }));
    expect(signal.reason).toMatchObject({ status: 301, remoteName: 'ValueError', message: 'bad line' });
  });

  it('leaves what came before it to be read', async () => {
    open();
    const { client } = pair.connect();
    answersTo(
      'server',
      step(client.id, 'MSG', 'last'),
      step(client.id, 'DROP', 'no more', { status_code: 500 }),
    );
    expect((await client.read())?.body).toBe('last');
    await expect(client.read()).rejects.toMatchObject({ status: 500, message: 'no more' });
  });
});

function fault(): Fault {
  return new Fault({ status: 500, message: 'broken' });
}
