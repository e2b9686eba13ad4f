import net from 'node:net';
import { Logger } from '@nestjs/common';
import { filter, firstValueFrom, retry } from 'rxjs';
import {
  ConnectionLostError,
  FuncNotFoundError,
  InvokeError,
  ParseError,
  RapClient,
  RapStatus,
  type RapChannel,
  type RapClientOptions,
} from '../../lib/index.js';
import { timers } from '../../lib/rpc/time/system-clock.js';
import { pack, type RawFrame } from '../helpers/raw-socket.js';
import {
  framesFrom,
  loadVector,
  withId,
  type VectorFrame,
  type VectorStep,
} from '../helpers/python/vectors.js';
import { WirePeer, type WireFrame } from '../helpers/wire-peer.js';
import { collect } from '../helpers/streams.js';

const [CALL, CHANNEL, CLIENT_EVENT, SERVER_EVENT] = [101, 102, 103, 203];
const DECLARE = '/_event/DECLARE';

let server: net.Server;
let peers: WirePeer[];
let wakes: (() => void)[];
let client: RapClient;

beforeEach(async () => {
  peers = [];
  wakes = [];
  server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    peers.push(new WirePeer(socket));
    for (const wake of wakes.splice(0)) wake();
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
});

afterEach(async () => {
  client.close();
  for (const { socket } of peers) socket.destroy();
  await new Promise((resolve) => void server.close(resolve));
  expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0, channels: 0 });
});

function connectTo(options: RapClientOptions = {}): RapClient {
  const { port } = server.address() as net.AddressInfo;
  client = new RapClient({ host: '127.0.0.1', port, metadata: { app: 'demo' }, ...options });
  return client;
}

/** The `index`-th connection, now or when it comes. */
async function connection(index = 0): Promise<WirePeer> {
  while (peers.length <= index) await new Promise<void>((resolve) => void wakes.push(resolve));
  return peers[index] as WirePeer;
}

const declareAnswer = (name: 'plain' | 'drain'): Buffer =>
  (framesFrom(loadVector(name), 'server')[0] as VectorFrame).bytes;

/** Takes DECLARE and answers it with the recorded bytes of a Python server. */
async function handshake(index = 0): Promise<WirePeer> {
  const peer = await connection(index);
  await peer.next('DECLARE', ([, , { target }]) => target === DECLARE);
  peer.send(declareAnswer('plain'));
  return peer;
}

/** The client has seen everything that was sent to it. */
async function seen(peer: WirePeer): Promise<void> {
  peer.send(pack([SERVER_EVENT, 100, { target: '/_event/ping' }, '']));
  await peer.next('the answer to a ping', ([type, id]) => type === SERVER_EVENT && id === 100);
}

/** What a Python client did, done by this one, so that the same frames are due. */
class Conversation {
  /** Ids of this client for those of the vector. */
  readonly #ids = new Map<number, number>();
  /** Outcomes of calls and streams, by the vector's id. */
  readonly outcomes = new Map<number, Promise<unknown>>();
  readonly channels = new Map<number, Promise<RapChannel>>();
  #connected: Promise<void> | undefined;

  constructor(
    private readonly peer: () => Promise<WirePeer>,
    private readonly steps: readonly VectorStep[],
  ) {}

  /** Plays the steps up to `end`: the client does what makes it send each frame, the server sends its bytes. */
  async play(from = 0, end = this.steps.length): Promise<void> {
    for (const [index, step] of this.steps.entries()) {
      if (index < from || index >= end) continue;
      if (step.eof) await this.#eof(step.from);
      else if (step.from === 'client') await this.#clientStep(step);
      else await this.serverStep(step);
    }
  }

