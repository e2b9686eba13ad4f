import { ConnectionLostError, type RapServerOptions } from '../../lib/index.js';
import { CloseReason } from '../../lib/protocol/event.js';
import { answerDeclare, pack, type RawFrame, type RawSocket } from '../helpers/raw-socket.js';
import {
  app,
  background,
  brokenOnce,
  call,
  expectAnswers,
  openRaw,
  release,
  seen,
  start,
  startClient,
  startScript,
  stopTime,
  until,
} from '../helpers/fault-scope.js';

const MIB = 1024 * 1024;

/** Why connections of the server ended. */
let ends: string[];

/** Starts a server whose lost connections are noted, and a client that calls it all the time. */
async function startNoting(options: RapServerOptions): Promise<void> {
  await start(options);
  app.server.on('disconnect', (_connection, reason) => ends.push(reason.message));
}

beforeEach(() => void (ends = []));

describe('a server with a peer that reads slowly', () => {
  it('reads no requests of a peer that does not read, and destroys it when it takes nothing', async () => {
    await startNoting({ limits: { sendBufferSoftBytes: 256 * 1024, writeStallTimeoutMs: 300 } });
    const raw = await openRaw(app);
    raw.socket.pause();
    for (let id = 5; id < 2005; id += 2) raw.send(call(id, 'produce', 256 * 1024));
    await until(() => ends.length === 1, 'the connection to be destroyed');
    expect(ends).toEqual([expect.stringContaining('limits.writeStallTimeoutMs')]);
    // 1000 calls came; what ran fits into the buffers of the two kernels' ends
    expect(seen.produced).toBeLessThan(150);
    expect(app.log.lines).toEqual([]);
    await background.goesOn();
  });

  it('destroys a peer for which more waits than the hard limit, too', async () => {
    await startNoting({
      limits: { maxFrameBytes: 64 * 1024, sendBufferHardBytes: 0, writeStallTimeoutMs: 300 },
    });
    const raw = await openRaw(app);
    raw.socket.pause();
    for (let i = 0; i < 250; i++) raw.send(call(5 + 2 * i, 'hold', 'x'.repeat(60_000)));
    await until(() => seen.started === 250, 'the calls to run');
    release();
    await until(() => ends.length === 1, 'the connection to be destroyed');
    expect(ends).toEqual([expect.stringContaining('limits.writeStallTimeoutMs')]);
    expect(app.log.lines).toEqual([]);
    await background.goesOn();
    expect(app.server.stats()).toMatchObject({ connections: 1 });
  });

  it('keeps a peer that reads slowly, and answers all its calls', async () => {
    const time = stopTime();
    await startNoting({ limits: { sendBufferSoftBytes: 64 * 1024, writeStallTimeoutMs: 1000 } });
    const raw = await openRaw(app);
    let passed = 0;
    raw.socket.on('data', () => {
      raw.socket.pause();
      time.pass(8);
      passed += 8;
      setTimeout(() => raw.socket.resume(), 1);
    });
    for (let id = 5; id < 405; id += 2) raw.send(call(id, 'produce', 64 * 1024));
    await until(() => raw.frames.length === 200, 'all answers');
    expect(passed).toBeGreaterThan(1000);
    expect(ends).toEqual([]);
    await expectAnswers(raw);
  });

  it('keeps a peer that was paused for a while', async () => {
    const time = stopTime();
    await startNoting({ limits: { sendBufferSoftBytes: 256 * 1024, writeStallTimeoutMs: 5000 } });
    const raw = await openRaw(app);
    raw.socket.pause();
    for (let id = 5; id < 205; id += 2) raw.send(call(id, 'produce', 256 * 1024));
    let before = -1;
    // until the server has stopped for lack of room
    while (seen.produced !== before) {
      before = seen.produced;
      await background.goesOn(20);
    }
    time.pass(4999);
    raw.socket.resume();
    await until(() => raw.frames.length === 100, 'all answers');
    await expectAnswers(raw);
  });

  it.each([
    ['small', 2048, 1024],
    ['of 1.5 MiB', 1.5 * MIB, undefined],
  ])(
    'reads on after an answer beyond the soft limit that was taken at once: %s',
    async (_name, size, soft) => {
      await startNoting({ limits: soft === undefined ? {} : { sendBufferSoftBytes: soft } });
      const client = startClient(app.port);
      for (let i = 0; i < 5; i++) {
        expect(await client.call('produce', size)).toHaveLength(size);
        expect(await client.call('echo', i)).toBe(i);
      }
    },
  );

  it('does not send large pings back', async () => {
    await startNoting({});
    const raw = await openRaw(app);
    for (const [i, body] of ['x'.repeat(MIB), { blob: Buffer.alloc(MIB) }].entries()) {
      raw.send([103, 5 + 2 * i, { target: '/_event/ping' }, body]);
      const answer = await raw.answer(5 + 2 * i);
      expect(answer.slice(0, 3)).toEqual([103, 5 + 2 * i, {}]);
      expect(pack(answer).length).toBeLessThan(2048);
    }
  });
});

