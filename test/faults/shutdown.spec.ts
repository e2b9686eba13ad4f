import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { ConnectionLostError } from '../../lib/index.js';
import { CloseReason } from '../../lib/protocol/event.js';
import { serve, type TestApp } from '../helpers/app.js';
import { answerDeclare, DECLARE, type RawFrame, type RawSocket } from '../helpers/raw-socket.js';
import {
  atCleanUp,
  call,
  connectRaw,
  Handlers,
  openRaw,
  release,
  seen,
  startApp,
  startClient,
  startScript,
  until,
} from '../helpers/fault-scope.js';
import { pass } from '../helpers/async.js';

/** Streams of {@link Streams} that have ended. */
let ended = 0;

@Controller()
class Streams {
  @MessagePattern('large')
  async *large(): AsyncGenerator<Buffer> {
    for (let i = 0; i < 3; i++) yield Buffer.alloc(300_000, i);
    ended += 1;
  }
}

/** Comes back at once. */
const reconnect = { baseDelayMs: 1, maxDelayMs: 10 };

/** Starts a server on the port of one that has stopped. */
async function restart(app: TestApp): Promise<TestApp> {
  const again = await serve([Handlers], { port: app.port });
  atCleanUp(() => again.close());
  return again;
}

/** The shutdown event, and the ping behind it. */
async function shutdownOf(raw: RawSocket): Promise<{ event: RawFrame; ping: RawFrame }> {
  const event = await raw.next((frame) => frame[2]['target'] === '/_event/shutdown');
  const ping = await raw.next((frame) => frame[2]['target'] === '/_event/ping');
  return { event, ping };
}

/** Says shutdown to its first connection with the first call; then `drain` decides. */
async function shuttingDown(drain: (peer: RawSocket, first: RawFrame) => Promise<void>): Promise<{
  port: number;
  peers: RawSocket[];
  asked: unknown[][];
}> {
  const asked: unknown[][] = [];
  const { port, peers } = await startScript(async (peer) => {
    const calls: unknown[] = [];
    asked.push(calls);
    const isFirst = asked.length === 1;
    await answerDeclare(peer);
    for (;;) {
      const frame = await peer.next((it) => it[0] === 101, 60_000);
      calls.push(frame[3]);
      if (isFirst && calls.length === 1) {
        peer.send([203, 4, { target: '/_event/shutdown' }, { close_timeout: 9 }]);
        void drain(peer, frame).catch(() => {});
      } else if (!isFirst) peer.send([101, frame[1], {}, frame[3]]);
    }
  });
  return { port, peers, asked };
}

beforeEach(() => void (ended = 0));

