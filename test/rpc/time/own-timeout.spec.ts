import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import { MsgType } from '../../../lib/protocol/frame.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import { ChannelLimit } from '../../../lib/rpc/client/channel-limit.js';
import type { RapProcessor } from '../../../lib/pipeline/api.js';
import { PeerPair, RecordingSink, requestOf, type PairOptions } from '../../helpers/peer-pair.js';

let pair: PeerPair;

function open(options?: PairOptions): PeerPair {
  pair = new PeerPair(options).open();
  return pair;
}

afterEach(() => pair.end());

const OWN = { code: LocalCode.CallTimeout, phase: 'response', sent: 'unknown' };

/** What the client has sent but calls and channels. */
const events = (): unknown[] =>
  pair.links.toServer.frames.filter(([type]) => type === MsgType.ClientEvent).slice(1);

/** Watches every message, at once or in its own time. */
function watcher(late: boolean): RapProcessor {
  const work = (): void | Promise<void> => (late ? Promise.resolve() : undefined);
  return { processRequest: work, processResponse: work };
}

const ways: [string, PairOptions][] = [
  ['without processors', {}],
  ['with processors', { clientProcessors: [watcher(false)] }],
  ['with processors that take their time', { clientProcessors: [watcher(true)] }],
];

/** What the processors have to do. */
async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
  pair.flow();
}

describe.each(ways)('the time of a call, %s,', (_, options) => {
  /** A call of 500 ms whose server gives up after so long. */
  async function failing(serverMs: number, tellTimeLeft = true): Promise<Fault> {
    open(options);
    const { sink } = pair.call(null, { timeoutMs: 500, tellTimeLeft });
    await turns();
    const incoming = pair.serverOwner.call();
    incoming.limitRun(serverMs);
    pair.pass(serverMs);
    await turns();
    incoming.ended();
    return sink.fault;
  }

  it('is over for the caller in the same words, whichever side sees it first', async () => {
    expect(await failing(495)).toMatchObject({
      ...OWN,
      message: '/default/x timed out after 500 ms, waiting for the answer of the server',
    });
    expect(events()).toEqual([]); // nothing is left to cancel
    expect(pair.client.calls.inFlight).toBe(0);
  });

  it('is over for the client first', async () => {
    expect(await failing(505)).toMatchObject(OWN);
    expect(events()).toHaveLength(1); // the server works on it still
  });

  it('is not over if the server has less of its own', async () => {
    expect(await failing(400)).toMatchObject({ status: 301, remoteName: 'RpcRunTimeError' });
  });

  it('is not the caller’s if the caller has set none', async () => {
    expect(await failing(495, false)).toMatchObject({ status: 301, remoteName: 'RpcRunTimeError' });
  });
});

describe('an error that a processor puts in the place of a timeout', () => {
  it('is what the caller gets', async () => {
    const fault = new Fault({ status: 301, message: 'mine', remoteName: 'RpcRunTimeError' });
    open({ clientProcessors: [{ processResponse: (response) => void (response.error = fault) }] });
    const { sink } = pair.call(null, { timeoutMs: 500, tellTimeLeft: true });
    pair.flow();
    pair.serverOwner.call().limitRun(495);
    pair.pass(495);
    expect(sink.fault).toBe(fault);
  });
});

/** Limits a channel to so long, as a client does. */
function limit(channel: Channel, timeoutMs: number, whole = true): void {
  pair.deadlines.add(
    new ChannelLimit(channel, { target: '/default/x', timeoutMs, whole }, pair.clock),
    timeoutMs,
  );
}

describe.each(ways)('the time of a channel, %s,', (_, options) => {
  /** A channel of 500 ms whose server gives up after so long. */
  async function failing(serverMs: number, whole = true): Promise<Fault | undefined> {
    open(options);
    const channel = pair.client.openChannel(requestOf({}, { timeoutMs: 500 }));
    limit(channel, 500, whole);
    await turns();
    const [incoming] = pair.serverOwner.channels;
    if (!incoming) throw new Error('no channel came in');
    incoming.open();
    incoming.limitRun(serverMs);
    pair.pass(serverMs);
    await turns();
    incoming.ended();
    expect(channel.state).toBe('closed');
    return channel.fault;
  }

  it('is over for the caller in the same words, whichever side sees it first', async () => {
    expect(await failing(495)).toMatchObject(OWN);
  });

  it('is over for the client first', async () => {
    expect(await failing(505)).toMatchObject(OWN);
  });

  it('is not over if the server has less of its own', async () => {
    expect(await failing(400)).toMatchObject({ message: 'the deadline of the channel is over' });
  });

  it('is not what a handler fails with in its last moment', async () => {
    open(options);
    const channel = pair.client.openChannel(requestOf({}, { timeoutMs: 500 }));
    limit(channel, 500);
    await turns();
    const [incoming] = pair.serverOwner.channels;
    pair.pass(495);
    incoming?.fail(new Fault({ status: 1005, message: 'the database is slow' }), 'RunTimeError');
    incoming?.ended();
    pair.flow();
    await turns();
    expect(channel.fault).toMatchObject({ status: 1005, message: 'the database is slow' });
  });

  it('is not the caller’s if that set a time for its opening only', async () => {
    expect(await failing(495, false)).toMatchObject({ message: 'the deadline of the channel is over' });
  });

  it('holds for a stream that answers a call', async () => {
    open(options);
    const streams: Channel[] = [];
    const sink = Object.assign(new RecordingSink(), { stream: (it: Channel) => streams.push(it) });
    pair.client.call(requestOf(null, { timeoutMs: 500, tellTimeLeft: true }), sink);
    await turns();
    const incoming = pair.serverOwner.call();
    incoming.keepsLimit = true;
    incoming.limitRun(495);
    void incoming.turnIntoStream()?.write(1);
    pair.flow();
    await turns();
    const [stream] = streams;
    if (!stream) throw new Error('no stream');
    limit(stream, 500);
    pair.pass(495);
    await turns();
    expect((await stream.read())?.body).toBe(1);
    await expect(stream.read()).rejects.toMatchObject(OWN);
    incoming.ended();
  });
});
