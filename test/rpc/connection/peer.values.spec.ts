import { PeerPair, RecordingSink, requestOf } from '../../helpers/peer-pair.js';

/** A body that is sound msgpack, and whose extension makes no value: a RegExp that does not compile. */
const BROKEN = Buffer.from('d60692a128a0', 'hex');
const frame = (head: string): Buffer => Buffer.concat([Buffer.from(head, 'hex'), BROKEN]);

let pair: PeerPair;
beforeEach(() => {
  pair = new PeerPair();
  pair.open();
});

function call(): RecordingSink {
  const sink = new RecordingSink();
  pair.client.call(requestOf('fine'), sink);
  pair.links.flow();
  return sink;
}

/** A call that is answered by a frame of type 102 with this header. */
function answeredBy(header: string): RecordingSink {
  const sink = call();
  const id = Buffer.from([pair.serverOwner.call().id]).toString('hex');
  pair.links.toClient.inject(frame(`9466${id}${header}`));
  pair.links.flow();
  return sink;
}

describe('a body that no value can be made of', () => {
  it('fails the call that it belongs to, at the server, and nothing else', () => {
    const running = call();
    // [101, 99, {target: "x"}, ...]
    pair.links.toServer.inject(frame('94656381a6746172676574a178'));
    pair.links.flow();
    expect(pair.links.toClient.frames.at(-1)).toEqual([
      101,
      99,
      expect.objectContaining({ status_code: 1002 }),
      expect.stringContaining('the body cannot be read: a RegExp that is none'),
    ]);
    pair.serverOwner.call().reply('answer');
    pair.links.flow();
    expect(running.outcome).toBe('answer');
  });

  it('fails the call that it answers, at the client, and nothing else', () => {
    const broken = call();
    const running = call();
    const [first, second] = pair.serverOwner.calls;
    pair.links.toClient.inject(frame(`9465${Buffer.from([first?.id ?? 0]).toString('hex')}80`));
    second?.reply('answer');
    pair.links.flow();
    expect(broken.fault.message).toContain('the body cannot be read');
    expect(running.outcome).toBe('answer');
  });

  it.each([
    ['MSG', 'a34d5347', ['the body cannot be read: a RegExp that is none', 1]],
    ['DROP', 'a444524f50', ['/default/x yields several values', 0]],
  ])('in %s fails the call that a stream would answer', (_lifeCycle, encoded, [text, drops]) => {
    const { fault } = answeredBy(`81b26368616e6e656c5f6c6966655f6379636c65${encoded}`);
    expect(fault.message).toContain(text);
    const sent = pair.links.toServer.frames.filter(([type]) => type === 102);
    expect(sent).toHaveLength(drops as number);
  });

  it('ends the channel that it came over', async () => {
    const channel = pair.client.openChannel(requestOf({}));
    pair.links.flow();
    const served = pair.serverOwner.channels[0]?.channel;
    // [102, id, {channel_life_cycle: "MSG"}, ...]
    const id = Buffer.from([channel.id]).toString('hex');
    pair.links.toServer.inject(frame(`9466${id}81b26368616e6e656c5f6c6966655f6379636c65a34d5347`));
    pair.links.flow();
    expect(served?.fault?.message).toContain('the body cannot be read');
    expect(channel.fault?.message).toContain('the body cannot be read');
    await expect(channel.read()).rejects.toThrow('the body cannot be read');
  });
});
