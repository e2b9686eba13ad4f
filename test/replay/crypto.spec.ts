import net from 'node:net';
import {
  CryptoProcessor,
  FuncNotFoundError,
  InvokeError,
  ParseError,
  RapClient,
  type RapChannel,
} from '../../lib/index.js';
import { serve, type TestApp } from '../helpers/app.js';
import { PYTHON_KEY, pythonOpen, RECORDED_AT, withoutNonce } from '../helpers/python/python-crypto.js';
import { PythonFunctions } from '../helpers/python/python-functions.js';
import type { RawFrame } from '../helpers/raw-socket.js';
import { loadVector, withId, type VectorFrame } from '../helpers/python/vectors.js';
import { WirePeer } from '../helpers/wire-peer.js';
import { collect } from '../helpers/streams.js';

const [CALL, CHANNEL, CLIENT_EVENT, SERVER_EVENT] = [101, 102, 103, 203];
const steps = loadVector('crypto');
const frames = steps.filter((step): step is VectorFrame => !step.eof);
const now = (): number => RECORDED_AT * 1000 + 500;
const forServer = (): CryptoProcessor =>
  new CryptoProcessor({ mode: 'rap-cbc', keys: { demo_id: PYTHON_KEY }, now });
const forClient = (): CryptoProcessor =>
  new CryptoProcessor({ mode: 'rap-cbc', keyId: 'demo_id', key: PYTHON_KEY, now });

/** The same frame, but for the nonce that is its sender's to choose, and what is this project's own in an error. */
function expectSame([type, id, header, body]: RawFrame, [, , expectedHeader, expectedBody]: RawFrame): void {
  const { error, ...rest } = header;
  expect([type, id, rest]).toEqual([type, id, expectedHeader]);
  // nothing of an encrypted error stands in clear beside it
  if (Buffer.isBuffer(body)) expect(error).toBeUndefined();
  if (!Buffer.isBuffer(expectedBody)) return expect(body).toEqual(expectedBody);
  expect(body).toBeInstanceOf(Buffer);
  expect(withoutNonce(body)).toBe(withoutNonce(expectedBody));
}

describe('as the server', () => {
  let app: TestApp;
  let peer: WirePeer;

  beforeEach(async () => {
    app = await serve([PythonFunctions], { exposeErrors: true, processors: [forServer()] });
    peer = await WirePeer.connect(app.port);
  });

  afterEach(async () => {
    peer.socket.destroy();
    await app.close();
  });

  it('answers the recorded client as a Python server does', async () => {
    let encrypted = 0;
    for (const step of steps) {
      if (step.eof) {
        if (step.from === 'client') peer.end();
        else await peer.untilEnded();
      } else if (step.from === 'client') peer.send(step.bytes);
      else if (step.frame[0] !== SERVER_EVENT) {
        const [type, id] = step.frame;
        const { frame } = await peer.next(`the answer ${type} ${id}`, (it) => it[0] === type && it[1] === id);
        if (type === CLIENT_EVENT && id === 3) continue;
        if (Buffer.isBuffer(frame[3])) encrypted += 1;
        const { header } = { header: frame[2] };
        if (type === CHANNEL && header['status_code'] !== undefined) {
          // a generator that raised: Python says nothing of it, this side does
          expect(header).toEqual({ channel_life_cycle: 'DROP', status_code: 301 });
          expect(pythonOpen(frame[3])).toContain('["ValueError", "gen boom"]');
        } else expectSame(frame, step.frame);
      }
    }
    expect(encrypted).toBeGreaterThan(15);
    expect(peer.frames.filter(({ frame: [type] }) => type !== SERVER_EVENT)).toEqual([]);
  });

  it('takes none of it a second time', async () => {
    const clientFrames = frames.filter(({ from }) => from === 'client');
    const [declare, call] = [
      clientFrames[0],
      clientFrames.find(({ frame }) => frame[0] === CALL),
    ] as VectorFrame[];
    peer.send((declare as VectorFrame).bytes);
    peer.send((call as VectorFrame).bytes);
    const first = await peer.next('the answer', ([type]) => type === CALL);
    expect(withoutNonce(first.frame[3])).toContain('"body": 3');
    const again = await WirePeer.connect(app.port);
    again.send(Buffer.concat([(declare as VectorFrame).bytes, (call as VectorFrame).bytes]));
    const { frame } = await again.next('the answer', ([type]) => type === CALL);
    expect(frame.slice(2)).toEqual([{ status_code: 1007 }, 'crypto error']);
    again.socket.destroy();
  });
});

