import { timers } from '../../lib/rpc/time/system-clock.js';
import { jest } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import { Observable } from 'rxjs';
import type { RapContext } from '../../lib/index.js';
import { MAX_ID } from '../../lib/protocol/frame.js';
import { answerDeclare, DECLARE, type RawFrame, type RawSocket } from '../helpers/raw-socket.js';
import {
  app,
  background,
  call,
  expectAnswers,
  Handlers,
  openRaw,
  release,
  seen,
  start,
  startApp,
  startClient,
  startScript,
  stopTime,
  until,
} from '../helpers/fault-scope.js';

const SLOW = [{ status_code: 301 }, ['RpcRunTimeError', 'Call slow timeout']];

let unsubscribed = 0;

@Controller()
class TimedHandlers {
  /** Has 60 ms, whatever the server's limit is. */
  @MessagePattern('brief', { timeoutMs: 60 })
  async brief(@Ctx() ctx: RapContext): Promise<void> {
    seen.signals.push(ctx.signal);
    await new Promise<void>((resolve) => ctx.signal.addEventListener('abort', () => resolve()));
    seen.ended += 1;
  }

  /** An Observable that never ends. */
  @MessagePattern('never')
  never(): Observable<never> {
    seen.started += 1;
    return new Observable(() => () => void (unsubscribed += 1));
  }

  /** Ends late, and fails. */
  @MessagePattern('late failure')
  async lateFailure(@Ctx() ctx: RapContext): Promise<never> {
    seen.started += 1;
    await new Promise<void>((resolve) => ctx.signal.addEventListener('abort', () => resolve()));
    await new Promise(setImmediate);
    seen.ended += 1;
    throw new TypeError('too late to matter');
  }

  @MessagePattern('left')
  left(@Ctx() ctx: RapContext): number | undefined {
    return ctx.deadline === undefined ? undefined : ctx.deadline - Date.now();
  }
}

const CONTROLLERS = [Handlers, TimedHandlers];

/** A call with more headers. */
function callWith(id: number, target: string, header: Record<string, unknown>): RawFrame {
  return [101, id, { target: `/default/${target}`, ...header }, null];
}

/** A raw connection that has agreed to extensions. */
function openWith(...extensions: string[]): Promise<RawSocket> {
  const [type, id, header, body] = DECLARE;
  const offer = Object.fromEntries(extensions.map((name) => [name, {}]));
  return openRaw(app, [type, id, header, { ...(body as object), extensions: offer }]);
}

/** Answers each call by what `play` sends for it. */
function answeringServer(play: (peer: RawSocket, frame: RawFrame) => void): ReturnType<typeof startScript> {
  return startScript(async (peer) => {
    await answerDeclare(peer);
    for (;;) play(peer, await peer.next((frame) => frame[0] === 101, 60_000));
  });
}

beforeEach(() => void (unsubscribed = 0));