  async serverStep({ bytes, frame: [type, id, { target }] }: VectorFrame): Promise<void> {
    const peer = await this.peer();
    peer.send(type === SERVER_EVENT ? bytes : withId(bytes, this.#ids.get(id) ?? id));
    if (type === CLIENT_EVENT && id === 3) await this.#connected;
    if (target === '/_event/shutdown') await seen(peer);
  }

  async #clientStep(expected: VectorFrame): Promise<void> {
    const [type, id] = expected.frame;
    this.#act(expected);
    const peer = await this.peer();
    const got = await peer.next(`a frame ${type}`, (frame) => frame[0] === type);
    if (type !== SERVER_EVENT) this.#ids.set(id, got.frame[1]);
    expectFrame(got, expected, this.#ids.get(id) ?? id);
  }

  /** Does what makes a client send this frame. */
  #act({ frame: [type, id, { target, channel_life_cycle: lifeCycle, ...header }, body] }: VectorFrame): void {
    if (target === DECLARE) this.#connected = client.connect();
    else if (type === CLIENT_EVENT) this.#expectOutcome(id, client.ping());
    else if (type === CALL) {
      const options = Object.keys(header).length > 0 ? { header } : undefined;
      this.#expectOutcome(id, client.call(target, body, options));
    } else if (type === CHANNEL) this.#actOnChannel(id, target, lifeCycle, body);
  }

  #actOnChannel(id: number, target: unknown, lifeCycle: unknown, body: unknown): void {
    if (lifeCycle === 'DECLARE' && this.#isStream(id)) {
      // its parameters follow when the server has answered DECLARE
      this.#expectOutcome(id, collect(client.stream(target, this.#message(id))));
    } else if (lifeCycle === 'DECLARE') {
      this.channels.set(id, client.channel(target, { metadata: body }));
    } else if (lifeCycle === 'MSG' && !this.#isStream(id)) {
      void this.channels.get(id)?.then((channel) => channel.write(body));
    }
  }

  /** A generator's first message holds its parameters. */
  #isStream(id: number): boolean {
    const declare = this.#clientFrames(id)[0]?.frame[2]['target'];
    return declare === '/default/async_gen' || declare === '/default/gen_boom';
  }

  #message(id: number): unknown {
    return this.#clientFrames(id)[1]?.frame[3];
  }

  #clientFrames(id: number): VectorFrame[] {
    return framesFrom(this.steps, 'client').filter(
      ({ frame: [type, its] }) => type === CHANNEL && its === id,
    );
  }

  #expectOutcome(id: number, outcome: Promise<unknown>): void {
    outcome.catch(() => {});
    this.outcomes.set(id, outcome);
  }

  async #eof(side: 'client' | 'server'): Promise<void> {
    const peer = await this.peer();
    if (side === 'server') return peer.end();
    await Promise.allSettled(this.outcomes.values());
    client.close();
    await peer.untilEnded();
  }
}

/** The client's frame is the Python client's, but for what is its own to choose. */
function expectFrame({ frame, bytes }: WireFrame, expected: VectorFrame, id: number): void {
  const [, , header, body] = expected.frame;
  if (header['target'] === DECLARE) return expectDeclare(frame, body as { metadata: unknown });
  // the order of the keys of a header says nothing; if there is but one, every byte is fixed
  if (Object.keys(header).length === 1) {
    expect(bytes.toString('hex')).toBe(withId(expected.bytes, id).toString('hex'));
  } else {
    expect(frame.slice(0, 3)).toEqual([expected.frame[0], id, header]);
    expect(bytes.subarray(-pack(body).length)).toEqual(expected.bytes.subarray(-pack(body).length));
  }
}

function expectDeclare(frame: RawFrame, { metadata }: { metadata: unknown }): void {
  expect(frame).toEqual([
    CLIENT_EVENT,
    3,
    { target: DECLARE },
    {
      client_info: {
        host: ['127.0.0.1', expect.any(Number) as number],
        version: '0.1',
        user_agent: expect.stringMatching(/./) as string,
      },
      metadata,
      extensions: expect.any(Object) as object,
    },
  ]);
}