describe('a client with a server that reads slowly', () => {
  it('holds calls back while too much of its own waits, and fails all when the server never reads', async () => {
    const server = await startScript(async (peer) => {
      await answerDeclare(peer);
      peer.socket.pause();
    });
    const client = startClient(server.port, {
      limits: { maxFrameBytes: MIB, sendBufferSoftBytes: MIB, writeStallTimeoutMs: 300 },
    });
    await client.connect();
    const body = Buffer.alloc(MIB - 1024);
    const calls = Array.from({ length: 40 }, () => client.call('echo', body));
    const outcomes = (await Promise.allSettled(calls)).map(
      (it) => (it as PromiseRejectedResult).reason as ConnectionLostError,
    );
    for (const error of outcomes) expect(error).toBeInstanceOf(ConnectionLostError);
    expect(outcomes[0]).toMatchObject({ sent: 'unknown' });
    expect(outcomes[0]?.message).toContain('limits.writeStallTimeoutMs');
    // what was held back has not left this process
    expect(outcomes.at(-1)).toMatchObject({ sent: 'no' });
  });

  it('takes a slow server for what it is', async () => {
    const time = stopTime();
    let passed = 0;
    const server = await startScript(async (peer) => {
      peer.socket.on('data', () => {
        peer.socket.pause();
        time.pass(8);
        passed += 8;
        setTimeout(() => peer.socket.resume(), 1);
      });
      await answerDeclare(peer);
      for (;;) {
        const [, id, , body] = await peer.next((frame) => frame[0] === 101, 60_000);
        peer.send([101, id, {}, (body as Buffer).length]);
      }
    });
    const client = startClient(server.port, { limits: { writeStallTimeoutMs: 1000 } });
    const calls = Array.from({ length: 100 }, () => client.call('echo', Buffer.alloc(100_000)));
    expect(await Promise.all(calls)).toEqual(Array(100).fill(100_000));
    expect(passed).toBeGreaterThan(1000);
  });
});

describe('full buffers in both directions', () => {
  const bodies = Array.from({ length: 64 }, (_, i) => Buffer.alloc(MIB, i));

  it.each([
    ['the limits as they are', {}, {}],
    ['much room at the client', {}, { sendBufferHardBytes: 128 * MIB }],
    ['a tiny soft limit', { sendBufferSoftBytes: 1024 }, { sendBufferHardBytes: 128 * MIB }],
  ])('64 calls of 1 MiB each way on one connection all end, with %s', async (_name, limits, clientLimits) => {
    await startNoting({ limits });
    const client = startClient(app.port, { callTimeoutMs: 20_000, limits: clientLimits });
    const answers = await Promise.all(bodies.map((body) => client.call<Buffer>('echo', body)));
    expect(answers.every((answer, i) => bodies[i]?.equals(answer))).toBe(true);
    expect(ends).toEqual([]);
  });

  it.each([12, 40, 100])('%d MiB of answers that end in one moment all arrive', async (count) => {
    await startNoting({ limits: { maxHeldBytes: 128 * MIB } });
    const client = startClient(app.port, { callTimeoutMs: 20_000 });
    const body = Buffer.alloc(MIB, 7);
    const answers = Array.from({ length: count }, () => client.call<Buffer>('hold', body));
    await until(() => seen.started === count, 'the calls to run');
    release();
    for (const answer of await Promise.all(answers)) expect(answer.equals(body)).toBe(true);
    expect(ends).toEqual([]);
    await background.goesOn();
  });

  it('a peer that writes all its calls before it reads gets all its answers', async () => {
    await startNoting({});
    const raw = await openRaw(app);
    raw.socket.pause();
    const body = Buffer.alloc(MIB, 1);
    for (let i = 0; i < 16; i++) raw.send(call(5 + 2 * i, 'echo', body));
    // the server has stopped reading, so that not everything can be written
    await until(() => raw.socket.writableLength > 0, 'the connection to be full');
    raw.socket.resume();
    await until(() => raw.frames.length === 16, 'all answers');
    await expectAnswers(raw);
  });
});