describe('correlation ids at a server', () => {
  it('closes a connection that uses an id that is in use', async () => {
    await start({}, CONTROLLERS);
    const raw = await openRaw(app);
    raw.send(call(5, 'hold', 'first'), call(5, 'echo', 'second'));
    expect(await raw.closeReason()).toBe('correlation id 5 is in use');
    await raw.waitClosed();
    expect(raw.frames).toEqual([]);
    expect(seen.signals[0]?.aborted).toBe(true);
    await background.goesOn();
  });

  it('holds an id in use until its handler has ended, also after it was answered', async () => {
    const time = stopTime();
    await startApp({ runTimeoutMs: 40 });
    const raw = await openRaw(app);
    raw.send(call(5, 'hold', null));
    await until(() => seen.started === 1, 'the call to run');
    time.pass(40);
    expect((await raw.answer(5)).slice(2)).toMatchObject(SLOW);
    raw.send(call(5, 'echo', null));
    expect(await raw.closeReason()).toBe('correlation id 5 is in use');
  });

  it('takes an id again that is free again, and ids of any order and parity', async () => {
    await start({}, CONTROLLERS);
    const raw = await openRaw(app);
    for (const id of [5, 5, 4, MAX_ID, 1, 2, 5]) await expectAnswers(raw, id);
  });

  it('keeps connections apart that use the same ids', async () => {
    await start({}, CONTROLLERS);
    const raws = await Promise.all(Array.from({ length: 5 }, () => openRaw(app)));
    for (const [i, raw] of raws.entries()) raw.send(call(5, 'hold', i));
    await until(() => seen.started === 5, 'the calls to run');
    raws[0]?.destroy();
    await until(() => app.server.stats().connections === 5, 'one to be gone');
    release();
    for (const [i, raw] of raws.entries()) if (i > 0) expect(await raw.answer(5)).toEqual([101, 5, {}, i]);
  });

  it('answers a call once, whatever comes later', async () => {
    const time = stopTime();
    await startApp({ runTimeoutMs: 40 }, CONTROLLERS);
    const raw = await openRaw(app);
    raw.send(call(5, 'hold', 'late'), call(7, 'late failure', null));
    await until(() => seen.started === 2, 'the calls to run');
    time.pass(40);
    expect((await raw.answer(5)).slice(2)).toMatchObject(SLOW);
    expect((await raw.answer(7)).slice(2)).toMatchObject(SLOW);
    release();
    await until(() => seen.ended === 2, 'the handlers to end');
    await expectAnswers(raw);
    expect(raw.frames).toEqual([]);
  });

  it('ignores an answer to a call that it has not made, as that is a call', async () => {
    await start({}, CONTROLLERS);
    const raw = await openRaw(app);
    raw.send([101, 5, {}, 'an answer?'], [101, 7, { target: 7 }, null], [101, 9, { target: '' }, null]);
    for (const id of [5, 7, 9]) {
      expect((await raw.answer(id)).slice(2)).toMatchObject([{ status_code: 404 }, 'Not found func. name: ']);
    }
    await expectAnswers(raw);
  });
});

describe('answers at a client', () => {
  it.each<[string, RawFrame]>([
    ['an answer that nobody waits for', [101, 999, {}, 'foreign']],
    ['an error that nobody waits for', [101, 999, { status_code: 500 }, 'foreign']],
    ['an answer under an even id', [101, 4, {}, 'foreign']],
    ['an answer under the id of DECLARE', [101, 3, {}, 'foreign']],
    ['an answer under the largest id', [101, MAX_ID, {}, 'foreign']],
    ['a call', [101, 999, { target: '/default/echo' }, 'call']],
  ])('ignores and counts %s', async (_name, foreign) => {
    const { port } = await answeringServer((peer, [, id, , body]) => peer.send(foreign, [101, id, {}, body]));
    const client = startClient(port);
    expect(await client.call('echo', 1)).toBe(1);
    expect(client.stats()).toMatchObject({ lateAnswers: 1, inFlight: 0 });
    expect(await client.call('echo', 2)).toBe(2);
    expect(client.stats()).toMatchObject({ lateAnswers: 2, inFlight: 0 });
  });

  it.each<[string, RawFrame[2], unknown]>([
    ['value', {}, 'second'],
    ['error', { status_code: 500 }, 'second'],
  ])('takes the first of two answers, also if the second is a %s', async (_name, header, body) => {
    const { port } = await answeringServer((peer, [, id]) =>
      peer.send([101, id, {}, 'first'], [101, id, header, body]),
    );
    const client = startClient(port);
    for (let i = 1; i <= 3; i++) expect(await client.call('echo')).toBe('first');
    await until(() => client.stats().lateAnswers === 3, 'the second answers');
  });

  it('takes the first of two answers if that is an error', async () => {
    const { port } = await answeringServer((peer, [, id]) => {
      peer.send([101, id, { status_code: 401 }, 'first'], [101, id, {}, 'second']);
    });
    await expect(startClient(port).call('echo')).rejects.toMatchObject({
      name: 'AuthError',
      message: 'first',
    });
  });

  it('ignores and counts an answer after the timeout, and gives it to nobody else', async () => {
    const late: (() => void)[] = [];
    const { port } = await answeringServer((peer, [, id, , body]) => {
      if (body === 'slow') late.push(() => peer.send([101, id, {}, body]));
      else peer.send([101, id, {}, body]);
    });
    const time = stopTime();
    const client = startClient(port);
    const slow = client.call('echo', 'slow', { timeoutMs: 30 }).catch((error: unknown) => error);
    await until(() => late.length === 1, 'the call to arrive');
    time.pass(30);
    expect(await slow).toMatchObject({ name: 'CallTimeoutError', phase: 'response', status: 1005 });
    const controller = new AbortController();
    const cancelled = client.call('echo', 'slow', { signal: controller.signal });
    const subscription = client.send('echo', 'slow').subscribe(() => {
      throw new Error('an answer after unsubscribing');
    });
    await until(() => late.length === 3, 'the calls to arrive');
    controller.abort(new Error('enough'));
    await expect(cancelled).rejects.toMatchObject({
      name: 'CallCancelledError',
      cause: { message: 'enough' },
    });
    subscription.unsubscribe();
    const next = client.call('echo', 'next');
    for (const send of late) send();
    expect(await next).toBe('next');
    await until(() => client.stats().lateAnswers === 3, 'the late answers');
    expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  });

  it('takes answers in any order', async () => {
    const open: RawFrame[] = [];
    const { port } = await answeringServer((peer, frame) => {
      open.push(frame);
      if (open.length < 100) return;
      // each fifth first, and backwards
      open.sort((a, b) => (a[1] % 5) - (b[1] % 5) || b[1] - a[1]);
      peer.send(...open.map(([, id, , body]): RawFrame => [101, id, {}, body]));
    });
    const asked = Array.from({ length: 100 }, (_, i) => i);
    const client = startClient(port);
    expect(await Promise.all(asked.map((i) => client.call('echo', i)))).toEqual(asked);
    expect(client.stats().lateAnswers).toBe(0);
  });
});