describe('plain.json', () => {
  let conversation: Conversation;

  beforeEach(async () => {
    // a limit of its own must not show in a frame: a Python server knows no such header
    connectTo({ callTimeoutMs: 9_500 });
    conversation = new Conversation(() => connection(), loadVector('plain'));
    const end = framesFrom(loadVector('plain'), 'client').length;
    expect(end).toBeGreaterThan(10);
  });

  it('is what this client says to a Python server, and every answer arrives as what it is', async () => {
    await conversation.play();
    const outcome = (id: number): Promise<unknown> | undefined => conversation.outcomes.get(id);
    for (const id of [5, 7, 9, 41, 43, 45]) expect(await outcome(id)).toBeGreaterThan(0);
    expect(await outcome(11)).toBe(3);
    for (const id of [13, 15, 17]) expect(await outcome(id)).toBe(7);
    expect(await outcome(19)).toEqual({
      none: null,
      t: true,
      f: 1.5,
      neg: -7,
      big: 9007199254740992n,
      s: 'héllo ✓',
      bin: Buffer.from('0001ff', 'hex'),
      list: [1, [2, [3]]],
      m: { k: { z: [] } },
    });
    const failure = async (id: number): Promise<unknown> => outcome(id)?.catch((error: unknown) => error);
    const boom = await failure(25);
    expect(boom).toBeInstanceOf(InvokeError);
    expect(boom).toMatchObject({
      status: 301,
      code: 'ERR_RAP_INVOKE',
      remoteName: 'ValueError',
      message: 'boom 3',
    });
    const nope = await failure(27);
    expect(nope).toBeInstanceOf(FuncNotFoundError);
    expect(nope).toMatchObject({ status: 404, message: 'Not found func. name: nope, group: default' });
    for (const [id, message] of [
      [29, "Parse error. missing a required argument: 'b'"],
      [31, "Parse error. got an unexpected keyword argument 'c'"],
    ] as const) {
      expect(await failure(id)).toBeInstanceOf(ParseError);
      expect(await failure(id)).toMatchObject({ status: 1002, code: 'ERR_RAP_PARSE', message });
    }
    const slow = await failure(33);
    expect(slow).toBeInstanceOf(InvokeError);
    expect(slow).toMatchObject({ remoteName: 'RpcRunTimeError', message: 'Call slow timeout' });
  });

  it('leaves the client with no frame to say beyond those of the vector', async () => {
    await conversation.play();
    expect((await connection()).frames).toEqual([]);
  });

  it('gives the values of its streams and channels', async () => {
    const steps = loadVector('plain');
    const end = steps.findIndex((step) => step.eof);
    await conversation.play(0, end);
    expect(await conversation.outcomes.get(21)).toEqual([0, 1, 2]);
    // a Python server ends a generator that raised as it ends any other
    expect(await conversation.outcomes.get(23)).toEqual([0, 1]);
    const echo = await conversation.channels.get(37);
    expect(await echo?.read()).toBe('hi');
    expect(echo?.isClosed).toBe(false);
    const three = await conversation.channels.get(39);
    expect(await collect(three as AsyncIterable<unknown>)).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }]);
    expect(three?.isClosed).toBe(true);
    await conversation.play(end);
    await expect(echo?.read()).rejects.toBeInstanceOf(ConnectionLostError);
  });
});

describe('limit.json', () => {
  it('rejects connect() with the reason that the server gives', async () => {
    connectTo();
    const connected = client.connect();
    connected.catch(() => {});
    const call = client.call('sync_sum', { a: 1, b: 2 });
    call.catch(() => {});
    const peer = await connection();
    const steps = loadVector('limit');
    const [declare] = framesFrom(steps, 'client');
    expectFrame(await peer.next('DECLARE'), declare as VectorFrame, 3);
    const [close] = framesFrom(steps, 'server');
    peer.send((close as VectorFrame).bytes);
    for (const refused of [connected, call]) {
      await expect(refused).rejects.toBeInstanceOf(ConnectionLostError);
      await expect(refused).rejects.toMatchObject({
        code: 'ERR_RAP_CONNECTION_LOST',
        sent: 'no',
        message: expect.stringContaining(
          'Currently exceeding the maximum number of connections limit',
        ) as string,
      });
    }
    await peer.untilEnded();
    expect(peer.frames).toEqual([]);
  });

  it('is over then: the next call connects anew', async () => {
    connectTo();
    const refused = client.connect();
    refused.catch(() => {});
    const [close] = framesFrom(loadVector('limit'), 'server');
    (await connection()).send((close as VectorFrame).bytes);
    await expect(refused).rejects.toBeInstanceOf(ConnectionLostError);
    const again = client.connect();
    await handshake(1);
    await again;
    expect(peers).toHaveLength(2);
  });
});

