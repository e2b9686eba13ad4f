import { pack, type RawFrame } from '../helpers/raw-socket.js';
import { serve, type TestApp } from '../helpers/app.js';
import { PythonFunctions } from '../helpers/python/python-functions.js';
import { StoppedTime } from '../helpers/stopped-time.js';
import { framesFrom, loadVector, type VectorFrame, type VectorStep } from '../helpers/python/vectors.js';
import { WirePeer, type WireFrame } from '../helpers/wire-peer.js';

const [CALL, CHANNEL, CLIENT_EVENT, SERVER_EVENT] = [101, 102, 103, 203];
const PING = '/_event/ping';

let app: TestApp;
let peer: WirePeer;

async function start(
  ...[options]: Parameters<typeof serve> extends [unknown, ...infer Rest] ? Rest : never
): Promise<void> {
  app = await serve([PythonFunctions], { exposeErrors: true, ...options });
  peer = await WirePeer.connect(app.port);
}

afterEach(async () => {
  peer.socket.destroy();
  await app.close();
});

/** A Python client's part of a conversation: its very bytes, each answer awaited where the server gave it. */
async function replay(steps: readonly VectorStep[]): Promise<void> {
  for (const step of steps) {
    if (step.eof) {
      if (step.from === 'client') peer.end();
      else await peer.untilEnded();
    } else if (step.from === 'client') peer.send(step.bytes);
    // the server pings when it likes; the client's answers to the recorded pings are sent nevertheless
    else if (step.frame[0] !== SERVER_EVENT) expectAnswer(await answerTo(step), step);
  }
}

function answerTo({ frame: [type, id] }: VectorFrame): Promise<WireFrame> {
  return peer.next(`the answer ${type} ${id}`, (frame) => frame[0] === type && frame[1] === id);
}

/** What is left when everything was answered: events that the server started, and nothing else. */
function expectNothingElse(): void {
  expect(peer.frames.filter(({ frame: [type] }) => type !== SERVER_EVENT)).toEqual([]);
}

function expectAnswer({ frame, bytes }: WireFrame, expected: VectorFrame): void {
  const [type, id, header, body] = frame;
  const [, , expectedHeader, expectedBody] = expected.frame;
  if (type === CLIENT_EVENT && id === 3) return expectDeclareAnswer(frame);
  if (type === CHANNEL && header['status_code'] !== undefined)
    return expectErrorOnDrop(frame, expected.frame);
  if (expectedHeader['status_code'] === undefined) {
    // no key of ours, no other form of a number: a Python client gets what a Python server would send
    expect(bytes.toString('hex')).toBe(expected.bytes.toString('hex'));
    return;
  }
  // what this side adds to errors is in the one key that the protocol allows
  const { error, ...rest } = header;
  expect(rest).toEqual(expectedHeader);
  expect(error).toMatchObject({ name: expect.any(String) as string, code: expect.any(String) as string });
  expect(pack(body)).toEqual(pack(expectedBody));
}

/** The connection's name, host, port and version are ours to choose. */
function expectDeclareAnswer(frame: RawFrame): void {
  expect(frame).toEqual([
    CLIENT_EVENT,
    3,
    {},
    {
      conn_id: expect.stringMatching(/./) as string,
      server_info: {
        host: ['127.0.0.1', app.port],
        version: '0.1',
        user_agent: expect.stringMatching(/./) as string,
      },
    },
  ]);
}

/** A Python server ends a generator that raised without a word; this side says why on the same frame. */
function expectErrorOnDrop([type, id, header, body]: RawFrame, [, , expectedHeader]: RawFrame): void {
  expect([type, id]).toEqual([CHANNEL, id]);
  expect(header).toMatchObject({ ...expectedHeader, status_code: 301 });
  expect(body).toEqual(['ValueError', 'gen boom']);
}

it('answers what a Python client asks as a Python server does: calls, errors, pings, streams, channels', async () => {
  await start({ runTimeoutMs: 1000 });
  const steps = loadVector('plain');
  await replay(steps);
  expectNothingElse();
  const calls = framesFrom(steps, 'client').filter(({ frame: [type] }) => type === CALL);
  expect(calls).toHaveLength(10);
});

it('takes the whole conversation in pieces of three bytes', async () => {
  await start({ runTimeoutMs: 1000 });
  peer.socket.setNoDelay(true);
  const steps = loadVector('plain');
  const untilSlow = steps.filter((step) => step.eof || step.frame[2]['target'] !== '/default/slow');
  for (const step of untilSlow) {
    if (step.eof) continue;
    if (step.from === 'client') {
      for (let at = 0; at < step.bytes.length; at += 3) {
        peer.send(step.bytes.subarray(at, at + 3));
        await new Promise((resolve) => void setImmediate(resolve));
      }
    } else if (step.frame[0] !== SERVER_EVENT && !(step.frame[0] === CALL && step.frame[1] === 33)) {
      expectAnswer(await answerTo(step), step);
    }
  }
  expectNothingElse();
});

