import 'reflect-metadata';
import { Controller, Inject } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, map, mergeMap, type Observable, toArray } from 'rxjs';
import {
  CallCancelledError,
  CallTimeoutError,
  ChannelPattern,
  RapChannel,
  RapClient,
  type RapContext,
  RunTimeError,
} from '../../lib/index.js';
import type { TestApp } from '../helpers/app.js';
import { eventually, rejection } from '../helpers/async.js';
import { collect, idle, takeItems } from '../helpers/streams.js';
import { DeadlineController, expectLeft, time } from './deadline-handlers.js';
import { gate, probe, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

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
  const c = await serveWithClient([DeadlineController], { runTimeoutMs });
  const b = await serveWithClient([MiddleController], {
    runTimeoutMs,
    providers: [{ provide: NEXT, useValue: c.client() }],
  });
  const a = await serveWithClient([MiddleController], {
    runTimeoutMs,
    providers: [{ provide: NEXT, useValue: b.client() }],
  });
  return { a, c };
}

/** B -> C. */
async function pair(
  options: ServeOptions = {},
): Promise<{ b: TestApp & { mine: RapClient }; c: TestApp; next: RapClient }> {
  const c = await serveWithClient([DeadlineController], { runTimeoutMs: 60_000, ...options });
  const next = c.client();
  const b = await serveWithClient([MiddleController], {
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
