import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  firstValueFrom,
  from,
  lastValueFrom,
  mergeMap,
  type Observable,
  of,
  range,
  repeat,
  toArray,
} from 'rxjs';
import {
  AuthError,
  ChannelError,
  type RapClient,
  type RapContext,
  type RapIterable,
} from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, turn, within } from '../helpers/async.js';
import { aborted, collect, collectFailing, idle, Probe, takeItems } from '../helpers/streams.js';

const scope = testScope();
let probe = new Probe();
let gate = new Gate();
const unhandled: unknown[] = [];
const onUnhandled = (error: unknown): void => void unhandled.push(error);
beforeAll(() => process.on('unhandledRejection', onUnhandled));
afterAll(() => process.off('unhandledRejection', onUnhandled));
beforeEach(() => {
  probe = new Probe();
  gate = new Gate();
  unhandled.length = 0;
});
afterEach(async () => {
  gate.open();
  await turn();
  await turn();
  expect(unhandled).toEqual([]);
});

type Method = (...args: unknown[]) => unknown;

/** As decorators of tracing libraries do, it puts a plain function in the place of the method. */
function Span(): MethodDecorator {
  return (_target, key, descriptor) => {
    const method = descriptor.value as Method;
    // Nest finds parameters by the name of the function
    const wrapper = {
      [key](this: unknown, ...args: unknown[]): unknown {
        return method.apply(this, args);
      },
    };
    (descriptor as { value: unknown }).value = wrapper[key as string];
  };
}

interface Body {
  i: number;
}

@Controller()
class SpannedController {
  @MessagePattern('count') @Span() async *count(@Payload() to: number): AsyncGenerator<number> {
    probe.begin();
    for (let i = 0; i < to; i++) yield await Promise.resolve(i);
  }

  @MessagePattern('observe') @Span() observe(@Payload() to: number): Observable<number> {
    return range(0, to);
  }

  @MessagePattern('later') @Span() later(@Payload() to: number): Promise<AsyncIterable<number>> {
    return Promise.resolve(this.count(to));
  }