describe('timeouts and cancels at a server', () => {
  it('ends a call that takes too long in the words of rap, and holds its slot until the handler ends', async () => {
    const time = stopTime();
    await startApp({ runTimeoutMs: 50 });
    const raw = await openRaw(app);
    raw.send(call(5, 'hold', null));
    await until(() => seen.started === 1, 'the call to run');
    time.pass(49);
    expect(seen.signals[0]?.aborted).toBe(false);
    time.pass(1);
    expect((await raw.answer(5)).slice(2)).toMatchObject(SLOW);
    expect(seen.signals[0]?.aborted).toBe(true);
    expect(seen.ended).toBe(0);
    expect(app.server.stats().inFlight).toBe(1);
    release();
    await until(() => app.server.stats().inFlight === 0, 'the slot to be free');
    expect(raw.frames).toEqual([]);
  });

  it('lets a handler have a time of its own', async () => {
    const time = stopTime();
    await start({}, CONTROLLERS);
    const raw = await openRaw(app);
    raw.send(call(5, 'brief', null));
    await until(() => seen.signals.length === 1, 'the call to run');
    time.pass(60);
    expect((await raw.answer(5)).slice(2)).toMatchObject(SLOW);
    await until(() => seen.ended === 1, 'the handler to end');
    expect(seen.signals[0]?.reason).toBeInstanceOf(Error);
  });

  it('leaves a call alone that is in time', async () => {
    const time = stopTime();
    await startApp({ runTimeoutMs: 2000 });
    const raw = await openRaw(app);
    raw.send(call(5, 'hold', 'in time'));
    await until(() => seen.started === 1, 'the call to run');
    time.pass(1999);
    release();
    expect(await raw.answer(5)).toEqual([101, 5, {}, 'in time']);
    time.pass(2000);
    expect(seen.signals[0]?.aborted).toBe(false);
    expect(raw.frames).toEqual([]);
  });

  it('honours the deadline of a Python client if that is earlier', async () => {
    const time = stopTime();
    await startApp({ runTimeoutMs: 120_000 }, CONTROLLERS);
    const raw = await openRaw(app);
    const now = Date.now() / 1000;
    raw.send(
      callWith(5, 'hold', { 'X-rap-deadline': now - 1 }),
      callWith(7, 'hold', { 'X-rap-deadline': now + 20 }),
      callWith(9, 'left', { 'X-rap-deadline': now + 100 }),
      callWith(11, 'left', { 'X-rap-deadline': now + 2000 }),
    );
    expect((await raw.answer(5)).slice(2)).toMatchObject(SLOW);
    const [, , , left] = await raw.answer(9);
    expect(left).toBeGreaterThan(50_000);
    expect(left).toBeLessThanOrEqual(100_001);
    const [, , , most] = await raw.answer(11);
    expect(most).toBeGreaterThan(100_001);
    expect(most).toBeLessThanOrEqual(120_001);
    expect(seen.started).toBe(1); // the call that came too late was not started
    time.pass(20_001);
    expect((await raw.answer(7)).slice(2)).toMatchObject(SLOW);
    expect(seen.signals[0]?.aborted).toBe(true);
  });

  it('honours the time that a peer of this project has left', async () => {
    const time = stopTime();
    await startApp({ runTimeoutMs: 5000 }, CONTROLLERS);
    const raw = await openWith('deadline');
    raw.send(callWith(5, 'hold', { timeout_ms: 0 }), callWith(7, 'hold', { timeout_ms: -5 }));
    raw.send(callWith(9, 'hold', { timeout_ms: 60 }), callWith(11, 'left', { timeout_ms: 1e12 }));
    for (const id of [5, 7]) expect((await raw.answer(id)).slice(2)).toMatchObject(SLOW);
    expect((await raw.answer(11))[3]).toBeLessThanOrEqual(5001);
    expect(seen.started).toBe(1);
    time.pass(59);
    expect(seen.signals[0]?.aborted).toBe(false);
    time.pass(1);
    expect((await raw.answer(9)).slice(2)).toMatchObject(SLOW);
  });

  it.each<[string, unknown]>([
    ['NaN', NaN],
    ['infinite', Infinity],
    ['huge', 1e300],
    ['text', 'soon'],
    ['nil', null],
    ['a map', { at: 1 }],
    ['beyond 53 bits', 2n ** 63n],
  ])('keeps its own limit if the time that is left is %s', async (_name, value) => {
    const time = stopTime();
    await startApp({ runTimeoutMs: 100 });
    const raw = await openWith('deadline');
    raw.send(callWith(5, 'hold', { timeout_ms: value }), callWith(7, 'hold', { 'X-rap-deadline': value }));
    await until(() => seen.started === 2, 'the calls to run');
    time.pass(99);
    expect(seen.signals.some((signal) => signal.aborted)).toBe(false);
    time.pass(1);
    expect((await raw.answer(5)).slice(2)).toMatchObject(SLOW);
    expect((await raw.answer(7)).slice(2)).toMatchObject(SLOW);
  });

  it('makes no timer for each deadline that a peer thinks of', async () => {
    await start({ limits: { maxInFlight: 4000 } }, CONTROLLERS);
    const raw = await openWith('deadline');
    const made = jest.spyOn(timers, 'setTimeout');
    const count = 3000;
    for (let i = 0; i < count; i++) raw.send(callWith(5 + 2 * i, 'echo', { timeout_ms: 5000 + i / 7 }));
    await until(() => raw.frames.length === count, 'all answers');
    const times = made.mock.calls.filter(([, ms]) => ms !== undefined && ms >= 4000 && ms < 10_000).length;
    made.mockRestore();
    expect(times).toBeGreaterThan(0);
    expect(times).toBeLessThan(count / 3);
  });

  it.each([
    ['disconnects', (raw: RawSocket) => raw.socket.end()],
    ['resets the connection', (raw: RawSocket) => raw.socket.resetAndDestroy()],
    ['breaks off in a frame', (raw: RawSocket) => (raw.bytes('946505'), raw.socket.end())],
    ['breaks the protocol', (raw: RawSocket) => raw.bytes('c1')],
  ])('tells handlers when the client %s, and frees their slots when they end', async (_name, leave) => {
    await start({}, CONTROLLERS);
    const raw = await openRaw(app);
    raw.send(call(5, 'hold', 1), call(7, 'hold', 2), call(9, 'never', 3));
    await until(() => seen.started === 3, 'the calls to run');
    leave(raw);
    await until(() => seen.signals.every((signal) => signal.aborted), 'the signals');
    await until(() => unsubscribed === 1, 'the Observable to be unsubscribed from');
    expect(seen.ended).toBe(0);
    await background.stop();
    await until(() => app.server.stats().inFlight === 2, 'the slot of the Observable');
    release();
    await until(() => app.server.stats().inFlight === 0, 'the slots of the others');
  });

  it('unsubscribes from an Observable that takes too long', async () => {
    const time = stopTime();
    await startApp({ runTimeoutMs: 50 }, [TimedHandlers]);
    const raw = await openRaw(app);
    raw.send(call(5, 'never', null));
    await until(() => seen.started === 1, 'the call to run');
    time.pass(50);
    expect((await raw.answer(5)).slice(2)).toMatchObject(SLOW);
    await until(() => unsubscribed === 1, 'the Observable to be unsubscribed from');
    expect(app.server.stats().inFlight).toBe(0);
  });

  it('says nothing more of a cancelled call', async () => {
    await start({}, CONTROLLERS);
    const raw = await openWith('cancel');
    raw.send(call(5, 'hold', null));
    await until(() => seen.started === 1, 'the call to run');
    raw.send([103, 7, { target: '/_event/cancel' }, { id: 5 }]);
    await until(() => seen.signals[0]?.aborted === true, 'the signal');
    release();
    await expectAnswers(raw);
    expect(raw.frames).toEqual([]);
  });

  it.each([[null], [7], ['5'], [{ id: 999 }], [{ id: '5' }], [{ id: null }], [{}], [[5]]])(
    'makes nothing of a cancel with the body %j',
    async (body) => {
      await start({}, CONTROLLERS);
      const raw = await openWith('cancel');
      raw.send(call(5, 'hold', 'mine'));
      await until(() => seen.started === 1, 'the call to run');
      raw.send([103, 7, { target: '/_event/cancel' }, body]);
      await expectAnswers(raw);
      release();
      expect(await raw.answer(5)).toEqual([101, 5, {}, 'mine']);
    },
  );
});

