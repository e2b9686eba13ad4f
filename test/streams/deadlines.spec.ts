import { timers } from '../../lib/rpc/time/system-clock.js';
import 'reflect-metadata';
import { CallTimeoutError, InvokeError, RapClient } from '../../lib/index.js';
import { eventually, pass, rejection, turn, within } from '../helpers/async.js';
import {
  answerDeclareWith,
  call,
  declare,
  declared,
  fence,
  lifeCycle,
  msg,
} from '../helpers/channel/channel-frames.js';
import { DECLARE, type RawFrame, RawSocket, scriptedServer } from '../helpers/raw-socket.js';
import { collect, collectFailing, idle, takeItems } from '../helpers/streams.js';
import { at, connect, expectLeft, recorder, start, time } from './deadline-handlers.js';
import { gate, probe, scope } from '../helpers/stream-scope.js';

describe('ctx.deadline', () => {
  it('is what the caller has left, for every kind of call', async () => {
    const { mine } = await start({ runTimeoutMs: 60_000 });
    const limit = { timeoutMs: 5000 };
    expectLeft(await mine.call('left', {}, limit), 5000);
    expectLeft(await mine.call('left', {}, { deadline: Date.now() + 5000 }), 5000);
    expectLeft(
      await mine.call('left', {}, { deadline: new Date(Date.now() + 5000), timeoutMs: 50_000 }),
      5000,
    );
    expectLeft((await collect(mine.stream('leftStream', {}, limit)))[0], 5000);
    const channel = await mine.channel<number>('leftChannel', limit);
    expectLeft(await channel.read(), 5000);
    channel.close();
  });

  it('is the limit of the server if the caller has more, or has none', async () => {
    const test = await start({ runTimeoutMs: 3000 });
    const { mine, port } = test;
    expectLeft(await mine.call('left'), 3000);
    expectLeft(await mine.call('left', {}, { timeoutMs: 60_000 }), 3000);
    expectLeft(await test.client({ callTimeoutMs: 2000 }).call('left'), 2000);
    const raw = await connect(port, {});
    raw.send(call(5, 'left', {}));
    expectLeft((await raw.answer(5))[3], 3000);
  });

  it('is undefined for a stream or channel without a limit', async () => {
    const { mine } = await start();
    expect(await collect(mine.stream('leftStream'))).toEqual([null]);
    const channel = await mine.channel<number>('leftChannel');
    expect(await channel.read()).toBeNull();
    channel.close();
  });

  it('honours X-rap-deadline, which needs no extension', async () => {
    const { port } = await start();
    const raw = await RawSocket.open(port, DECLARE);
    scope.defer(() => raw.destroy());
    raw.send(call(5, 'left', {}, at(8000)));
    expectLeft((await raw.answer(5))[3], 8000);
    raw.send(declare(7, 'leftStream', {}, at(20_000)), msg(7, {}));
    await raw.answer(7);
    expectLeft((await raw.answer(7))[3], 20_000);
    raw.send(call(9, 'left', {}, at(3600_000)));
    expectLeft((await raw.answer(9))[3], 9000);
    raw.send(call(11, 'left', {}, at(-1000)), declare(13, 'leftStream', {}, at(-1000)), msg(13, {}));
    expect(await raw.answer(11)).toMatchObject({
      2: { status_code: 301 },
      3: ['RpcRunTimeError', 'Call slow timeout'],
    });
    expect(
      lifeCycle(await raw.next((frame) => frame[1] === 13 && frame[2]['status_code'] !== undefined)),
    ).toBe('DROP 1005');
    raw.send(call(15, 'wait', {}, at(8000)));
    await eventually('the handler runs', () => probe.started === 1);
    time.pass(8000);
    expect((await raw.answer(15))[2]['status_code']).toBe(301);
    await eventually('the handler has ended', () => probe.ended === 1);
  });

  it('takes the earlier of all that it is told', async () => {
    const { port } = await start();
    const raw = await connect(port);
    const inSeconds = (Date.now() + 7000) / 1000;
    raw.send(call(5, 'left', {}, { timeout_ms: 8000, 'X-rap-deadline': inSeconds }));
    expectLeft((await raw.answer(5))[3], 7000);
    raw.send(call(7, 'left', {}, { timeout_ms: 700, 'X-rap-deadline': inSeconds }));
    expectLeft((await raw.answer(7))[3], 700);
  });

  it('is not moved by values that are no time', async () => {
    const { port } = await start();
    const raw = await connect(port);
    const odd = ['100', null, {}, [5], true, Number.NaN, Number.POSITIVE_INFINITY, 1e300, 2n ** 63n];
    const headers = odd.flatMap((value) => [{ timeout_ms: value }, { 'X-rap-deadline': value }]);
    for (const [i, header] of headers.entries()) {
      raw.send(call(5 + 2 * i, 'left', {}, header));
      const answer = await raw.answer(5 + 2 * i);
      expect([header, answer[2]]).toEqual([header, {}]);
      expectLeft(answer[3], 9000);
    }
    for (const [i, header] of headers.entries()) {
      const id = 101 + 2 * i;
      raw.send(declare(id, 'waitStream', {}, header), msg(id, {}));
      await raw.next((frame) => frame[1] === id && frame[3] === 1);
    }
    time.pass(8999);
    expect(probe.aborted).toBe(0);
    expect(await fence(raw)).toEqual([]);
  });

  it('keeps no timer busy for a time that is too long for one', async () => {
    time.resume();
    const { port, mine } = await start();
    const raw = await connect(port);
    // a timer for longer than 2^31 - 1 ms fires after 1 ms
    const made: unknown[] = [];
    const { setTimeout: original } = timers;
    timers.setTimeout = ((callback: () => void, ms?: number) => {
      made.push(ms);
      return original(callback, ms);
    }) as typeof setTimeout;
    scope.defer(() => (timers.setTimeout = original));
    for (const [i, timeout_ms] of [2 ** 31, 2 ** 40, Number.NaN, 1e300].entries()) {
      const id = 5 + 2 * i;
      raw.send(declare(id, 'waitStream', {}, { timeout_ms }), msg(id, {}));
      await raw.next((frame) => frame[1] === id && frame[3] === 1);
    }
    expect(await takeItems(mine.stream('waitStream', {}, { timeoutMs: 2 ** 32 }), 1)).toEqual([1]);
    expect(await takeItems(mine.stream('waitStream', {}, { deadline: Date.now() + 1e12 }), 1)).toEqual([1]);
    await pass(50);
    expect(made.filter((ms) => typeof ms !== 'number' || !(ms < 2 ** 31))).toEqual([]);
    expect(made.length).toBeLessThan(60);
  });
});

