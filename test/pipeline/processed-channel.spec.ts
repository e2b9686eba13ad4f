import type { RapProcessor } from '../../lib/index.js';
import { Fault } from '../../lib/protocol/fault.js';
import { Gate, rejection } from '../helpers/async.js';
import {
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