describe('timeouts and cancels at a client', () => {
  it('cancels at once, and the server learns of it', async () => {
    await start({}, CONTROLLERS);
    const client = startClient(app.port);
    const controller = new AbortController();
    const cancelled = client.call('hold', 1, { signal: controller.signal });
    const subscription = client.send('hold', 2).subscribe();
    await until(() => seen.started === 2, 'the calls to run');
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ name: 'CallCancelledError' });
    subscription.unsubscribe();
    expect(client.stats().inFlight).toBe(0);
    await until(() => seen.signals.every((signal) => signal.aborted), 'the signals');
  });

  it('does not send a call that was cancelled before, nor one whose connection is not there yet', async () => {
    await start({}, CONTROLLERS);
    const client = startClient(app.port);
    const controller = new AbortController();
    const waiting = client.call('hold', 1, { signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ name: 'CallCancelledError' });
    await expect(client.call('hold', 1, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: 'CallCancelledError',
    });
    await client.call('echo', 1);
    expect(seen.started).toBe(0);
  });

  it('tells the server of a timeout of its own', async () => {
    const time = stopTime();
    await startApp();
    const client = startClient(app.port);
    const timedOut = client.call('hold', 1, { timeoutMs: 50 }).catch((error: unknown) => error);
    await until(() => seen.started === 1, 'the call to run');
    time.pass(50);
    expect(await timedOut).toMatchObject({ name: 'CallTimeoutError' });
    await until(() => seen.signals[0]?.aborted === true, 'the signal');
  });

  it.each<[string, object]>([
    ['timeoutMs: Infinity', { timeoutMs: Infinity }],
    ['a timeout of 30 days', { timeoutMs: 30 * 24 * 3_600_000 }],
    ['a deadline in 30 days', { timeoutMs: Infinity, deadline: Date.now() + 30 * 24 * 3_600_000 }],
  ])('takes %s', async (_name, options) => {
    await start({}, CONTROLLERS);
    const client = startClient(app.port);
    await client.connect();
    const made = jest.spyOn(timers, 'setTimeout');
    const held = client.call('hold', 'long', options);
    await until(() => seen.started === 1, 'the call to run');
    await background.goesOn();
    // Node makes one of a millisecond of those
    const overflows = made.mock.calls.filter(([, ms]) => ms !== undefined && !(ms <= 2 ** 31 - 1));
    made.mockRestore();
    release();
    expect(await held).toBe('long');
    expect(overflows.length).toBe(0);
  });

  it('refuses a deadline that is not a time', async () => {
    await start({}, CONTROLLERS);
    const client = startClient(app.port);
    await expect(client.call('echo', 1, { timeoutMs: NaN })).rejects.toBeInstanceOf(RangeError);
    await expect(client.call('echo', 1, { timeoutMs: 0 })).rejects.toBeInstanceOf(RangeError);
    await expect(client.call('echo', 1, { deadline: new Date('never') })).rejects.toBeInstanceOf(RangeError);
    expect(await client.call('echo', 1)).toBe(1);
  });
});