const said = (id: number, index: number): unknown => {
  const own = frames.filter(
    ({ from, frame }) => from === 'client' && frame[1] === id && frame[0] !== SERVER_EVENT,
  );
  return (JSON.parse(pythonOpen(own[index]?.frame[3]).replace(/\0+$/, '')) as { body: unknown }).body;
};

describe('as the client', () => {
  it('says what the recorded client says, and understands the Python server', async () => {
    const sockets: WirePeer[] = [];
    const server = net.createServer(
      { allowHalfOpen: true, noDelay: true },
      (socket) => void sockets.push(new WirePeer(socket)),
    );
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    const client = new RapClient({
      host: '127.0.0.1',
      port,
      metadata: { app: 'demo' },
      processors: [forClient()],
    });
    const outcomes = new Map<number, Promise<unknown>>();
    const channels = new Map<number, Promise<RapChannel>>();
    const ids = new Map<number, number>();
    const connected = client.connect();
    while (sockets.length === 0) await new Promise((resolve) => void setImmediate(resolve));
    const peer = sockets[0] as WirePeer;

    const keep = (id: number, outcome: Promise<unknown>): void => {
      outcome.catch(() => {});
      outcomes.set(id, outcome);
    };
    const act = ([type, id, { target, channel_life_cycle: lifeCycle }]: RawFrame): void => {
      if (type === CLIENT_EVENT && id !== 3) keep(id, client.ping());
      if (type === CALL) keep(id, client.call(target, said(id, 0)));
      if (type !== CHANNEL) return;
      const isStream = [21, 23].includes(id);
      if (lifeCycle === 'DECLARE' && isStream) keep(id, collect(client.stream(target, said(id, 1))));
      else if (lifeCycle === 'DECLARE') channels.set(id, client.channel(target, { metadata: said(id, 0) }));
      else if (!isStream) void channels.get(id)?.then((channel) => channel.write('hi'));
    };

    for (const { from, bytes, frame } of frames) {
      const [type, id] = frame;
      if (from === 'server') {
        peer.send(type === SERVER_EVENT ? bytes : withId(bytes, ids.get(id) ?? id));
        if (id === 3) await connected;
        continue;
      }
      act(frame);
      const got = await peer.next(`a frame ${type}`, (it) => it[0] === type);
      ids.set(id, got.frame[1]);
      if (id === 3) {
        expect(got.frame[3]).toMatchObject({
          crypto_id: 'demo_id',
          check_body: (frame[3] as { check_body: Buffer }).check_body,
        });
      } else expectSame(got.frame, frame);
    }

    for (const [id, value] of [
      [11, 3],
      [13, 7],
      [15, 7],
      [17, 7],
      [19, { none: null, t: true, s: 'hello' }],
      [21, [0, 1, 2]],
      [23, [0, 1]],
    ] as const) {
      expect(await outcomes.get(id)).toEqual(value);
    }
    const failure = async (id: number): Promise<unknown> =>
      outcomes.get(id)?.catch((error: unknown) => error);
    expect(await failure(25)).toBeInstanceOf(InvokeError);
    expect(await failure(25)).toMatchObject({ remoteName: 'ValueError', message: 'boom 3' });
    expect(await failure(27)).toBeInstanceOf(FuncNotFoundError);
    expect(await failure(29)).toBeInstanceOf(ParseError);
    expect(await failure(31)).toBeInstanceOf(ParseError);
    expect(await (await channels.get(33))?.read()).toBe('hi');
    expect(await collect((await channels.get(35)) as RapChannel)).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }]);
    expect(peer.frames).toEqual([]);
    client.close();
    peer.socket.destroy();
    await new Promise((resolve) => void server.close(resolve));
  });
});