describe('on the wire', () => {
  it('timeout_ms travels if somebody set a limit, and only then', async () => {
    const { client, frames } = await recorder((peer, frame) => {
      if (frame[0] === 101) peer.send([101, frame[1], {}, 'ok']);
      if (lifeCycle(frame) === 'DECLARE')
        peer.send(declared(frame[1]), [102, frame[1], { channel_life_cycle: 'DROP' }, null]);
    });
    await client.call('plain');
    await collect(client.stream('plain'));
    await (
      await client.channel('plain')
    ).closed;
    await client.call('limited', {}, { timeoutMs: 3000 });
    await collect(client.stream('limited', {}, { timeoutMs: 3000 }));
    await (
      await client.channel('limited', { deadline: Date.now() + 3000 })
    ).closed;
    // no limit, said aloud
    await client.call('endless', {}, { timeoutMs: Infinity });
    await collect(client.stream('endless', {}, { timeoutMs: Infinity }));
    for (const [, , header] of frames) {
      expect(header['X-rap-deadline']).toBeUndefined();
      if (header['target'] === '/default/limited') expectLeft(header['timeout_ms'], 3000);
      else expect(header['timeout_ms']).toBeUndefined();
    }
    expect(frames.filter(([, , header]) => header['timeout_ms'] !== undefined)).toHaveLength(3);
  });

  it('tells what is left when the frame is written, not when the call was made', async () => {
    const frames: RawFrame[] = [];
    const scripted = await scriptedServer(async (peer) => {
      time.pass(100);
      await answerDeclareWith(peer);
      for (;;) {
        const frame = await peer.next(undefined, 60_000);
        frames.push(frame);
        if (frame[0] === 101) peer.send([101, frame[1], {}, 'ok']);
      }
    });
    scope.defer(() => scripted.close());
    const client = new RapClient({ host: '127.0.0.1', port: scripted.port, limits: { maxInFlight: 1 } });
    scope.defer(() => client.close());
    const limit = { timeoutMs: 3000 };
    const channel = await client.channel('limited', limit);
    await Promise.all([client.call('limited', {}, limit), client.call('limited', {}, limit)]);
    channel.close();
    const left = frames.map(([, , header]) => header['timeout_ms']).filter((ms) => ms !== undefined);
    expect(left).toHaveLength(3);
    expect(left[0]).toBe(2900);
  });
});

