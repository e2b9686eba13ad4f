import { jest } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { RapGroup, RapServer } from '../../lib/index.js';
import { serve } from '../helpers/app.js';
import { answerDeclare } from '../helpers/raw-socket.js';
import {
  call,
  connectRaw,
  expectAnswers,
  Handlers,
  openRaw,
  release,
  seen,
  startApp,
  startBackgroundCalls,
  startClient,
  startScript,
  stopTime,
  until,
} from '../helpers/fault-scope.js';
import { pass } from '../helpers/async.js';

@Controller()
class First {
  @MessagePattern('sum')
  sum(): void {}
}

@RapGroup('default')
@Controller()
class Second {
  @MessagePattern({ group: 'default', name: 'sum' })
  add(): void {}
}

afterEach(() => void jest.restoreAllMocks());

describe('a server', () => {
  it('logs a fault of its listening socket and keeps listening', async () => {
    const app = await startApp();
    const background = await startBackgroundCalls(app);
    const told: Error[] = [];
    app.server.on('error', (error) => told.push(error));
    app.server.on('error', () => {
      throw new Error('a listener throws');
    });
    const error = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' });
    app.server.unwrap().emit('error', error);
    app.server.unwrap().emit('error', error);
    expect(told).toEqual([error, error]);
    expect(app.log.lines).toContain('error RapServer: accept EMFILE');
    await expectAnswers(await openRaw(app));
    await background.goesOn();
    expect(app.server.address()).not.toBeNull();
  });

  it('outlives errors of its sockets, also of those that it has refused or closed', async () => {
    const app = await startApp({ limits: { maxConnections: 3 } });
    const background = await startBackgroundCalls(app);
    const sockets: { destroy(error?: Error): void }[] = [];
    app.server.unwrap().on('connection', (socket) => sockets.push(socket));
    await openRaw(app);
    await connectRaw(app);
    const refused = await connectRaw(app);
    await refused.closeReason();
    for (const code of ['EPIPE', 'ECONNRESET', 'ETIMEDOUT']) {
      for (const socket of sockets) socket.destroy(Object.assign(new Error(code), { code }));
    }
    await until(() => app.server.stats().connections === 1, 'the connections to be gone');
    await background.goesOn();
    expect(app.log.lines).toEqual([]);
  });

  it('writes to peers that have gone, without an error of its own', async () => {
    const app = await startApp();
    const background = await startBackgroundCalls(app);
    for (let round = 0; round < 10; round++) {
      const raw = await openRaw(app);
      raw.send(...Array.from({ length: 20 }, (_, i) => call(5 + 2 * i, 'hold', 'x'.repeat(50_000))));
      const started = seen.started + 20;
      await until(() => seen.started >= started, 'the calls to run');
      raw.socket.resetAndDestroy();
      release(); // some answers are written before the reset is known, some after
    }
    await until(() => app.server.stats().connections === 1, 'the connections to be gone');
    await background.goesOn();
    expect(app.log.lines).toEqual([]);
  });

  it('fails to start if its port is taken, and harms nobody', async () => {
    const app = await startApp();
    await expect(serve([Handlers], { port: app.port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await expectAnswers(await openRaw(app));
  });

  it('fails to start if two handlers claim one target, and names both', async () => {
    const error = (await serve([First, Second]).catch((caught: unknown) => caught)) as Error;
    expect(error).toMatchObject({ name: 'RegisteredError', status: 1004 });
    expect(error.message).toContain('/default/sum');
    expect(error.message).toContain('pattern "sum" in group "default"');
    expect(error.message).toContain('Second.add');
  });

  it.each<[object]>([
    [{ limits: { maxFrameByte: 1 } }],
    [{ limits: { maxInFlight: -1 } }],
    [{ limits: { maxInFlight: NaN } }],
    [{ limits: { maxInFlight: '7' } }],
    [{ keepAlive: { interval: 1 } }],
  ])('refuses options that are none: %j', (options) => {
    expect(() => new RapServer(options)).toThrow(RangeError);
  });
});

describe('a client', () => {
  it('outlives errors of its socket', async () => {
    const app = await startApp();
    const client = startClient(app.port, { reconnect: { baseDelayMs: 1 } });
    for (const code of ['EPIPE', 'ECONNRESET', 'ETIMEDOUT']) {
      expect(await client.call('echo', code)).toBe(code);
      const pending = client.call('hold', code).catch((error: unknown) => error);
      client.unwrap<{ destroy(error: Error): void }>().destroy(Object.assign(new Error(code), { code }));
      expect(await pending).toMatchObject({
        name: 'ConnectionLostError',
        sent: 'unknown',
        message: expect.stringContaining(code) as string,
        cause: { code },
      });
    }
    expect(await client.call('echo', 'again')).toBe('again');
  });
});

describe('the log of a server', () => {
  it('a handler that fails again and again writes its own lines, the connection none', async () => {
    @Controller()
    class Failing {
      @MessagePattern('fail')
      fail(): never {
        throw new TypeError('as always');
      }
    }
    const app = await startApp({}, [Handlers, Failing]);
    const raw = await openRaw(app);
    for (let id = 5; id < 105; id += 2) raw.send(call(id, 'fail', null));
    await raw.answer(103);
    // these are of Nest's own filter, as for any transport
    expect(app.log.lines.filter((line) => !line.startsWith('error RpcExceptionsHandler:'))).toEqual([]);
  });

  it('a logger that throws does not take the server along', async () => {
    const app = await startApp();
    const background = await startBackgroundCalls(app);
    Logger.overrideLogger({
      log() {},
      warn() {
        throw new Error('the disk is full');
      },
      error() {
        throw new Error('the disk is full');
      },
    });
    const raw = await openRaw(app);
    raw.send(call(5, 'nobody knows', null));
    expect((await raw.answer(5))[2]['status_code']).toBe(404);
    await expectAnswers(raw);
    raw.bytes('c1');
    await raw.waitClosed();
    await until(() => app.server.stats().connections === 1, 'the connection to be gone');
    await background.goesOn();
  });
});

describe('clocks and endless timeouts', () => {
  const realNow = Date.now;

  it.each([
    ['an hour ahead', 3_600_000],
    ['an hour back', -3_600_000],
  ])('a wall clock that jumps %s ends no call and no connection, and holds none', async (_name, jump) => {
    const time = stopTime();
    const keepAlive = { intervalMs: 40, timeoutMs: 2000 };
    const app = await startApp({ keepAlive, runTimeoutMs: 400, limits: { incompleteFrameTimeoutMs: 400 } });
    const ends: string[] = [];
    app.server.on('disconnect', (_connection, reason) => ends.push(reason.message));
    const background = await startBackgroundCalls(app);
    const client = startClient(app.port, { keepAlive });
    const held = client.call('hold', 'held');
    const late = client.call('hold', 'late', { timeoutMs: 100 }).catch((error: unknown) => error);
    const unfinished = await openRaw(app);
    unfinished.bytes('946505');
    await until(() => seen.started === 2, 'the calls to run');

    jest.spyOn(Date, 'now').mockImplementation(() => realNow() + jump);
    await background.goesOn();
    time.pass(60);
    await background.goesOn();
    expect(seen.ended).toBe(0);
    release();
    expect(await held).toBe('held');
    await late;
    expect(ends).toEqual([]);
    // and the timers run on
    const slow = client.call('hold', 'slow', { timeoutMs: 60 }).catch((error: unknown) => error);
    await until(() => seen.started === 3, 'the call to run');
    time.pass(60);
    expect(await slow).toMatchObject({ name: 'CallTimeoutError' });
    await background.stop(); // its calls have no more time than others
    time.pass(400);
    expect(await unfinished.closeReason()).toBe('incomplete frame');
    const overdue = client.call('hold', 'overdue').catch((error: unknown) => error);
    await until(() => seen.started === 4, 'the call to run');
    time.pass(400);
    expect(await overdue).toMatchObject({ message: 'Call slow timeout' });
  });

  it.each([
    ['limits.writeStallTimeoutMs', { limits: { writeStallTimeoutMs: Infinity } }],
    ['limits.incompleteFrameTimeoutMs', { limits: { incompleteFrameTimeoutMs: Infinity } }],
    ['limits.declareTimeoutMs', { limits: { declareTimeoutMs: Infinity } }],
    ['keepAlive.intervalMs', { keepAlive: { intervalMs: Infinity } }],
    ['runTimeoutMs', { runTimeoutMs: Infinity }],
    ['runTimeoutMs of 30 days', { runTimeoutMs: 30 * 24 * 3_600_000 }],
  ])('an endless %s is no timeout, not one of a millisecond', async (_name, options) => {
    const app = await startApp(options);
    const silent = await connectRaw(app);
    const raw = await openRaw(app);
    raw.send(call(5, 'hold', 'held'));
    raw.bytes('946507'); // the begin of the next frame
    await until(() => seen.started === 1, 'the call to run');
    await pass(50);
    expect([raw.closed, silent.closed]).toEqual([false, false]);
    raw.bytes(Buffer.from('80c0', 'hex'));
    expect((await raw.answer(7))[2]['status_code']).toBe(404);
    release();
    expect(await raw.answer(5)).toEqual([101, 5, {}, 'held']);
  });

  it('an endless timeout of a client is no timeout, either', async () => {
    const server = await startScript(async (peer) => {
      await answerDeclare(peer);
      const [, id] = await peer.next((frame) => frame[0] === 101);
      await pass(50);
      peer.send([101, id, {}, 'patience']);
    });
    const client = startClient(server.port, {
      callTimeoutMs: Infinity,
      limits: { connectTimeoutMs: Infinity, openTimeoutMs: Infinity, writeStallTimeoutMs: Infinity },
      keepAlive: { intervalMs: Infinity },
    });
    expect(await client.call('echo')).toBe('patience');
  });
});
