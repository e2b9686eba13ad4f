import type { RapProcessor } from '../../lib/index.js';
import { Fault } from '../../lib/protocol/fault.js';
import type { Header } from '../../lib/protocol/frame.js';
import { Gate, rejection } from '../helpers/async.js';
import {
  type ChannelEnds,
  channelFrames,
  ChannelPair,
  type ChannelPairOptions,
  readable,
} from '../helpers/channel/channel-pair.js';
import { settled } from '../helpers/outcome.js';

let pair: ChannelPair;

function open(options: ChannelPairOptions): ChannelPair {
  pair = new ChannelPair(options).open();
  return pair;
}

afterEach(() => pair.end());

/** What the client has sent on channels, without the first frames. */
const sentSince = (count: number): unknown[] => channelFrames(pair.links.toServer).slice(count);

/** A processor that keeps the messages of a life cycle until its gate is open. */
class Keeping implements RapProcessor {
  readonly #gate = new Gate();
  readonly processRequest?: RapProcessor['processRequest'];
  readonly processResponse?: RapProcessor['processResponse'];

  constructor(method: 'processRequest' | 'processResponse', lifeCycle: string) {
    this[method] = (message) => (message.lifeCycle === lifeCycle ? this.#gate.opened : undefined);
  }

  async release(): Promise<void> {
    this.#gate.open();
    await settled();
    pair.flow();
  }
}

describe('both sides of a channel have ended while messages are with the processors', () => {
  it('of the server, which has ended last: they are still read, and then the end', async () => {
    const keeping = new Keeping('processRequest', 'MSG');
    const { client, server } = open({ serverProcessors: [keeping] }).connect();
    for (const body of [1, 2, 3]) void client.write(body);
    void client.end();
    pair.flow();
    await server.end();
    pair.flow();
    expect([client.state, server.state, readable(server)]).toEqual(['closed', 'closed', []]);
    const [first, ...others] = [server.read(), server.read(), server.read(), server.read()];
    await keeping.release();
    expect(await first).toMatchObject({ body: 1 });
    expect(await Promise.all(others)).toMatchObject([{ body: 2 }, { body: 3 }, undefined]);
    expect(server.fault).toBeUndefined();
  });

  it('of the client, which has ended last: they are still read, and then the end', async () => {
    const keeping = new Keeping('processResponse', 'MSG');
    const { client, server } = open({ clientProcessors: [keeping] }).connect();
    let isDone = false;
    client.whenDone(() => (isDone = true));
    void server.write(1);
    void server.end();
    pair.flow();
    await client.end();
    pair.flow();
    expect([client.state, server.state, isDone]).toEqual(['closed', 'closed', false]);
    await keeping.release();
    expect(isDone).toBe(true);
    expect(readable(client)).toEqual([1]);
    expect(await client.read()).toBeUndefined();
  });

  it('which refuse one: the reader gets their error instead of the rest', async () => {
    const keeping = new Keeping('processRequest', 'MSG');
    const refusing: RapProcessor = {
      processRequest: ({ body }) => {
        if (body === 2) throw new Fault({ status: 401, message: 'not this one' });
      },
    };
    const { client, server } = open({ serverProcessors: [keeping, refusing] }).connect();
    for (const body of [1, 2, 3]) void client.write(body);
    void client.end();
    pair.flow();
    await server.end();
    pair.flow();
    await keeping.release();
    expect(readable(server)).toEqual([1]);
    expect(await rejection(server.read())).toMatchObject({ message: 'not this one' });
  });
});

describe('the peer has ended the channel while the answer to DECLARE is with the processors', () => {
  it('the channel ends in order, with the messages that are under way', async () => {
    const answer = new Keeping('processResponse', 'DECLARE');
    const messages = new Keeping('processRequest', 'MSG');
    const { client, server, incoming } = open({ serverProcessors: [answer, messages] }).declare();
    incoming.open();
    for (const body of [1, 2]) void client.write(body);
    client.close();
    pair.flow();
    expect([server.isClosed, server.fault]).toEqual([true, undefined]);
    const [first, ...others] = [server.read(), server.read(), server.read()];
    await answer.release();
    await messages.release();
    expect(server.fault).toBeUndefined();
    expect(await first).toMatchObject({ body: 1 });
    expect(await Promise.all(others)).toMatchObject([{ body: 2 }, undefined]);
    expect(channelFrames(pair.links.toClient)).toEqual([]);
  });

  it('with an error: that error is its fault, behind the messages', async () => {
    const answer = new Keeping('processResponse', 'DECLARE');
    const messages = new Keeping('processRequest', 'MSG');
    const { client, server, incoming } = open({ serverProcessors: [answer, messages] }).declare();
    incoming.open();
    void client.write(1);
    client.close(new Fault({ status: 500, message: 'enough' }), 'ServerError');
    pair.flow();
    await answer.release();
    await messages.release();
    expect(readable(server)).toEqual([1]);
    expect(await rejection(server.read())).toMatchObject({ message: 'enough' });
  });
});

describe('a client whose processors work on the error that ends its channel', () => {
  const enough = new Fault({ status: 500, message: 'enough' });
  let error: Keeping;

  function connect(...others: readonly RapProcessor[]): ChannelEnds {
    error = new Keeping('processResponse', 'DROP');
    const clientProcessors = [error, ...others];
    return open({ clientProcessors, limits: { channelWindowBytes: 10 } }).connect();
  }

  /** The server ends the channel with an error. Returns how much the client has sent by then. */
  function fail({ server }: ChannelEnds): number {
    server.close(enough, 'ServerError');
    pair.flow();
    return channelFrames(pair.links.toServer).length;
  }

  it('sends neither messages nor END nor credit: they fail with that error', async () => {
    const ends = connect();
    const { client, server } = ends;
    void server.write('longer than the window');
    const count = fail(ends);
    expect(readable(client)).toEqual(['longer than the window']);
    expect(client.tryWrite(1)).toBe(false);
    const [write, end] = [rejection(client.write(1)), rejection(client.end())];
    await settled();
    expect([sentSince(count), client.isClosed]).toEqual([[], false]);
    await error.release();
    expect(client.fault).toMatchObject({ message: 'enough' });
    expect([await write, await end]).toEqual([client.fault, client.fault]);
    expect(sentSince(count)).toEqual([]);
  });

  it.each(['succeed', 'fail'])(
    'lets messages fail with that error which %s in the processors',
    async (how) => {
      const messages = new Keeping('processRequest', 'MSG');
      const refusing: RapProcessor = {
        processRequest: ({ lifeCycle }) => {
          if (lifeCycle === 'MSG' && how === 'fail')
            throw new Fault({ status: 401, message: 'not this one' });
        },
      };
      const ends = connect(messages, refusing);
      const { client } = ends;
      const write = rejection(client.write(1));
      const count = fail(ends);
      await messages.release();
      expect([sentSince(count), client.isClosed]).toEqual([[], false]);
      await error.release();
      expect(client.fault).toMatchObject({ message: 'enough' });
      expect(await write).toBe(client.fault);
      expect(sentSince(count)).toEqual([]);
    },
  );

  it.each(['close', 'cancel'] as const)('may %s it, and the peer hears nothing of that', async (how) => {
    const ends = connect();
    const count = fail(ends);
    ends.client[how]();
    expect([ends.client.isClosed, ends.client.fault]).toEqual([true, undefined]);
    await error.release();
    expect([ends.client.fault, sentSince(count)]).toEqual([undefined, []]);
  });
});

describe('credit that waits for the answer to DECLARE in the processors', () => {
  it.each([
    ['is given behind the answer', false, ['DECLARE', 'CREDIT']],
    ['is not given if the peer has ended its side', true, ['DECLARE']],
  ] as const)('%s', async (_what, ends, sent) => {
    const answer = new Keeping('processResponse', 'DECLARE');
    const limits = { channelWindowBytes: 10 };
    const { client, server, incoming } = open({ serverProcessors: [answer], limits }).declare();
    incoming.open();
    void client.write('longer than the window');
    pair.flow();
    expect(readable(server)).toEqual(['longer than the window']);
    if (ends) void client.end();
    pair.flow();
    await answer.release();
    const frames = channelFrames(pair.links.toClient);
    expect(frames.map(([header]) => (header as Header).channel_life_cycle)).toEqual(sent);
  });
});
