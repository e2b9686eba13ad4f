import 'reflect-metadata';
import { getEventListeners } from 'node:events';
import { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { interval, Observable, tap } from 'rxjs';
import {
  CallCancelledError,
  CallTimeoutError,
  ConnectionLostError,
  type RapClient,
  type RapContext,
  TooManyRequestsError,
} from '../../lib/index.js';
import type { TestApp } from '../helpers/app.js';
import { eventually, rejection } from '../helpers/async.js';
import { call, declare, drop, fence, msg, openWith } from '../helpers/channel/channel-frames.js';
import type { RawSocket } from '../helpers/raw-socket.js';
import { aborted, collect, collectFailing, idle, takeItems } from '../helpers/streams.js';
import { gate, nextGate, probe, scope, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

/** A raw client with all extensions, until the test ends. */
async function connect(port: number): Promise<RawSocket> {
  const raw = await openWith(port);
  scope.defer(() => raw.destroy());
  return raw;
}

@Controller()
class CancelController {
  /** Between two items it waits for its signal: it is idle when it is cancelled. */
  @MessagePattern('idle')
  async *idle(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    try {
      yield 0;
      await aborted(ctx.signal);
      yield 1;
    } finally {
      probe.ended += 1;
    }
  }

  /** Always has another item: it stands at a `yield` when it is cancelled. */
  @MessagePattern('busy')
  async *busy(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    try {
      for (let i = 0; ; i++) {
        probe.produced += 1;
        yield i;
      }
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('sync')
  *sync(@Payload() _: unknown, @Ctx() ctx: RapContext): Generator<number> {
    probe.begin(ctx);
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('observable')
  observable(@Payload() _: unknown, @Ctx() ctx: RapContext): Observable<number> {
    probe.begin(ctx);
    return new Observable((observer) => {
      observer.next(0);
      observer.next(1);
      return () => {
        probe.unsubscribed += 1;
        probe.ended += 1;
      };
    });
  }

  @MessagePattern('ticking')
  ticking(@Payload() _: unknown, @Ctx() ctx: RapContext): Observable<number> {
    probe.begin(ctx);
    return new Observable((observer) => {
      const inner = interval(1)
        .pipe(tap(() => (probe.produced += 1)))
        .subscribe(observer);
      return () => {
        inner.unsubscribe();
        probe.unsubscribed += 1;
        probe.ended += 1;
      };
    });
  }

  /** A Readable that has nothing more for now, as one that follows a file or a socket. */
  @MessagePattern('quietReadable')
  quietReadable(@Payload() _: unknown, @Ctx() ctx: RapContext): Readable {
    probe.begin(ctx);
    const readable = new Readable({
      objectMode: true,
      read() {},
      destroy(error, callback) {
        probe.ended += 1;
        callback(error);
      },
    });
    readable.push(0);
    return readable;
  }

  @MessagePattern('endlessReadable')
  endlessReadable(@Payload() _: unknown, @Ctx() ctx: RapContext): Readable {
    probe.begin(ctx);
    let i = 0;
    return new Readable({
      objectMode: true,
      read() {
        this.push(i++);
      },
      destroy(error, callback) {
        probe.ended += 1;
        callback(error);
      },
    });
  }

  /** Looks at nothing until the test lets it. */
  @MessagePattern('deaf')
  async *deaf(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    try {
      yield 0;
      await gate.opened;
      for (let i = 1; i <= 5; i++) {
        probe.produced += 1;
        yield i;
      }
    } finally {
      probe.ended += 1;
    }
  }

  /** Takes its time to clean up. */
  @MessagePattern('slowFinally')
  async *slowFinally(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    try {
      yield 0;
      yield 1;
      await aborted(ctx.signal);
    } finally {
      await gate.opened;
      probe.ended += 1;
    }
  }

  /** Cancelled before it returns its stream. */
  @MessagePattern('lateStart')
  async lateStart(@Payload() kind: string, @Ctx() ctx: RapContext): Promise<unknown> {
    probe.begin(ctx);
    await gate.opened;
    if (kind === 'observable') {
      return new Observable(() => {
        probe.produced += 1;
        return () => (probe.unsubscribed += 1);
      });
    }
    return this.busy(undefined, ctx);
  }

  @MessagePattern('badTeardown')
  badTeardown(): Observable<number> {
    return new Observable((observer) => {
      observer.next(0);
      observer.next(1);
      return () => {
        throw new Error('while leaving');
      };
    });
  }

  @MessagePattern('badReturn')
  badReturn(): AsyncIterable<number> {
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.resolve({ done: false as const, value: 0 }),
        return() {
          throw new Error('while leaving');
        },
      }),
    };
  }

  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }
}

const start = (options?: ServeOptions) => serveWithClient([CancelController], options);

/** Ways in which a reader that has had an item goes. Each resolves when it is gone. */
const LEAVING: Record<string, (test: TestApp & { mine: RapClient }, pattern: string) => Promise<void>> = {
  'break in for await': async ({ mine }, pattern) => {
    expect(await takeItems(mine.stream(pattern, {}), 1)).toEqual([0]);
  },
  'an AbortSignal': async ({ mine }, pattern) => {
    const controller = new AbortController();
    const iterator = mine.stream(pattern, {}, { signal: controller.signal })[Symbol.asyncIterator]();
    await iterator.next();
    controller.abort(new Error('enough'));
    const error = await rejection(drainIterator(iterator));
    expect(error).toBeInstanceOf(CallCancelledError);
    expect(error).toMatchObject({ cause: { message: 'enough' }, code: 'ERR_RAP_CALL_CANCELLED' });
  },
  unsubscribe: ({ mine }, pattern) =>
    new Promise((resolve, reject) => {
      const subscription = mine.send(pattern, {}).subscribe({
        next: () => {
          setImmediate(() => {
            subscription.unsubscribe();
            resolve();
          });
        },
        error: reject,
      });
    }),
  'a loop over session.execute() that is left': async ({ mine }, pattern) => {
    const session = await mine.openSession();
    const items = (await session.execute(pattern, {})) as AsyncIterable<number>;
    expect(await takeItems(items, 1)).toEqual([0]);
    session.close();
  },
  'an AbortSignal of session.execute()': async ({ mine }, pattern) => {
    const session = await mine.openSession();
    const controller = new AbortController();
    const items = await session.execute<number>(pattern, {}, { signal: controller.signal });
    const iterator = (items as AsyncIterable<number>)[Symbol.asyncIterator]();
    await iterator.next();
    controller.abort();
    expect(await rejection(drainIterator(iterator))).toBeInstanceOf(CallCancelledError);
    session.close();
  },
  timeoutMs: (test, pattern) => timeOut(test, pattern, () => ({ timeoutMs: 5000 })),
  deadline: (test, pattern) => timeOut(test, pattern, () => ({ deadline: Date.now() + 5000 })),
  'a deadline as Date': (test, pattern) =>
    timeOut(test, pattern, () => ({ deadline: new Date(Date.now() + 5000) })),
  'client.close()': async (test, pattern) => {
    const leaving = test.client();
    const iterator = leaving.stream(pattern, {})[Symbol.asyncIterator]();
    await iterator.next();
    leaving.close();
    expect(await rejection(drainIterator(iterator))).toBeInstanceOf(ConnectionLostError);
  },
  'loss of the connection': async (test, pattern) => {
    const leaving = test.client({ reconnect: false });
    const iterator = leaving.stream(pattern, {})[Symbol.asyncIterator]();
    await iterator.next();
    leaving.unwrap<import('node:net').Socket>().resetAndDestroy();
    expect(await rejection(drainIterator(iterator))).toBeInstanceOf(ConnectionLostError);
  },
};

/** Reads until the five seconds of the stream are over. */
async function timeOut(
  { mine }: { mine: RapClient },
  pattern: string,
  limit: () => { timeoutMs?: number; deadline?: number | Date },
): Promise<void> {
  const time = scope.stopTime();
  await mine.connect();
  const failing = collectFailing(mine.stream(pattern, {}, limit()));
  await eventually('the handler runs', () => probe.started === 1);
  time.pass(5000);
  expectTimeout((await failing).error);
}

/** Either side may be the first to see that the time is over. */
function expectTimeout(error: Error & Record<string, unknown>): void {
  expect(error['status']).toBe(1005);
  expect(error instanceof CallTimeoutError || error.message === 'the deadline of the channel is over').toBe(
    true,
  );
}

async function drainIterator(iterator: AsyncIterator<unknown>): Promise<void> {
  while (!(await iterator.next()).done);
}

describe.each(Object.keys(LEAVING))('%s', (way) => {
  it.each(['idle', 'busy', 'sync', 'observable', 'ticking', 'endlessReadable'])(
    'stops %s: signal, clean-up, slot',
    async (pattern) => {
      const test = await start();
      await LEAVING[way]?.(test, pattern);
      await eventually('the signal is aborted', () => probe.aborted === 1);
      await eventually('it has cleaned up', () => probe.ended === 1);
      await idle(test);
      expect(probe).toMatchObject({ started: 1, ended: 1 });
      const { produced } = probe;
      expect(await test.client().call('echo', 'alive')).toBe('alive');
      expect(probe.produced).toBe(produced);
      expect(test.mine.stats()).toMatchObject({ inFlight: 0, channels: 0 });
    },
  );

  it('keeps the slot of a handler that does not listen until it has ended', async () => {
    const test = await start();
    await LEAVING[way]?.(test, 'deaf');
    await eventually('the signal is aborted', () => probe.aborted === 1);
    expect(await test.client().call('echo', 'alive')).toBe('alive');
    expect(test.server.stats().inFlight).toBe(1);
    expect(probe.ended).toBe(0);
    gate.open();
    await idle(test);
    expect(probe.ended).toBe(1);
    expect(probe.produced).toBeLessThanOrEqual(1);
  });

  it('keeps the slot of a generator that takes its time to clean up', async () => {
    const test = await start();
    await LEAVING[way]?.(test, 'slowFinally');
    await eventually('the signal is aborted', () => probe.aborted === 1);
    expect(await test.client().call('echo', 'alive')).toBe('alive');
    expect([test.server.stats().inFlight, probe.ended]).toEqual([1, 0]);
    gate.open();
    await idle(test);
    expect(probe.ended).toBe(1);
  });
});

describe('a Readable that is waiting for its next chunk', () => {
  it('is destroyed when its reader leaves', async () => {
    const test = await start();
    expect(await takeItems(test.mine.stream('quietReadable', {}), 1)).toEqual([0]);
    await eventually('it is destroyed', () => probe.ended === 1);
  });

  it('is destroyed when a call() turns out to be none', async () => {
    const test = await start();
    await rejection(test.mine.call('quietReadable', {}));
    await eventually('it is destroyed', () => probe.ended === 1);
  });
});

describe('the signal of a handler', () => {
  it('says why it was aborted', async () => {
    const test = await start();
    await takeItems(test.mine.stream('idle', {}), 1);
    await idle(test);
    const [signal] = probe.signals;
    expect(signal?.reason).toBeInstanceOf(Error);
    expect(signal?.reason).toMatchObject({ message: expect.stringMatching(/cancel/) });
  });

  it('is aborted when the client is gone before the handler has looked at it', async () => {
    const test = await start();
    const iterator = test.mine.stream('lateStart', 'generator')[Symbol.asyncIterator]();
    const first = iterator.next();
    await eventually('it has started', () => probe.started === 1);
    await iterator.return?.();
    expect((await first.catch(() => ({ done: true }))).done).toBe(true);
    await eventually('the signal is aborted', () => probe.aborted === 1);
    gate.open();
    await idle(test);
    expect(probe.produced).toBe(0);
  });

  it('leaves an Observable alone that comes when the client is gone', async () => {
    const test = await start();
    const iterator = test.mine.stream('lateStart', 'observable')[Symbol.asyncIterator]();
    const first = iterator.next();
    await eventually('it has started', () => probe.started === 1);
    await iterator.return?.();
    await first.catch(() => {});
    await eventually('the signal is aborted', () => probe.aborted === 1);
    gate.open();
    await idle(test);
    expect(probe.unsubscribed).toBe(probe.produced);
  });
});

describe('a subscription that is left before its first value', () => {
  it.each(['generator', 'observable'])('cancels the call: %s', async (kind) => {
    const test = await start();
    const subscription = test.mine.send('lateStart', kind).subscribe();
    await eventually('it has started', () => probe.started === 1);
    subscription.unsubscribe();
    await eventually('the signal is aborted', () => probe.aborted === 1);
    expect(test.mine.stats().inFlight).toBe(0);
    gate.open();
    await idle(test);
    expect(probe.unsubscribed).toBe(probe.produced);
    expect(await test.mine.call('echo', 'alive')).toBe('alive');
    expect(test.mine.stats().lateAnswers).toBe(0);
  });
});

describe('a signal that lives long', () => {
  it('keeps no listener of calls, streams and channels that are over', async () => {
    const test = await start();
    const { signal } = new AbortController();
    const session = await test.mine.openSession();
    for (let i = 0; i < 20; i++) {
      await test.mine.call('echo', i, { signal });
      await rejection(test.mine.call('idle', i, { signal }));
      await rejection(test.mine.call('idle', i, { signal, timeoutMs: 1 }));
      await takeItems(test.mine.stream('idle', i, { signal }), 1);
      await rejection(collect(test.mine.stream('nope', i, { signal })));
      expect(await session.execute('echo', i, { signal })).toBe(i);
      await takeItems((await session.execute('idle', i, { signal })) as AsyncIterable<number>, 1);
      const channel = await test.mine.channel('nope', { signal });
      await rejection(channel.closed);
    }
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    session.close();
  });

  it('of a handler keeps none either', async () => {
    @Controller()
    class FrontController {
      static listeners: number[] = [];

      @MessagePattern('front')
      async front(@Payload() n: number, @Ctx() ctx: RapContext): Promise<void> {
        for (let i = 0; i < n; i++) {
          await back.mine.call('echo', i);
          await takeItems(back.mine.stream('idle', i), 1);
        }
        FrontController.listeners.push(getEventListeners(ctx.signal, 'abort').length);
      }
    }
    const back = await start();
    const front = await scope.serve([FrontController]);
    await front.client().call('front', 20);
    expect(FrontController.listeners).toEqual([0]);
    await idle(back);
  });
});

describe('a slot', () => {
  it('is not given to another before its handler has ended', async () => {
    const test = await start({ limits: { maxChannels: 1 } });
    await takeItems(test.mine.stream('deaf', {}), 1);
    await eventually('the signal is aborted', () => probe.aborted === 1);
    const { error } = await collectFailing(test.mine.stream('deaf', {}));
    expect(error).toBeInstanceOf(TooManyRequestsError);
    expect(error.message).toBe('Too many channels');
    expect(probe.started).toBe(1);
    gate.open();
    await idle(test);
    expect(await collect(test.mine.stream('deaf', {}))).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('of a call that streams is not given to another before its handler has ended', async () => {
    const test = await start({ limits: { maxInFlight: 1 } });
    await LEAVING['unsubscribe']?.(test, 'deaf');
    await eventually('the signal is aborted', () => probe.aborted === 1);
    expect(await rejection(test.mine.call('echo', 1))).toBeInstanceOf(TooManyRequestsError);
    gate.open();
    await idle(test);
    expect(await test.mine.call('echo', 1)).toBe(1);
  });
});

describe('a call() of a stream', () => {
  it('stops it at once', async () => {
    const test = await start();
    for (const pattern of ['busy', 'sync', 'observable', 'idle']) {
      const before = probe.ended;
      await rejection(test.mine.call(pattern, {}));
      await idle(test);
      // a generator that was never asked for an item has nothing to clean up
      expect(probe.ended - before).toBe(probe.started - before);
    }
  });
});

describe('after a cancel nothing more is sent', () => {
  it('on a channel', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(5, 'deaf'), msg(5, {}));
    await raw.next((frame) => frame[3] === 0);
    raw.send(drop(5));
    await fence(raw, 5);
    await eventually('the signal is aborted', () => probe.aborted === 1);
    gate.open();
    await idle(test);
    expect(await fence(raw, 5)).toEqual([]);
  });

  it('on a call that is answered by a stream', async () => {
    const test = await start();
    const raw = await connect(test.port);
    for (const [id, leave] of [
      [5, drop(5)],
      [7, [103, 9, { target: '/_event/cancel' }, { id: 7 }]],
    ] as const) {
      nextGate();
      raw.send(call(id, 'deaf', {}));
      await raw.next((frame) => frame[3] === 0 && frame[1] === id);
      raw.send(leave as never);
      await fence(raw, id);
      gate.open();
      await idle(test);
      expect(await fence(raw, id)).toEqual([]);
    }
    expect(probe.aborted).toBe(2);
  });
});

describe('a clean-up that fails', () => {
  it.each(['badTeardown', 'badReturn'])('harms nobody: %s', async (pattern) => {
    const test = await start();
    expect(await takeItems(test.mine.stream(pattern, {}), 1)).toEqual([0]);
    await idle(test);
    await LEAVING['unsubscribe']?.(test, pattern);
    await idle(test);
    expect(await test.mine.call('echo', 'alive')).toBe('alive');
  });
});

describe('time', () => {
  it('of a stream is not limited if nobody limits it, whichever way it is called', async () => {
    const time = scope.stopTime();
    const test = await start({ runTimeoutMs: 40 });
    const client = test.client();
    const streamed = client.stream('idle', {})[Symbol.asyncIterator]();
    await streamed.next();
    let sent: unknown = 'open';
    let ticks = 0;
    const subscription = client.send('ticking', {}).subscribe({
      next: () => (ticks += 1),
      error: (error: unknown) => (sent = error),
    });
    await eventually('both have begun', () => ticks > 0);
    time.pass(8000);
    await test.mine.call('echo', 'behind all that could have come');
    expect(probe.aborted).toBe(0);
    expect(sent).toBe('open');
    subscription.unsubscribe();
    await streamed.return?.();
    await idle(test);
  });

  it('of a handler that says how long it may take ends its stream', async () => {
    @Controller()
    class LimitedController {
      @MessagePattern('limited', { timeoutMs: 30 })
      async *limited(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number> {
        probe.begin(ctx);
        yield 0;
        probe.produced += 1;
        await aborted(ctx.signal);
        probe.ended += 1;
      }
    }
    const time = scope.stopTime();
    const test = await scope.serve([LimitedController]);
    const failing = collectFailing(test.client().stream('limited'));
    await eventually('it waits', () => probe.produced === 1);
    time.pass(30);
    const { items, error } = await failing;
    expect(items).toEqual([0]);
    expect(error['status']).toBe(1005);
    await idle(test);
    expect(probe.ended).toBe(1);
  });

  it('that is over before the stream began fails it, and the server does not work for it', async () => {
    const test = await start();
    const controller = new AbortController();
    controller.abort();
    const { error } = await collectFailing(test.mine.stream('idle', {}, { signal: controller.signal }));
    expect(error).toBeInstanceOf(CallCancelledError);
    await test.mine.call('echo', 1);
    expect(probe.started).toBe(0);
  });
});
