import { timers } from '../../lib/rpc/time/system-clock.js';
import 'reflect-metadata';
import { Controller, Inject, type Type } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, map, mergeMap, type Observable, toArray } from 'rxjs';
import {
  CallCancelledError,
  CallTimeoutError,
  ChannelPattern,
  InvokeError,
  RapChannel,
  RapClient,
  type RapContext,
  RunTimeError,
} from '../../lib/index.js';
import type { TestApp } from '../helpers/app.js';
import { eventually, Gate, pass, rejection, testScope, turn, within } from '../helpers/async.js';
import {
  answerDeclareWith,
  call,
  declare,
  declared,
  fence,
  lifeCycle,
  msg,
  openWith,
} from '../helpers/channel-frames.js';
import { DECLARE, type RawFrame, RawSocket, scriptedServer } from '../helpers/raw-socket.js';
import type { StoppedTime } from '../helpers/stopped-time.js';
import { aborted, collect, collectFailing, idle, Probe, takeItems } from '../helpers/streams.js';

const scope = testScope();
let probe = new Probe();
let gate = new Gate();
let time: StoppedTime;
beforeEach(() => {
  time = scope.stopTime();
  probe = new Probe();
  gate = new Gate();
});

/** Time that a handler has left, in milliseconds. */
function leftMs(ctx: RapContext): number | null {
  return ctx.deadline === undefined ? null : ctx.deadline - Date.now();
}

@Controller()
class DeadlineController {
  @MessagePattern('left')
  left(@Payload() _: unknown, @Ctx() ctx: RapContext): number | null {
    return leftMs(ctx);
  }