describe('drain.json', () => {
  const steps = loadVector('drain');
  const shutdown = steps.findIndex((step) => !step.eof && step.frame[2]['target'] === '/_event/shutdown');
  const SLOW = 13;

  /** The conversation up to the shutdown: a call runs. */
  async function untilShutdown(): Promise<Conversation> {
    connectTo({ metadata: {} });
    const conversation = new Conversation(() => connection(0), steps);
    await conversation.play(0, shutdown + 1);
    return conversation;
  }

  it('the call that runs is answered, and the connection ends', async () => {
    const conversation = await untilShutdown();
    const answer = steps[shutdown + 1] as VectorFrame;
    await conversation.serverStep(answer);
    expect(await conversation.outcomes.get(SLOW)).toBe(2);
    const peer = await connection(0);
    // whoever is first: this client needs the connection no more
    await peer.untilEnded();
    peer.end();
    expect(peer.frames).toEqual([]);
  });

  it('nothing new is sent on that connection; later calls go to a new one', async () => {
    const conversation = await untilShutdown();
    const later = client.call('sync_sum', { a: 3, b: 4 });
    const fresh = await handshake(1);
    const { frame } = await fresh.next('the call', ([type]) => type === CALL);
    expect(frame.slice(2)).toEqual([{ target: '/default/sync_sum' }, { a: 3, b: 4 }]);
    fresh.send(pack([CALL, frame[1], {}, 7]));
    expect(await later).toBe(7);
    await conversation.serverStep(steps[shutdown + 1] as VectorFrame);
    expect(await conversation.outcomes.get(SLOW)).toBe(2);
    expect((await connection(0)).frames).toEqual([]);
  });

  it('the end of the connection, before the answer, fails the call that runs and no other', async () => {
    const conversation = await untilShutdown();
    const later = client.call('sync_sum', { a: 3, b: 4 });
    const fresh = await handshake(1);
    (await connection(0)).end();
    await expect(conversation.outcomes.get(SLOW)).rejects.toMatchObject({
      code: 'ERR_RAP_CONNECTION_LOST',
      sent: 'unknown',
    });
    const { frame } = await fresh.next('the call', ([type]) => type === CALL);
    fresh.send(pack([CALL, frame[1], {}, 7]));
    expect(await later).toBe(7);
  });
});

/** Calls that came and were not taken. */
function calls({ frames }: WirePeer): RawFrame[] {
  return frames.map(({ frame }) => frame).filter(([type]) => type === CALL);
}

/** Every connection after the first is one to a server that answers each call with 3. */
async function answerOnLaterConnections(): Promise<void> {
  for (let index = 1; ; index++) {
    const peer = await handshake(index);
    void (async () => {
      for (;;) {
        const { frame } = await peer.next('a call', ([type]) => type === CALL);
        peer.send(pack([CALL, frame[1], {}, 3]));
      }
    })().catch(() => {});
  }
}

/** A client with its first connection open, to a server that the test plays. */
async function open(options: RapClientOptions = {}): Promise<WirePeer> {
  connectTo({ callTimeoutMs: 1_500, ...options });
  answerOnLaterConnections().catch(() => {});
  const connected = client.connect();
  const first = await handshake(0);
  await connected;
  return first;
}