describe('a server that stops', () => {
  it('is gone only when the answers that it had have left, to a client that reads them slowly', async () => {
    const app = await startApp({ closeTimeoutMs: 5000 });
    const raw = await openRaw(app);
    for (let i = 0; i < 12; i++) raw.send(call(5 + 2 * i, 'hold', Buffer.alloc(1 << 20)));
    await until(() => seen.started === 12, 'the calls to run');
    raw.socket.pause();
    release();
    let isClosed = false;
    const closed = app.app.close().then(() => (isClosed = true));
    await until(() => app.server.stats().connections === 0, 'the connection to be drained', 20_000);
    expect(isClosed).toBe(false);
    raw.socket.resume();
    for (let i = 0; i < 12; i++) expect((await raw.answer(5 + 2 * i))[3]).toHaveLength(1 << 20);
    expect(await raw.closeReason()).toBe(CloseReason.Shutdown);
    await closed;
  });

  it('serves what had come and was not yet read, since its answers wait for a slow reader', async () => {
    const app = await startApp({ closeTimeoutMs: 10_000 });
    const raw = await openRaw(app);
    raw.socket.pause();
    const ids = Array.from({ length: 24 }, (_, i) => 5 + 2 * i);
    raw.send(...ids.map((id) => call(id, 'produce', 1 << 20)));
    await until(() => seen.produced > 0, 'the calls to run');
    const closed = app.app.close();
    await pass(1500); // the client cannot have heard of it: it does not read
    expect(seen.produced).toBeLessThan(ids.length);
    raw.socket.resume();
    for (const id of ids) expect((await raw.answer(id))[3]).toHaveLength(1 << 20);
    expect(await raw.closeReason()).toBe(CloseReason.Shutdown);
    await closed;
  });

  it('waits for a client that still reads what the kernel holds for it, and speaks meanwhile', async () => {
    const app = await startApp({ closeTimeoutMs: 10_000 }, [Streams]);
    const [type, id, header, body] = DECLARE;
    const extensions = { credit: { window: 2 ** 30 }, stream_reply: {}, accept_stream: {} };
    const raw = await openRaw(app, [type, id, header, { ...(body as object), extensions }]);
    raw.socket.pause();
    raw.send([101, 5, { target: '/default/large', accept_stream: true }, null]);
    await until(() => ended === 1, 'the stream to end');
    const closed = app.app.close();
    raw.send([203, 6, { target: '/_event/ping' }, '']); // the ping behind the shutdown event, which is not read yet
    await until(() => app.server.stats().connections === 0, 'the connection to be drained');
    await pass(500);
    raw.send([102, 5, { channel_life_cycle: 'CREDIT' }, 1000]);
    await pass(50);
    raw.socket.resume();
    for (let i = 0; i < 3; i++) expect((await raw.answer(5))[3]).toHaveLength(300_000);
    expect(await raw.answer(5)).toEqual([102, 5, { channel_life_cycle: 'DROP' }, null]);
    expect(await raw.closeReason()).toBe(CloseReason.Shutdown);
    await closed;
  });

  it('says shutdown, answers what runs, says CLOSE, and accepts nobody meanwhile', async () => {
    const app = await startApp({ closeTimeoutMs: 3000 });
    const raw = await openRaw(app);
    raw.send(call(5, 'hold', 'one'), call(7, 'hold', 'two'));
    await until(() => seen.started === 2, 'the calls to run');
    const closed = app.app.close();
    const { event, ping } = await shutdownOf(raw);
    expect(event).toEqual([203, event[1], { target: '/_event/shutdown' }, { close_timeout: 3 }]);
    expect(event[1] % 2).toBe(0);
    await expect(connectRaw(app)).rejects.toMatchObject({ code: 'ECONNREFUSED' });

    // what was on its way when the event came is served as well
    raw.send(call(9, 'echo', 'crossed'), [203, ping[1], {}, '']);
    expect(await raw.answer(9)).toEqual([101, 9, {}, 'crossed']);
    expect(raw.closed).toBe(false);
    release();
    expect(await raw.answer(5)).toEqual([101, 5, {}, 'one']);
    expect(await raw.answer(7)).toEqual([101, 7, {}, 'two']);
    expect(await raw.closeReason()).toBe(CloseReason.Shutdown);
    await raw.waitClosed();
    await closed;
    expect(raw.frames).toEqual([]);
    expect(seen.signals.some((signal) => signal.aborted)).toBe(false);
    expect(app.log.lines).toEqual([]);
  });

  it('closes idle connections at once, those in the handshake too', async () => {
    const app = await startApp({ closeTimeoutMs: 60_000 });
    const [idle, silent] = [await openRaw(app), await connectRaw(app)];
    await until(() => app.server.stats().connections === 2, 'both connections');
    const closed = app.app.close();
    expect(await silent.closeReason()).toBe(CloseReason.Shutdown);
    const { ping } = await shutdownOf(idle);
    idle.send([203, ping[1], {}, '']);
    expect(await idle.closeReason()).toBe(CloseReason.Shutdown);
    await closed;
  });

  it('ends what still runs when the time is over, and stops nevertheless', async () => {
    const app = await startApp({ closeTimeoutMs: 100 });
    const raw = await openRaw(app);
    const client = startClient(app.port, { reconnect: false });
    const held = client.call('hold', 1);
    const outcome = held.catch((error: unknown) => error);
    raw.send(call(5, 'hold', 2));
    await until(() => seen.started === 2, 'the calls to run');
    await app.app.close();
    expect(await raw.closeReason()).toBe(CloseReason.Shutdown);
    await raw.waitClosed();
    expect(await outcome).toMatchObject({ name: 'ConnectionLostError', sent: 'unknown' });
    expect(seen.signals.every((signal) => signal.aborted)).toBe(true);
    expect(seen.ended).toBe(0);
    release();
    await until(() => seen.ended === 2, 'the handlers to end');
    expect(app.server.stats()).toMatchObject({ connections: 0, inFlight: 0 });
  });

  it('is not held up by a peer that ignores it, floods it, or reads nothing', async () => {
    const app = await startApp({ closeTimeoutMs: 150 });
    const [ignores, floods, deaf] = [await openRaw(app), await openRaw(app), await openRaw(app)];
    deaf.socket.pause();
    for (let id = 5; id < 205; id += 2) deaf.send(call(id, 'produce', 256 * 1024));
    await until(() => seen.produced > 0, 'the calls to run');
    const flood = (async () => {
      await shutdownOf(floods);
      for (let id = 5; !floods.closed; id += 2) {
        floods.send(call(id, 'echo', id));
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    await app.app.close();
    await ignores.waitClosed();
    await floods.waitClosed();
    await flood;
    expect(app.server.stats().connections).toBe(0);
  });

  it('loses no call of clients that keep calling, and they go on after a restart', async () => {
    let app = await startApp({ closeTimeoutMs: 5000 });
    const clients = Array.from({ length: 4 }, () => startClient(app.port, { reconnect }));
    let calls = 0;
    const stop = new AbortController();
    const failures: unknown[] = [];
    const lanes = clients.flatMap((client, c) =>
      Array.from({ length: 5 }, async (_, lane) => {
        for (let i = 0; !stop.signal.aborted; i++) {
          const asked = `${c}/${lane}/${i}`;
          try {
            const answer = await client.call('echo', asked);
            if (answer !== asked) failures.push(answer);
            calls += 1;
          } catch (error) {
            failures.push(error);
          }
        }
      }),
    );
    for (let round = 0; round < 5; round++) {
      const goal = calls + 200;
      await until(() => calls >= goal, 'calls to be answered');
      await app.app.close();
      app = await restart(app);
    }
    const goal = calls + 200;
    await until(() => calls >= goal, 'calls to be answered after the last restart');
    stop.abort();
    await Promise.all(lanes);
    expect(failures).toEqual([]);
  });

  it('loses no call that runs, nor those that wait for a slot behind it', async () => {
    const app = await startApp({ closeTimeoutMs: 5000 });
    const client = startClient(app.port, { reconnect, limits: { maxInFlight: 2 } });
    await client.connect();
    const calls = Array.from({ length: 6 }, (_, i) => client.call('hold', i));
    await until(() => seen.started === 2, 'two calls to run');
    const closed = app.app.close();
    await until(() => client.stats().queued === 4, 'the client to hear of it');
    const late = client.call('echo', 'late');
    release();
    await closed;
    expect(await Promise.all(calls.slice(0, 2))).toEqual([0, 1]);
    expect(seen.started).toBe(2); // the others did not go to the server that stopped
    const again = await restart(app);
    for (let n = 4; n <= 6; n += 2) {
      await until(() => seen.started === n, 'the next two');
      release();
    }
    expect(await Promise.all(calls)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await late).toBe('late');
    expect(again.server.stats().refusedCalls).toBe(0);
  });

  it('waits for a large answer that is being written', async () => {
    const app = await startApp({ closeTimeoutMs: 5000 });
    const client = startClient(app.port, { reconnect: false });
    await client.connect();
    const calls = Array.from({ length: 20 }, () => client.call<Buffer>('produce', 500_000));
    await until(() => seen.produced > 0, 'the first call to run');
    const closed = app.app.close();
    for (const answer of await Promise.all(calls)) expect(answer).toHaveLength(500_000);
    await closed;
  });

  it('may stop while clients connect: each of them is served or told', async () => {
    const app = await startApp({ closeTimeoutMs: 2000 });
    const outcomes = Array.from({ length: 30 }, (_, i) =>
      startClient(app.port, { reconnect: false })
        .call('echo', i)
        .catch((error: unknown) => error),
    );
    await until(() => app.server.stats().connections > 0, 'the first to come');
    await app.app.close();
    for (const [i, outcome] of (await Promise.all(outcomes)).entries()) {
      if (outcome !== i) expect(outcome).toBeInstanceOf(ConnectionLostError);
      if (outcome !== i) expect(outcome).toMatchObject({ sent: 'no' });
    }
    expect(app.server.stats()).toMatchObject({ connections: 0, inFlight: 0 });
  });
});

describe('a client of a server that stops', () => {
  it('starts nothing new on a connection that shuts down, waits there for what runs, and closes it', async () => {
    let held: RawFrame | undefined;
    const { port, peers, asked } = await shuttingDown(async (_peer, frame) => {
      held = frame;
      await Promise.resolve();
    });
    const client = startClient(port, { reconnect });
    const first = client.call('echo', 'first');
    await until(() => peers.length === 2, 'the second connection');
    expect(await client.call('echo', 'second')).toBe('second');
    expect(await client.call('echo', 'third')).toBe('third');
    expect(asked).toEqual([['first'], ['second', 'third']]);
    expect(peers[0]?.closed).toBe(false);
    expect(client.stats().inFlight).toBe(1);
    peers[0]?.send([101, held?.[1] ?? 0, {}, held?.[3]]);
    expect(await first).toBe('first');
    await peers[0]?.waitClosed();
    expect(client.stats().inFlight).toBe(0);
    expect(await client.call('echo', 'fourth')).toBe('fourth');
  });

  it('fails what a server that shuts down never answered, and keeps its new connection', async () => {
    const { port, peers } = await shuttingDown(async (peer) => {
      await until(() => peers.length === 2, 'the second connection');
      peer.send([203, 6, { target: '/_event/CLOSE' }, 'server shutdown']);
    });
    const client = startClient(port, { reconnect });
    await expect(client.call('echo', 'first')).rejects.toMatchObject({
      name: 'ConnectionLostError',
      sent: 'unknown',
    });
    expect(await client.call('echo', 'second')).toBe('second');
    expect(peers).toHaveLength(2);
  });

  it('answers pings of a server that shuts down', async () => {
    let pong: RawFrame | undefined;
    const { port } = await shuttingDown(async (peer, [, id, , body]) => {
      peer.send([203, 8, { target: '/_event/ping' }, '']);
      pong = await peer.next((frame) => frame[0] === 203);
      peer.send([101, id, {}, body]);
    });
    expect(await startClient(port, { reconnect }).call('echo', 'first')).toBe('first');
    expect(pong?.slice(0, 2)).toEqual([203, 8]);
  });

  it.each<[string, RawFrame]>([
    ['twice', [203, 6, { target: '/_event/shutdown' }, { close_timeout: 9 }]],
    ['with an odd body', [203, 6, { target: '/_event/shutdown' }, 'now']],
  ])('takes shutdown %s', async (_name, again) => {
    const { port } = await shuttingDown(async (peer, [, id, , body]) => {
      peer.send(again, [101, id, {}, body]);
      await Promise.resolve();
    });
    const client = startClient(port, { reconnect });
    expect(await client.call('echo', 'first')).toBe('first');
    expect(await client.call('echo', 'second')).toBe('second');
  });

  it('takes shutdown before the answer to DECLARE', async () => {
    let connections = 0;
    const { port } = await startScript(async (peer) => {
      connections += 1;
      if (connections === 1) {
        peer.send([203, 4, { target: '/_event/shutdown' }, { close_timeout: 1 }]);
        const [, id] = await peer.next((frame) => frame[2]['target'] === DECLARE[2]['target']);
        peer.send([103, id, {}, { conn_id: '1' }]);
      } else await answerDeclare(peer);
      const [, id, , body] = await peer.next((frame) => frame[0] === 101);
      peer.send([101, id, {}, body]);
    });
    expect(await startClient(port, { reconnect }).call('echo', 1)).toBe(1);
  });
});