it('shows the handlers the metadata of the client, and nothing of them to the next one', async () => {
  await start();
  const connections: unknown[] = [];
  app.server.on('connection', ({ metadata }) => void connections.push(metadata));
  const [declare] = framesFrom(loadVector('plain'), 'client');
  peer.send((declare as VectorFrame).bytes);
  await peer.next('the answer to DECLARE');
  const [other] = framesFrom(loadVector('drain'), 'client');
  const second = await WirePeer.connect(app.port);
  second.send((other as VectorFrame).bytes);
  await second.next('the answer to DECLARE');
  expect(connections).toEqual([{ app: 'demo' }, {}]);
  second.socket.destroy();
});

it('keeps a client that answers its pings as a Python client does', async () => {
  await start({ keepAlive: { intervalMs: 40, timeoutMs: 200, maxMissed: 2 } });
  const [declare] = framesFrom(loadVector('plain'), 'client');
  peer.send((declare as VectorFrame).bytes);
  await peer.next('the answer to DECLARE');
  for (let i = 0; i < 5; i++) {
    const { frame, bytes } = await peer.next('a ping', ([type]) => type === SERVER_EVENT);
    // an even id, and the bytes of the recorded ping but for it
    expect(frame).toEqual([SERVER_EVENT, expect.any(Number) as number, { target: PING }, '']);
    expect(frame[1] % 2).toBe(0);
    peer.send(bytes);
  }
  expect(app.server.stats().connections).toBe(1);
});

it('refuses a connection beyond its limit with the very bytes of a Python server', async () => {
  await start({ limits: { maxConnections: 0 } });
  const steps = loadVector('limit');
  const [declare] = framesFrom(steps, 'client');
  const [close] = framesFrom(steps, 'server');
  peer.send((declare as VectorFrame).bytes);
  const { bytes } = await peer.next('CLOSE');
  expect(bytes.toString('hex')).toBe((close as VectorFrame).bytes.toString('hex'));
  await peer.untilEnded();
  expect(peer.frames).toEqual([]);
  expect(app.server.stats()).toMatchObject({ connections: 0, refusedConnections: 1 });
});

it('drains: says shutdown, answers the call that runs, and closes', async () => {
  await start({ runTimeoutMs: 9000, closeTimeoutMs: 3000 });
  const steps = loadVector('drain');
  const at = steps.findIndex((step) => !step.eof && step.frame[2]['target'] === '/_event/shutdown');
  await replay(steps.slice(0, at));
  await eventuallyRunning();
  const drained = app.server.drain();
  const { frame } = await peer.next('shutdown', ([, , { target }]) => target === '/_event/shutdown');
  expect(frame).toEqual([
    SERVER_EVENT,
    expect.any(Number) as number,
    { target: '/_event/shutdown' },
    { close_timeout: 3 },
  ]);
  const answers = steps.slice(at + 1).filter((step): step is VectorFrame => !step.eof);
  // a Python client answers each ping of the server with the same bytes
  const ping = await peer.next('a ping', ([type, , { target }]) => type === SERVER_EVENT && target === PING);
  peer.send(ping.bytes);
  for (const step of answers) expectAnswer(await answerTo(step), step);
  await peer.untilEnded();
  peer.end();
  await drained;
  expectNothingElse();
});

/** The call has come in: what follows finds it running. */
async function eventuallyRunning(): Promise<void> {
  while (app.server.stats().inFlight === 0) await new Promise((resolve) => void setTimeout(resolve, 2));
}

describe("a Python client's deadline", () => {
  /** DECLARE, then a call to `slow` with this deadline in its header. */
  async function call(deadline: unknown): Promise<RawFrame> {
    const [declare] = framesFrom(loadVector('plain'), 'client');
    peer.send((declare as VectorFrame).bytes);
    peer.send(pack([CALL, 11, { target: '/default/slow', 'X-rap-deadline': deadline }, { a: 3 }]));
    return (await peer.next('the answer', ([type]) => type === CALL)).frame;
  }

  const TIMEOUT = [CALL, 11, { status_code: 301 }, ['RpcRunTimeError', 'Call slow timeout']];

  it('ends the call before the run timeout does', async () => {
    const time = new StoppedTime();
    try {
      await start({ runTimeoutMs: 9000 });
      const answer = call(Date.now() / 1000 + 8);
      await eventuallyRunning();
      time.pass(8000);
      expect(await answer).toMatchObject(TIMEOUT);
    } finally {
      time.resume();
    }
  });

  it('that is over ends it at once', async () => {
    await start({ runTimeoutMs: 5000 });
    expect(await call(Date.now() / 1000 - 1)).toMatchObject(TIMEOUT);
  });

  it.each([[NaN], [Infinity], [1e300], ['tomorrow'], [null], [{}]])(
    'that is %p leaves the run timeout as it is',
    async (deadline: unknown) => {
      const time = new StoppedTime();
      try {
        await start({ runTimeoutMs: 150 });
        const answer = call(deadline);
        await eventuallyRunning();
        time.pass(149);
        expect(app.server.stats().inFlight).toBe(1);
        time.pass(1);
        expect(await answer).toMatchObject(TIMEOUT);
      } finally {
        time.resume();
      }
    },
  );
});