describe('a server with a peer that is silent', () => {
  const keepAlive = { intervalMs: 60, timeoutMs: 60, maxMissed: 2 };

  it('finds a peer that is frozen, tells it, and aborts its calls', async () => {
    const time = stopTime();
    await startNoting({ keepAlive });
    const raw = await openRaw(app);
    raw.send(call(5, 'hold', null));
    await until(() => seen.started === 1, 'the call to run');
    for (let n = 0; n < 20 && !raw.closed; n++) {
      await background.goesOn();
      time.pass(30);
    }
    expect(await raw.closeReason()).toBe(CloseReason.PongTimeout);
    await raw.waitClosed();
    expect(raw.frames.filter((frame) => frame[2]['target'] === '/_event/ping').length).toBeGreaterThanOrEqual(
      2,
    );
    expect(seen.signals[0]?.aborted).toBe(true);
    expect(ends).toEqual([expect.stringContaining(CloseReason.PongTimeout)]);
    expect(app.log.lines).toEqual([]);
  });

  it('keeps an idle peer that answers its pings', async () => {
    const time = stopTime();
    await startNoting({ keepAlive });
    const raw = await openRaw(app);
    let answered = 0;
    for (let n = 0; n < 40; n++) {
      time.pass(30);
      await background.goesOn();
      for (const [type, id, , body] of raw.frames.splice(0)) {
        expect([type, id % 2, body]).toEqual([203, 0, '']);
        raw.send([type, id, {}, body]);
        answered += 1;
      }
      await background.goesOn();
    }
    expect(answered).toBeGreaterThan(5);
    await expectAnswers(raw);
    expect(ends).toEqual([]);
  });

  it('keeps a peer that never answers pings but goes on calling', async () => {
    const time = stopTime();
    await startNoting({ keepAlive });
    const raw = await openRaw(app);
    for (let n = 0; n < 40; n++) {
      await expectAnswers(raw, 5 + 2 * n);
      time.pass(30);
    }
    expect(ends).toEqual([]);
  });

  it('keeps a peer that is busy with sending one large frame', async () => {
    const time = stopTime();
    await startNoting({ keepAlive });
    const raw = await openRaw(app);
    raw.bytes(
      Buffer.from('946505 81a6746172676574ad2f64656661756c742f6563686f c50200'.replace(/ /g, ''), 'hex'),
    );
    for (let n = 0; n < 32; n++) {
      time.pass(30);
      raw.bytes(Buffer.alloc(16, n));
      await background.goesOn(); // its calls come through the same loop: the bytes are read
    }
    expect(await raw.answer(5)).toHaveLength(4);
    expect(ends).toEqual([]);
  });

  it('lets go of a connection without calls after the idle time, and only of such', async () => {
    const time = stopTime();
    await startNoting({ keepAlive: { ...keepAlive, idleTimeoutMs: 200 } });
    const [idle, busy] = [await openRaw(app), await openRaw(app)];
    busy.send(call(5, 'hold', 'long'));
    await until(() => seen.started === 1, 'the call to run');
    const pongs = Promise.allSettled([idle, busy].map(answerPings));
    for (let n = 0; n < 20; n++) {
      time.pass(30);
      await background.goesOn(20);
    }
    expect(await idle.closeReason()).toBe(CloseReason.IdleTimeout);
    await idle.waitClosed();
    expect(busy.closed).toBe(false);
    release();
    expect((await busy.answer(5))[3]).toBe('long');
    busy.destroy();
    await pongs;
  });
});

/** Answers pings until the connection is gone; rejects then. */
async function answerPings(raw: RawSocket): Promise<never> {
  for (;;) {
    const [, id] = await raw.next((frame) => frame[2]['target'] === '/_event/ping');
    raw.send([203, id, {}, '']);
  }
}

describe('a client with a server that is silent', () => {
  const keepAlive = { intervalMs: 60, timeoutMs: 60 };

  it('finds a server that is frozen, fails its calls and comes back', async () => {
    let connections = 0;
    const server = await startScript(async (peer) => {
      connections += 1;
      if (connections === 1) return void (await answerDeclare(peer));
      await answerDeclare(peer);
      for (;;) {
        const [type, id, , body] = await peer.next(undefined, 60_000);
        peer.send([type, id, {}, body]);
      }
    });
    const client = startClient(server.port, { keepAlive, reconnect: { baseDelayMs: 5 } });
    const ping = client.connect().then(() => client.ping());
    const [called, pinged] = await Promise.allSettled([client.call('echo', 1), ping]);
    for (const outcome of [called, pinged]) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: {
          name: 'ConnectionLostError',
          sent: 'unknown',
          message: expect.stringContaining(CloseReason.PongTimeout) as string,
        },
      });
    }
    expect(await client.call('echo', 2)).toBe(2);
    const frozen = server.peers[0];
    await frozen?.waitClosed();
    expect(frozen?.frames.filter((frame) => frame[2]['target'] === '/_event/ping').length).toBeGreaterThan(0);
  });

  it('waits for a server that is slow and alive', async () => {
    const server = await startScript(async (peer) => {
      await answerDeclare(peer);
      let waiting: RawFrame | undefined;
      for (let pings = 0; ;) {
        const frame = await peer.next();
        if (frame[0] === 101) waiting = frame;
        else {
          pings += 1;
          peer.send([frame[0], frame[1], {}, frame[3]]);
        }
        if (pings === 5 && waiting) peer.send([101, waiting[1], {}, 'at last']);
      }
    });
    const client = startClient(server.port, { keepAlive });
    expect(await client.call('echo', 1)).toBe('at last');
    expect(server.peers).toHaveLength(1);
  });

  it('finds a frozen server also when it has nothing to ask', async () => {
    const server = await brokenOnce(() => {});
    const client = startClient(server.port, { keepAlive, reconnect: { baseDelayMs: 5 } });
    await client.connect();
    // it reads nothing: the ping is in the kernel and nobody answers
    server.peers[0]?.socket.removeAllListeners('data');
    server.peers[0]?.socket.pause();
    await until(() => server.peers.length === 2, 'the client to come back');
    expect(await client.call('echo', 3)).toBe(3);
  });
});