describe('a deadline is enforced', () => {
  it('by the client, if the server does nothing', async () => {
    const { client, frames } = await recorder((peer, frame) => {
      if (lifeCycle(frame) === 'DECLARE') peer.send(declared(frame[1]));
    });
    const limit = { timeoutMs: 40 };
    const session = await client.openSession();
    const channel = await client.channel('silent', limit);
    const failing = Promise.all([
      rejection(client.call('silent', {}, limit)),
      rejection(collect(client.stream('silent', {}, limit))),
      rejection(channel.read()),
      rejection(channel.closed),
      rejection(session.execute('silent', {}, limit)),
    ]);
    await eventually('all are open', () => frames.filter(([, , { target }]) => target).length === 4);
    time.pass(40);
    const failures = await failing;
    for (const error of failures) {
      expect(error).toBeInstanceOf(CallTimeoutError);
      expect(error).toMatchObject({ status: 1005, code: 'ERR_RAP_CALL_TIMEOUT', phase: 'response' });
    }
    expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
  });

  it('by the client, if the server never opens the channel', async () => {
    const { client, frames } = await recorder(() => {});
    const failing = collectFailing(client.stream('silent', {}, { timeoutMs: 40 }));
    await eventually('DECLARE', () => frames.length > 0);
    time.pass(40);
    const { error } = await failing;
    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(client.stats().channels).toBe(0);
  });

  it.each([
    ['in the same moment: it is told of a timeout', 4995, CallTimeoutError, 'CallTimeoutError'],
    ['long before: it is told what the server says', 3000, InvokeError, 'InvokeError'],
  ])('by a server that ends it %s', async (_, afterMs, Class, name) => {
    const { client } = await recorder((peer, frame) => {
      if (frame[0] !== 101) return; // a ping of the client that waits
      time.pass(afterMs);
      peer.send([101, frame[1], { status_code: 301 }, ['RpcRunTimeError', 'Call slow timeout']]);
    });
    const error = await rejection(client.call('slow', {}, { timeoutMs: 5000 }));
    expect(error).toBeInstanceOf(Class);
    expect(error).toMatchObject({ name });
    // who has set no time of the call is told what the server says, whenever that is
    expect(await rejection(client.call('slow'))).toBeInstanceOf(InvokeError);
  });

  it('by the client, if the answer is a stream that goes on and on', async () => {
    const { client, frames } = await recorder((peer, frame) => {
      if (frame[0] === 101) peer.send(msg(frame[1], 1));
    });
    const session = await client.openSession();
    const items = (await session.execute('endless', {}, { timeoutMs: 60 })) as AsyncIterable<number>;
    const iterator = items[Symbol.asyncIterator]();
    expect((await iterator.next()).value).toBe(1);
    const failing = rejection(iterator.next());
    time.pass(60);
    const error = await within('the end of the stream', failing);
    expect(error).toBeInstanceOf(CallTimeoutError);
    await eventually('DROP', () => frames.some((frame) => lifeCycle(frame) === 'DROP'));
  });

  it('by the client over the whole call, also if a stream begins late', async () => {
    const { client } = await recorder((peer, frame) => {
      if (frame[0] !== 101) return;
      time.pass(600);
      peer.send(msg(frame[1], 1));
    });
    const session = await client.openSession();
    const items = (await session.execute('endless', {}, { timeoutMs: 1000 })) as AsyncIterable<number>;
    const iterator = items[Symbol.asyncIterator]();
    expect((await iterator.next()).value).toBe(1);
    let ended = false;
    const failing = rejection(iterator.next()).finally(() => (ended = true));
    time.pass(399);
    await turn();
    expect(ended).toBe(false);
    // a stream that had all the time again would go on
    time.pass(1);
    expect(await within('the end of the stream', failing)).toBeInstanceOf(CallTimeoutError);
  });

  it('by the server, if the client does nothing', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(
      call(5, 'wait', {}, { timeout_ms: 40 }),
      declare(7, 'waitStream', {}, { timeout_ms: 40 }),
      msg(7, {}),
      declare(9, 'leftChannel', {}, { timeout_ms: 40 }),
    );
    for (const id of [7, 9]) await raw.next((frame) => frame[1] === id && lifeCycle(frame) === 'MSG');
    expect(probe.aborted).toBe(0);
    time.pass(40);
    expect(await raw.answer(5)).toMatchObject({
      2: { status_code: 301 },
      3: ['RpcRunTimeError', 'Call slow timeout'],
    });
    for (const id of [7, 9]) {
      const last = await raw.next((frame) => frame[1] === id && frame[2]['status_code'] !== undefined);
      expect(lifeCycle(last)).toBe('DROP 1005');
    }
    await eventually('all have ended', () => probe.ended === 3);
    await idle(test);
    expect((await fence(raw, 7)).map(lifeCycle)).toEqual(['DECLARE']);
  });

  it('by the server before the first message of a stream too', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(7, 'waitStream', {}, { timeout_ms: 40 }));
    await raw.answer(7);
    time.pass(40);
    const last = await raw.next((frame) => frame[1] === 7 && frame[2]['status_code'] !== undefined);
    expect(lifeCycle(last)).toBe('DROP 1005');
    await idle(test);
    expect(probe.started).toBe(0);
  });

  it('but the slot stays with a handler that does not listen', async () => {
    const test = await start();
    const failing = rejection(test.mine.call('deaf', {}, { timeoutMs: 40 }));
    await eventually('the handler runs', () => probe.started === 1);
    time.pass(40);
    expect(await failing).toBeInstanceOf(CallTimeoutError);
    await eventually('the signal is aborted', () => probe.aborted === 1);
    expect(test.server.stats().inFlight).toBe(1);
    gate.open();
    await idle(test);
    expect(probe.ended).toBe(1);
  });

  it('and refuses what is not a time', async () => {
    const { mine } = await start();
    for (const timeoutMs of [0, -1, Number.NaN]) {
      expect(await rejection(mine.call('echo', 1, { timeoutMs }))).toBeInstanceOf(RangeError);
      expect(await rejection(collect(mine.stream('leftStream', 1, { timeoutMs })))).toBeInstanceOf(
        RangeError,
      );
      expect(await rejection(mine.channel('leftChannel', { timeoutMs }))).toBeInstanceOf(RangeError);
    }
    expect(await rejection(mine.call('wait', 1, { deadline: Date.now() - 5 }))).toBeInstanceOf(
      CallTimeoutError,
    );
    expect(await rejection(mine.call('wait', 1, { deadline: Number.NaN }))).toBeInstanceOf(RangeError);
  });
});