  @MessagePattern('leftStream')
  async *leftStream(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number | null> {
    yield await Promise.resolve(leftMs(ctx));
  }

  @ChannelPattern('leftChannel')
  async leftChannel(
    @Payload() channel: RapChannel<unknown, number | null>,
    @Ctx() ctx: RapContext,
  ): Promise<void> {
    await channel.write(leftMs(ctx));
    await aborted(ctx.signal);
    probe.ended += 1;
  }

  @MessagePattern('wait')
  async wait(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await aborted(ctx.signal);
    probe.ended += 1;
  }

  @MessagePattern('waitStream')
  async *waitStream(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    try {
      yield 1;
      await aborted(ctx.signal);
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('deaf')
  async deaf(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await gate.opened;
    probe.ended += 1;
  }

  @MessagePattern('headers')
  headers(@Payload() _: unknown, @Ctx() ctx: RapContext): unknown {
    return ctx.header;
  }

  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }
}

/** Serves, with handlers that may be told to end. */
async function startAll(
  controllers: Type[],
  options: Parameters<typeof scope.serve>[1] = {},
): Promise<TestApp & { mine: RapClient }> {
  const test = await scope.serve(controllers, options);
  const mine = test.client();
  scope.defer(() => {
    gate.open();
    mine.close();
    return idle(test);
  });
  return { ...test, mine };
}

function start(options: Parameters<typeof scope.serve>[1] = {}): Promise<TestApp & { mine: RapClient }> {
  return startAll([DeadlineController], options);
}

async function connect(port: number, extensions?: Record<string, unknown>): Promise<RawSocket> {
  const raw = await openWith(port, extensions);
  scope.defer(() => raw.destroy());
  return raw;
}

/** A server of literal frames that knows all extensions, and what it was told. */
async function recorder(
  answer: (peer: RawSocket, frame: RawFrame) => void,
): Promise<{ client: RapClient; frames: RawFrame[] }> {
  const frames: RawFrame[] = [];
  const scripted = await scriptedServer(async (peer) => {
    await answerDeclareWith(peer);
    for (;;) {
      const frame = await peer.next(undefined, 60_000);
      frames.push(frame);
      answer(peer, frame);
    }
  });
  scope.defer(() => scripted.close());
  const client = new RapClient({ host: '127.0.0.1', port: scripted.port });
  scope.defer(() => client.close());
  return { client, frames };
}

/** Between so much and less: the wall clock, which deadlines are told in, runs on. */
function expectLeft(left: unknown, ms: number): void {
  expect(left).toBeGreaterThan(ms * 0.5);
  expect(left).toBeLessThanOrEqual(ms);
}

const at = (ms: number): Record<string, number> => ({ 'X-rap-deadline': (Date.now() + ms) / 1000 });

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

  it('is the limit of the server where the caller has more, or has none', async () => {
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
  it('timeout_ms travels where somebody set a limit, and only then', async () => {
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
  it('by the client, where the server does nothing', async () => {
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

  it('by the client, where the server never opens the channel', async () => {
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
      time.pass(afterMs);
      peer.send([101, frame[1], { status_code: 301 }, ['RpcRunTimeError', 'Call slow timeout']]);
    });
    const error = await rejection(client.call('slow', {}, { timeoutMs: 5000 }));
    expect(error).toBeInstanceOf(Class);
    expect(error).toMatchObject({ name });
    // who has set no time of the call is told what the server says, whenever that is
    expect(await rejection(client.call('slow'))).toBeInstanceOf(InvokeError);
  });

  it('by the client, where the answer is a stream that goes on and on', async () => {
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

  it('by the client over the whole call, also where a stream begins late', async () => {
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

  it('by the server, where the client does nothing', async () => {
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

  it('and refuses what is no time', async () => {
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

const NEXT = Symbol('next');

/** A service that asks the next one, in every way there is. */
@Controller()
class MiddleController {
  constructor(@Inject(NEXT) private readonly next: RapClient) {}

  @MessagePattern('left')
  left(): Promise<unknown> {
    time.pass(hopMs);
    return this.next.call('left');
  }

  /** What each kind of call inside inherits. */
  @MessagePattern('leftOfEach')
  async leftOfEach(): Promise<unknown[]> {
    const channel = await this.next.channel<number>('leftChannel');
    const fromChannel = await channel.read();
    channel.close();
    return [
      await this.next.call('left'),
      ...(await collect(this.next.stream('leftStream'))),
      fromChannel,
      await firstValueFrom(this.next.send('left', {})),
      ...(await lastValueFrom(this.next.send('leftStream', {}).pipe(toArray()))),
    ];
  }

  @MessagePattern('own')
  own(@Payload() timeoutMs: number): Promise<unknown> {
    return this.next.call('left', {}, { timeoutMs });
  }

  @MessagePattern('detached')
  async detached(): Promise<unknown[]> {
    return [
      await this.next.call('left', {}, { detached: true }),
      ...(await collect(this.next.stream('leftStream', {}, { detached: true }))),
      await this.next.call('headers', {}, { detached: true }),
    ];
  }

  @MessagePattern('detachedWait')
  async detachedWait(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await this.next.call('deaf', {}, { detached: true });
    probe.ended += 1;
  }

  /** The leaf notes its own start and end; this one only passes on what it meets. */
  @MessagePattern('wait')
  wait(): Promise<unknown> {
    return this.next.call('wait');
  }

  @MessagePattern('waitAll')
  async waitAll(): Promise<void> {
    const channel = await this.next.channel('leftChannel');
    await Promise.allSettled([
      this.next.call('wait'),
      firstValueFrom(this.next.send('wait', {})),
      collect(this.next.stream('waitStream')),
      channel.closed,
    ]);
  }

  @MessagePattern('relay')
  async *relay(): AsyncGenerator {
    for await (const item of this.next.stream('waitStream')) yield item;
  }

  @MessagePattern('relayObservable')
  relayObservable(): Observable<unknown> {
    return this.next.send('waitStream', {}).pipe(map((item) => ({ item })));
  }

  @ChannelPattern('relayChannel')
  async relayChannel(@Payload() channel: RapChannel): Promise<void> {
    for await (const item of this.next.stream('waitStream')) await channel.write(item);
  }

  /** The second call is made where the answer of the first arrives: in a callback. */
  @MessagePattern('twoSteps')
  twoSteps(): Observable<unknown> {
    return this.next.send('echo', 1).pipe(mergeMap(() => this.next.send('left', {})));
  }

  /** Begins what goes on after it has answered. */
  @MessagePattern('afterwards')
  afterwards(): string {
    void gate.opened.then(() => this.next.call('left')).then((left) => lefts.push(left));
    return 'answered';
  }
}

let lefts: unknown[] = [];
/** Time that `left` takes before it asks the next one. */
let hopMs = 0;
beforeEach(() => (hopMs = 0));

/** A -> B -> C: two that ask the next one, and the one at the end. */
async function chain(runTimeoutMs = 60_000): Promise<{ a: TestApp & { mine: RapClient }; c: TestApp }> {
  const c = await startAll([DeadlineController], { runTimeoutMs });
  const b = await startAll([MiddleController], {
    runTimeoutMs,
    providers: [{ provide: NEXT, useValue: c.client() }],
  });
  const a = await startAll([MiddleController], {
    runTimeoutMs,
    providers: [{ provide: NEXT, useValue: b.client() }],
  });
  return { a, c };
}

/** B -> C. */
async function pair(
  options: Parameters<typeof scope.serve>[1] = {},
): Promise<{ b: TestApp & { mine: RapClient }; c: TestApp; next: RapClient }> {
  const c = await startAll([DeadlineController], { runTimeoutMs: 60_000, ...options });
  const next = c.client();
  const b = await startAll([MiddleController], {
    runTimeoutMs: 60_000,
    ...options,
    providers: [{ provide: NEXT, useValue: next }],
  });
  return { b, c, next };
}

describe('calls that a handler makes', () => {
  it('have the time that the handler has left, all the way down', async () => {
    const { a } = await chain();
    expectLeft(await a.mine.call('left', {}, { timeoutMs: 4000 }), 4000);
    const unlimited = (await a.mine.call('left')) as number;
    // what the servers and the client's own default give
    expectLeft(unlimited, 10_000);
  });

  it('shrink: each hop has less', async () => {
    const { a } = await chain();
    hopMs = 300; // two that ask the next one
    expectLeft(await a.mine.call('left', {}, { timeoutMs: 4000 }), 3400);
  });

  it('inherit it whatever their kind', async () => {
    const { b } = await pair();
    const inherited = (await b.mine.call('leftOfEach', {}, { timeoutMs: 4000 })) as number[];
    expect(inherited).toHaveLength(5);
    for (const left of inherited) expectLeft(left, 4000);
  });

  it('inherit it in a callback of an Observable', async () => {
    const { b, next } = await pair();
    expectLeft(await b.mine.call('twoSteps', {}, { timeoutMs: 4000 }), 4000);
    expectLeft(await b.mine.call('twoSteps', {}, { timeoutMs: 2000 }), 2000);
    await next.connect();
    expectLeft(await b.mine.call('twoSteps', {}, { timeoutMs: 1000 }), 1000);
  });

  it('inherit nothing of the handler that happened to open the connection', async () => {
    const { b, c } = await pair();
    // the first call of all opens the connection, and is given up
    const failing = rejection(b.mine.call('wait', {}, { timeoutMs: 60 }));
    await eventually('the leaf runs', () => probe.started === 1);
    time.pass(60);
    await failing;
    await idle(b);
    await idle(c);
    expectLeft(await b.mine.call('twoSteps', {}, { timeoutMs: 4000 }), 4000);
  });

  it('may have less of their own, and never more', async () => {
    const { b } = await pair();
    expectLeft(await b.mine.call('own', 1000, { timeoutMs: 4000 }), 1000);
    expectLeft(await b.mine.call('own', 50_000, { timeoutMs: 4000 }), 4000);
  });

  it('inherit neither time nor cancel where they are detached', async () => {
    const { b } = await pair({ runTimeoutMs: 20_000 });
    const [left, streamLeft, header] = (await b.mine.call('detached', {}, { timeoutMs: 2000 })) as [
      number,
      number | null,
      object,
    ];
    expect(left).toBeGreaterThan(2000);
    expect(streamLeft).toBeNull();
    expect(header).toEqual({ target: '/default/headers' });

    const failing = rejection(b.mine.call('detachedWait', {}, { timeoutMs: 50 }));
    await eventually('the leaf runs', () => probe.started === 2);
    time.pass(50);
    await failing;
    await eventually('the middle is told', () => probe.signals[0]?.aborted);
    await b.mine.call('left');
    expect(probe.signals[1]?.aborted).toBe(false);
    gate.open();
    await eventually('both have ended', () => probe.ended === 2);
  });

  it('have no limit from a handler that has answered', async () => {
    lefts = [];
    const { b } = await pair();
    expect(await b.mine.call('afterwards', {}, { timeoutMs: 500 })).toBe('answered');
    time.pass(600);
    gate.open();
    await eventually('the call afterwards', () => lefts.length === 1);
    expect(lefts[0]).toBeGreaterThan(500);
  });

  it.each([
    ['is cancelled', (mine: RapClient, pattern: string) => cancelSoon(mine, pattern)],
    ['runs out of time', (mine: RapClient, pattern: string) => timeOut(mine, pattern)],
  ])('are cancelled when the call of the handler %s', async (_, give) => {
    const { a, c } = await chain();
    const giving = rejection(give(a.mine, 'wait'));
    await eventually('the leaf runs', () => probe.started === 1);
    const error = await giving;
    expect(
      [CallCancelledError, CallTimeoutError, RunTimeError].some((type) => error instanceof type) ||
        error['status'] === 301,
    ).toBe(true);
    await eventually('the leaf is told', () => probe.aborted === 1);
    await idle(c);
    await idle(a);
    expect(probe.ended).toBe(1);
  });

  it('are cancelled when the client of the handler is gone', async () => {
    const { a, c } = await chain();
    const client = a.client({ reconnect: false });
    const failing = rejection(client.call('wait'));
    await eventually('the leaf runs', () => probe.started === 1);
    client.close();
    await failing;
    await eventually('the leaf is told', () => probe.aborted === 1);
    await idle(c);
    await idle(a);
  });

  it('are all cancelled with it, streams and channels too', async () => {
    const { b, c } = await pair();
    const failing = rejection(cancelWhen(b.mine, 'waitAll', () => c.server.stats().inFlight === 4));
    await failing;
    await idle(c);
    await idle(b);
    expect(probe.ended).toBe(4);
  });

  it.each(['relay', 'relayObservable', 'relayChannel'])(
    'end with the stream that they feed: %s',
    async (pattern) => {
      const { b, c } = await pair();
      expect(await takeItems(b.mine.stream(pattern, {}), 1)).toHaveLength(1);
      await eventually('the leaf is told', () => probe.aborted === 1);
      await idle(c);
      await idle(b);
      expect(probe.ended).toBe(1);
    },
  );
});

/** Calls, and cancels as soon as `when` holds. */
async function cancelWhen(client: RapClient, pattern: string, when: () => boolean): Promise<unknown> {
  const controller = new AbortController();
  const calling = client.call(pattern, {}, { signal: controller.signal });
  calling.catch(() => {});
  await eventually('it can be cancelled', when);
  controller.abort();
  return calling;
}

/** Calls with little time, which is over when the leaf runs. */
async function timeOut(client: RapClient, pattern: string): Promise<unknown> {
  const calling = client.call(pattern, {}, { timeoutMs: 100 });
  calling.catch(() => {});
  await eventually('the leaf runs', () => probe.started === 1);
  time.pass(100);
  return calling;
}

function cancelSoon(client: RapClient, pattern: string): Promise<unknown> {
  return cancelWhen(client, pattern, () => probe.started === 1);
}