  @MessagePattern('quiet') @Span() async *quiet(@Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    try {
      await Promise.race([gate.opened, aborted(ctx.signal)]);
      yield 1;
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('breaks') @Span() async *breaks(): AsyncGenerator<number> {
    yield await Promise.resolve(0);
    throw new AuthError('not you');
  }

  @MessagePattern('sum') @Span() async sum(@Payload() numbers: number[]): Promise<number> {
    probe.begin();
    return Promise.resolve(numbers.reduce((a, b) => a + b, 0));
  }

  @MessagePattern('echo') @Span() async echo(@Payload() body: Body): Promise<Body> {
    return Promise.resolve(body);
  }

  @MessagePattern('fails') @Span() async fails(): Promise<number> {
    probe.begin();
    return Promise.reject(new AuthError('not you'));
  }

  @MessagePattern('wait') @Span() async wait(@Ctx() ctx: RapContext): Promise<number> {
    probe.begin(ctx);
    await Promise.race([gate.opened, aborted(ctx.signal)]);
    probe.ended += 1;
    return 1;
  }

  @MessagePattern('session') @Span() async session(@Ctx() ctx: RapContext): Promise<string | undefined> {
    return Promise.resolve(ctx.session?.id);
  }

  /** Its declared type is no stream: its caller knows. */
  @MessagePattern('known') known(): number {
    return 5;
  }
}

async function start(options: Parameters<typeof scope.serve>[1] = {}) {
  const test = await scope.serve([SpannedController], options);
  const client = test.client();
  return { ...test, client, spanned: proxyOf(client) };
}

const proxyOf = (client: RapClient) => client.controller(SpannedController);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
/** As code without types may use it. */
const asPromise = <T>(items: RapIterable<T>) => items as unknown as Promise<RapIterable<T>>;
const asStream = <T>(promise: Promise<T>) => promise as unknown as RapIterable<T>;

describe('a method that another decorator has wrapped', () => {
  it('streams in a loop, as often as it is iterated', async () => {
    const { spanned } = await start();
    expect(await collect(spanned.count(3))).toEqual([0, 1, 2]);
    expect(await collect(spanned.observe(3))).toEqual([0, 1, 2]);
    expect(await collect(spanned.later(3))).toEqual([0, 1, 2]);
    expect(await takeItems(spanned.count(1_000_000), 2)).toEqual([0, 1]);
    const feed = spanned.count(2);
    expect([await collect(feed), await collect(feed)]).toEqual([upTo(2), upTo(2)]);
  });

  it('is an Observable and a Readable, which begin when they are used', async () => {
    const { spanned } = await start();
    const observable = spanned.count(3).toObservable();
    const readable = spanned.count(3).toReadable();
    await turn();
    await turn();
    expect(probe.started).toBe(0);
    expect(await lastValueFrom(observable.pipe(repeat(2), toArray()))).toEqual([0, 1, 2, 0, 1, 2]);
    expect(await collect(readable)).toEqual([0, 1, 2]);
    expect(probe.started).toBe(3);
  });

  it('gives a value if it is awaited', async () => {
    const { spanned } = await start();
    expect(await spanned.sum([1, 2])).toBe(3);
    expect(await Promise.all([spanned.sum([1]), spanned.sum([2])])).toEqual([1, 2]);
    expect(await spanned.sum([3]).then((n) => n + 1)).toBe(4);
    expect(await spanned.known()).toBe(5);
    let settled = 0;
    expect(await spanned.sum([4]).finally(() => (settled += 1))).toBe(4);
    expect(await spanned.fails().catch((error: Error) => error.message)).toBe('not you');
    expect(await rejection(spanned.fails())).toBeInstanceOf(AuthError);
    expect(settled).toBe(1);
    await expect(spanned.sum([5])).resolves.toBe(5);
  });

  it('gives a stream if it is awaited and streams, as out of an async function', async () => {
    const { spanned, server } = await start();
    expect(await collect(await asPromise(spanned.count(3)))).toEqual([0, 1, 2]);
    const relay = async (): Promise<AsyncIterable<number>> => spanned.count(2);
    expect(await collect(await relay())).toEqual([0, 1]);
    await idle({ server });
  });

  it('gives what RxJS makes of it: a value, or items', async () => {
    const { spanned } = await start();
    expect(await firstValueFrom(from(spanned.sum([1, 2])))).toBe(3);
    expect(await lastValueFrom(from(spanned.count(3)).pipe(toArray()))).toEqual([0, 1, 2]);
    const summed = of(1, 2).pipe(mergeMap((n) => spanned.sum([n, n])));
    expect((await lastValueFrom(summed.pipe(toArray()))).toSorted((a, b) => a - b)).toEqual([2, 4]);
    expect(await rejection(firstValueFrom(from(spanned.fails())))).toBeInstanceOf(AuthError);
    expect(await rejection(lastValueFrom(from(spanned.breaks())))).toBeInstanceOf(AuthError);
  });

  it('is used later: it has run once', async () => {
    const { spanned } = await start();
    const [feed, sum, items] = [spanned.count(3), spanned.sum([1, 2]), from(spanned.count(2))];
    const value = from(spanned.sum([2, 2]));
    await eventually('all run', () => probe.started === 4);
    expect(await collect(feed)).toEqual([0, 1, 2]);
    expect(await sum).toBe(3);
    expect(await firstValueFrom(value)).toBe(4);
    expect(await lastValueFrom(items.pipe(toArray()))).toEqual([0, 1]);
    expect(probe.started).toBe(4);
    // and again
    expect(await collect(feed)).toEqual([0, 1, 2]);
    expect(await lastValueFrom(items.pipe(toArray()))).toEqual([0, 1]);
    expect(probe.started).toBe(6);
  });

  it('waits for the first item of a feed as long as stream() does', async () => {
    const { spanned } = await start({ runTimeoutMs: 50 });
    const feed = collect(spanned.quiet());
    await eventually('it runs', () => probe.started === 1);
    const slow = rejection(spanned.wait());
    // a call of its time is over by now
    expect((await slow).message).toBe('Call slow timeout');
    expect(probe.contexts[0]?.signal.aborted).toBe(false);
    gate.open();
    expect(await feed).toEqual([1]);
  });

  it('sends the body that it was called with', async () => {
    const { spanned } = await start();
    const body = { i: 0 };
    const calls: Promise<Body>[] = [];
    for (; body.i < 3; body.i++) calls.push(spanned.echo(body));
    expect((await Promise.all(calls)).map(({ i }) => i)).toEqual([0, 1, 2]);
  });

  it('belongs to the session in which it was called', async () => {
    const { client, spanned } = await start();
    await client.withSession(async ({ id }) => expect(await spanned.session()).toBe(id));
  });

  it('gives a serializer of Nest what it was called with', async () => {
    class Money {
      constructor(readonly i: number) {}
    }
    const seen: unknown[] = [];
    const serializer = {
      serialize(packet: { data: unknown }): unknown {
        seen.push(packet.data);
        return packet;
      },
    };
    const test = await scope.serve([SpannedController]);
    const spanned = proxyOf(test.client({ serializer }));
    expect(await spanned.echo(new Money(7))).toEqual({ i: 7 });
    expect(seen).toEqual([new Money(7)]);
    expect(seen[0]).toBeInstanceOf(Money);
  });
});

describe('what nobody awaits', () => {
  it('is called all the same, and its failure is in the log', async () => {
    const { spanned, log } = await start();
    void spanned.sum([1]);
    void spanned.fails();
    await eventually('both run', () => probe.started === 2);
    await eventually('the log', () => log.lines.some((line) => line.includes('/default/fails failed')));
    expect(log.lines.filter((line) => line.includes('nobody awaits it'))).toHaveLength(1);
  });

  it('harms nobody if the loop has the error', async () => {
    const { spanned, log } = await start();
    const { items, error } = await collectFailing(spanned.breaks());
    expect([items, error.message]).toEqual([[0], 'not you']);
    const unary = await collectFailing(asStream(spanned.sum([1])));
    expect(unary.error).toBeInstanceOf(ChannelError);
    expect(unary.error.message).toBe('/default/sum is unary: use call(), not stream() or channel()');
    const late = asStream(spanned.sum([1]));
    await eventually('it runs', () => probe.started === 2);
    expect((await collectFailing(late)).error.message).toBe(
      "/default/sum is unary: await it; one that streams says so by kind: 'stream'",
    );
    expect(log.lines).toEqual([]);
  });

  it('fails if its body cannot be sent', async () => {
    const { spanned } = await start();
    const circular = { i: 1 } as Body & { self?: unknown };
    circular.self = circular;
    const error = await rejection(spanned.echo(circular));
    expect(error.constructor.name).toMatch(/Error$/);
    expect((await collectFailing(asStream(spanned.echo(circular)))).error.message).toBe(error.message);
    expect((await rejection(firstValueFrom(from(spanned.echo(circular))))).message).toBe(error.message);
  });
});

describe('leaving', () => {
  it('ends a call that was made already, and its feed, at once', async () => {
    const { spanned, server, client } = await start();
    for (let i = 1; i <= 200; i++) {
      const feed = spanned.quiet();
      await eventually('it runs', () => probe.started === i);
      if (i % 2 === 0) {
        const iterator = feed[Symbol.asyncIterator]();
        const waiting = iterator.next();
        await iterator.return?.();
        expect(await within('next()', waiting)).toEqual({ done: true, value: undefined });
      } else from(feed).subscribe().unsubscribe();
      await eventually('it has ended', () => probe.ended === i);
    }
    await idle({ server });
    expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
  });

  it('cancels a unary call that RxJS has made', async () => {
    const { spanned, server } = await start();
    const subscription = from(spanned.wait()).subscribe();
    await eventually('it runs', () => probe.started === 1);
    subscription.unsubscribe();
    await eventually('it has ended', () => probe.ended === 1);
    expect(probe.aborted).toBe(1);
    await idle({ server });
  });
});