describe('a connection that ends under a call', () => {
  it('that is being started goes to a connection that takes it', async () => {
    // a server that drains answers DECLARE and says shutdown in the same breath
    connectTo({ callTimeoutMs: 1_500 });
    answerOnLaterConnections().catch(() => {});
    const call = client.call('sync_sum', { a: 1, b: 2 });
    const first = await connection(0);
    await first.next('DECLARE');
    const shutdown = pack([SERVER_EVENT, 4, { target: '/_event/shutdown' }, { close_timeout: 3 }]);
    const { now } = timers;
    const standsStill = now();
    timers.now = () => standsStill; // a slow machine must not end the turn between the two frames
    try {
      first.send(Buffer.concat([declareAnswer('plain'), shutdown]));
      expect(await call).toBe(3);
    } finally {
      timers.now = now;
    }
    expect(calls(first)).toEqual([]);
  });

  it('that waited for a slot goes to a connection that takes it', async () => {
    const first = await open({ limits: { maxInFlight: 1 } });
    const running = client.call('slow', { a: 1 });
    const waiting = client.call('sync_sum', { a: 1, b: 2 });
    waiting.catch(() => {});
    const { frame } = await first.next('the call', ([type]) => type === CALL);
    const shutdown = pack([SERVER_EVENT, 4, { target: '/_event/shutdown' }, { close_timeout: 3 }]);
    first.send(Buffer.concat([shutdown, pack([CALL, frame[1], {}, 1])]));
    expect(await running).toBe(1);
    first.end();
    expect(await waiting).toBe(3);
    expect(calls(first)).toEqual([]);
  });

  it('may be repeated at once, as with the retry of rxjs: it waits for the new connection', async () => {
    const first = await open();
    const result = firstValueFrom(client.send('sync_sum', { a: 1, b: 2 }).pipe(retry(1)));
    result.catch(() => {});
    await first.next('the call', ([type]) => type === CALL);
    first.socket.destroy();
    expect(await result).toBe(3);
  });

  it('while its serializer works goes to the new connection, too', async () => {
    let serialized!: () => void;
    const working = new Promise<void>((resolve) => {
      serialized = resolve;
    });
    const first = await open({
      serializer: { serialize: async (packet: unknown) => (await working, packet) },
    });
    const call = client.call('sync_sum', { a: 1, b: 2 });
    call.catch(() => {});
    first.socket.destroy();
    const statuses = client.status;
    await firstValueFrom(statuses.pipe(filter((status) => status === RapStatus.Reconnecting)));
    await firstValueFrom(statuses.pipe(filter((status) => status === RapStatus.Connected)));
    serialized();
    expect(await call).toBe(3);
  });

  it('is told to a listener that throws, and nothing comes of it', async () => {
    connectTo({ callTimeoutMs: 1_500 });
    Logger.overrideLogger(false);
    client.on('connect', () => {
      throw new Error('a listener of the application failed');
    });
    const crashes: unknown[] = [];
    const onCrash = (error: unknown): void => void crashes.push(error);
    process.on('uncaughtException', onCrash);
    try {
      const call = client.call('sync_sum', { a: 1, b: 2 });
      call.catch(() => {});
      const first = await handshake(0);
      const { frame } = await first.next('the call', ([type]) => type === CALL);
      first.send(pack([CALL, frame[1], {}, 3]));
      expect(await call).toBe(3);
      expect(crashes).toEqual([]);
    } finally {
      process.off('uncaughtException', onCrash);
      Logger.overrideLogger(true);
    }
  });
});

it('tells its status on the way', async () => {
  const statuses: RapStatus[] = [];
  connectTo();
  client.status.subscribe((status) => void statuses.push(status));
  const connected = client.connect();
  const first = await handshake(0);
  await connected;
  first.socket.destroy();
  await handshake(1);
  while (statuses.at(-1) !== RapStatus.Connected) await new Promise((resolve) => void setTimeout(resolve, 2));
  expect(statuses.filter((status, i) => status !== statuses[i - 1])).toEqual([
    RapStatus.Connecting,
    RapStatus.Connected,
    RapStatus.Disconnected,
    RapStatus.Reconnecting,
    RapStatus.Connected,
  ]);
});
