import { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { concat, concatMap, defer, from, NEVER, Observable, of, range, Subject, throwError } from 'rxjs';
import { AnswerSink } from '../../lib/nest/server/answer-sink.js';
import type { Route } from '../../lib/nest/handlers/handler.js';
import { pumpObservable } from '../../lib/nest/streams/observable-source.js';
import { isStream, pumpIterable, UnfilteredError } from '../../lib/nest/streams/stream-source.js';
import { Fault } from '../../lib/protocol/fault.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';
import { ChannelPair, readable } from '../helpers/channel-pair.js';
import { FakeSink, UNSENDABLE } from '../helpers/fake-sink.js';
import { outcomeOf, settled } from '../helpers/outcome.js';
import { requestOf } from '../helpers/peer-pair.js';

/** Counts up to `count` and tells what becomes of it. */
class Counter {
  pulled = 0;
  stopped = 0;

  constructor(readonly count = Infinity) {}

  async *async(): AsyncGenerator<number> {
    try {
      for (let i = 0; i < this.count; i++) {
        this.pulled += 1;
        await Promise.resolve();
        yield i;
      }
    } finally {
      this.stopped += 1;
    }
  }

  *sync(): Generator<number> {
    try {
      for (let i = 0; i < this.count; i++) {
        this.pulled += 1;
        yield i;
      }
    } finally {
      this.stopped += 1;
    }
  }

  observable(): Observable<number> {
    return new Observable((observer) => {
      for (let i = 0; i < this.count && !observer.closed; i++) {
        this.pulled += 1;
        observer.next(i);
      }
      observer.complete();
      return () => (this.stopped += 1);
    });
  }
}

/** A Readable whose clean-up fails, as that of a file or a request may. */
function failsOnLeaving(): Readable {
  return new Readable({
    objectMode: true,
    read: () => {},
    destroy: (_error, done) => done(new Error('cannot be closed')),
  });
}

const numbers = (count: number, first = 0): number[] => Array.from({ length: count }, (_, i) => first + i);

/** Sources of the same numbers. */
const SOURCES: readonly [string, (counter: Counter) => AsyncIterable<unknown> | Iterable<unknown>][] = [
  ['an async generator', (counter) => counter.async()],
  ['a generator', (counter) => counter.sync()],
];

/** An iterator whose every answer the test gives. */
class ScriptedIterator implements AsyncIterator<number, undefined> {
  readonly asked: Gate<IteratorResult<number, undefined>>[] = [];
  returns = 0;

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<number, undefined>> {
    const gate = new Gate<IteratorResult<number, undefined>>();
    this.asked.push(gate);
    return gate.opened;
  }

  return(): Promise<IteratorResult<number, undefined>> {
    this.returns += 1;
    return Promise.resolve({ done: true, value: undefined });
  }
}

describe('isStream', () => {
  it.each([
    ['an async generator', new Counter().async(), true],
    ['a generator', new Counter().sync(), true],
    ['a Readable', Readable.from([1]), true],
    ['an iterator of a Map', new Map().entries(), true],
    ['an array', [1], false],
    ['a Map', new Map(), false],
    ['a Set', new Set(), false],
    ['a text', 'text', false],
    ['a Buffer', Buffer.from('x'), false],
    ['a promise', Promise.resolve(1), false],
    ['an Observable', of(1), false],
    ['null', null, false],
    ['undefined', undefined, false],
    ['a function', () => {}, false],
  ])('%s: %p', (_, value, expected) => {
    expect(isStream(value)).toBe(expected);
  });
});

describe('pumpIterable', () => {
  it.each(SOURCES)('writes %s to its end, in order', async (_, source) => {
    const counter = new Counter(1000);
    const sink = new FakeSink();
    await pumpIterable(source(counter), sink);
    expect(sink.values).toEqual(numbers(1000));
    expect([sink.begun, counter.stopped]).toEqual([1, 1]);
  });

  it('writes a Readable, of objects and of bytes', async () => {
    const [objects, bytes] = [new FakeSink(), new FakeSink()];
    const source = Readable.from(numbers(100));
    await pumpIterable(source, objects);
    expect([objects.values, source.destroyed]).toEqual([numbers(100), true]);
    await pumpIterable(Readable.from([Buffer.from('ab'), Buffer.from('c')], { objectMode: false }), bytes);
    expect(Buffer.concat(bytes.values as Buffer[]).toString()).toBe('abc');
  });

  it('writes an iterator that can only go on, and one that answers with thenables', async () => {
    const sink = new FakeSink();
    let place = 0;
    const next = (): IteratorResult<number> =>
      place < 3 ? { value: place++ } : { done: true, value: undefined };
    await pumpIterable({ [Symbol.iterator]: () => ({ next }) }, sink);
    place = 0;
    // of another realm, or of a library of promises
    // oxlint-disable-next-line unicorn/no-thenable
    const thenable = { then: (resolve: (result: unknown) => void) => resolve(next()) };
    await pumpIterable({ [Symbol.asyncIterator]: () => ({ next: () => thenable as never }) }, sink);
    expect(sink.values).toEqual([0, 1, 2, 0, 1, 2]);
  });

  it('begins a stream that has no value', async () => {
    const sink = new FakeSink();
    await pumpIterable(new Counter(0).async(), sink);
    expect([sink.begun, sink.values]).toEqual([1, []]);
  });

  it.each(SOURCES)('pulls %s no faster than the reader reads, and loses nothing', async (_, source) => {
    const counter = new Counter(200);
    const sink = new FakeSink(0);
    const pump = outcomeOf(pumpIterable(source(counter), sink));
    for (let taken = 0; taken < 200; taken++) {
      await settled();
      expect([counter.pulled, sink.waiting, sink.values.length]).toEqual([taken + 1, 1, taken]);
      sink.take(1);
    }
    await settled();
    expect([pump.state, sink.values]).toEqual(['resolved', numbers(200)]);
  });

  it.each(SOURCES)('stops %s at whatever value the reader leaves', async (_, source) => {
    for (let leaveAt = 0; leaveAt <= 6; leaveAt++) {
      const counter = new Counter(5);
      const sink = new FakeSink();
      sink.onValue = (value) => {
        if (value === leaveAt) sink.close();
      };
      if (leaveAt === 6) sink.close();
      await pumpIterable(source(counter), sink);
      const expected = numbers(Math.min(leaveAt + 1, 5));
      expect({ leaveAt, values: sink.values }).toEqual({ leaveAt, values: leaveAt === 6 ? [] : expected });
      // a generator that was never started has nothing to clean up
      expect({ leaveAt, stopped: counter.stopped }).toEqual({ leaveAt, stopped: leaveAt === 6 ? 0 : 1 });
    }
  });

  it.each(SOURCES)('stops %s while a write waits for the reader', async (_, source) => {
    const counter = new Counter();
    const sink = new FakeSink(3);
    const pump = outcomeOf(pumpIterable(source(counter), sink));
    await settled();
    expect([sink.values.length, sink.waiting]).toEqual([3, 1]);
    sink.close();
    await settled();
    expect([pump.state, counter.stopped, counter.pulled]).toEqual(['resolved', 1, 4]);
  });

  it('calls return() at once when nobody wants more, also while next() is pending', async () => {
    const source = new ScriptedIterator();
    const sink = new FakeSink();
    const pump = outcomeOf(pumpIterable(source, sink));
    source.asked[0]?.open({ value: 1 });
    await settled();
    expect([source.asked.length, source.returns]).toEqual([2, 0]);
    sink.close();
    expect(source.returns).toBe(1);
    // the slot is held until the source has come to its end
    await settled();
    expect(pump.state).toBe('pending');
    source.asked[1]?.open({ value: 2 });
    await settled();
    expect([pump.state, sink.values, source.asked.length, source.returns]).toEqual(['resolved', [1], 2, 1]);
  });

  it('does not call return() of a source that has come to its end, or failed', async () => {
    const done = new ScriptedIterator();
    const sink = new FakeSink();
    const pump = pumpIterable(done, sink);
    done.asked[0]?.open({ done: true, value: undefined });
    await pump;
    sink.close();
    expect(done.returns).toBe(0);
  });

  it('waits until the source has cleaned up', async () => {
    const gate = new Gate();
    const sink = new FakeSink(1);
    async function* source(): AsyncGenerator<number> {
      try {
        yield 1;
        yield 2;
      } finally {
        await gate.opened;
      }
    }
    const pump = outcomeOf(pumpIterable(source(), sink));
    await settled();
    sink.close();
    await settled();
    expect(pump.state).toBe('pending');
    gate.open();
    await settled();
    expect(pump.state).toBe('resolved');
  });

  it('asks nothing of a source where nobody wants more from the start', async () => {
    const source = new ScriptedIterator();
    const sink = new FakeSink();
    sink.close();
    await pumpIterable(source, sink);
    expect([source.asked.length, source.returns, sink.values]).toEqual([0, 1, []]);
  });

  it.each([
    [new Error('boom')],
    ['text'],
    [undefined],
    [null],
    [0],
    [{ status: 301 }],
    [new Fault({ status: 429, message: 'enough' })],
  ])('fails with what the source throws, as no filter has seen it: %p', async (thrown) => {
    for (const source of [
      (async function* () {
        yield 1;
        throw thrown;
      })(),
      (function* () {
        yield 1;
        throw thrown;
      })(),
    ]) {
      const sink = new FakeSink();
      const error = await rejection(pumpIterable(source, sink));
      expect(error).toBeInstanceOf(UnfilteredError);
      expect(error['error']).toBe(thrown);
      expect(sink.values).toEqual([1]);
    }
  });

  it('fails with what a Readable fails with', async () => {
    const source = new Readable({ objectMode: true, read: () => {} });
    const sink = new FakeSink();
    const pump = rejection(pumpIterable(source, sink));
    source.push(1);
    await settled();
    source.destroy(new Error('the disk is gone'));
    expect(await pump).toMatchObject({ error: expect.objectContaining({ message: 'the disk is gone' }) });
    expect(sink.values).toEqual([1]);
  });

  it('says nothing of what a source throws that nobody waits for', async () => {
    const gate = new Gate();
    async function* source(): AsyncGenerator<number> {
      yield 1;
      await gate.opened;
      throw new Error('too late');
    }
    const sink = new FakeSink();
    const pump = pumpIterable(source(), sink);
    await settled();
    sink.close();
    gate.open();
    await expect(pump).resolves.toBeUndefined();
  });

  it.each([
    [
      'an async generator that fails to clean up',
      (async function* () {
        try {
          yield 1;
          yield 2;
        } finally {
          // eslint-disable-next-line no-unsafe-finally
          throw new Error('cannot clean up');
        }
      })(),
    ],
    [
      'a generator that fails to clean up',
      (function* () {
        try {
          yield 1;
          yield 2;
        } finally {
          // eslint-disable-next-line no-unsafe-finally
          throw new Error('cannot clean up');
        }
      })(),
    ],
    [
      'an iterator whose return() throws',
      {
        [Symbol.asyncIterator]: () => ({
          next: () => Promise.resolve({ value: 1 }),
          return: () => {
            throw new Error('cannot stop');
          },
        }),
      },
    ],
    [
      'an iterator whose return() rejects',
      {
        [Symbol.asyncIterator]: () => ({
          next: () => Promise.resolve({ value: 1 }),
          return: () => Promise.reject(new Error('cannot stop')),
        }),
      },
    ],
  ])('tells the reader that leaves nothing of %s', async (_, source) => {
    const sink = new FakeSink(1);
    const pump = outcomeOf(pumpIterable(source as AsyncIterable<unknown>, sink));
    await settled();
    // the reader's side is a connection that must go on closing its other channels
    expect(() => sink.close()).not.toThrow();
    await settled();
    expect(pump.state).toBe('resolved');
  });

  it.each(SOURCES)('ends %s when a value cannot be sent, and says why', async (_, source) => {
    const counter = new Counter();
    const iterator = source(counter);
    const sink = new FakeSink(3);
    sink.tryWrite = (value) => {
      if (value === 2) throw new Fault({ status: 1002, message: 'the value cannot be sent' });
      return true;
    };
    expect(await rejection(pumpIterable(iterator, sink))).toMatchObject({
      message: 'the value cannot be sent',
    });
    expect(counter.pulled).toBe(3);
    expect(counter.stopped).toBe(1);
  });

  it('ends a source when a value cannot be sent after a wait', async () => {
    const counter = new Counter();
    const sink = new FakeSink(0);
    sink.write = () => Promise.reject(new Fault({ status: 1002, message: 'the value cannot be sent' }));
    expect(await rejection(pumpIterable(counter.async(), sink))).toMatchObject({ status: 1002 });
    expect(counter.stopped).toBe(1);
  });

  it('ends a source whose reader knows no streams', async () => {
    const source = new ScriptedIterator();
    const readable_ = new Readable({ objectMode: true, read: () => {} });
    for (const each of [source, readable_]) {
      const sink = new FakeSink();
      sink.begin = () => {
        throw new Fault({ status: 1008, message: 'no streams here' });
      };
      expect(await rejection(pumpIterable(each, sink))).toMatchObject({ message: 'no streams here' });
    }
    expect([source.asked.length, source.returns, readable_.destroyed]).toEqual([0, 1, true]);
  });

  it('fails as the source does where that has no iterator to give', async () => {
    const source = {
      [Symbol.asyncIterator](): never {
        throw new Error('the secret name of the table');
      },
    };
    expect(await rejection(pumpIterable(source, new FakeSink()))).toBeInstanceOf(UnfilteredError);
  });

  it.each([
    ['before it was read', 0],
    ['while it has nothing to give', 1],
  ])('closes a Readable that its reader leaves %s', async (_, values) => {
    const source = new Readable({ objectMode: true, read: () => {} });
    for (const value of numbers(values)) source.push(value);
    const sink = new FakeSink();
    if (values === 0) sink.close();
    const pump = outcomeOf(pumpIterable(source, sink));
    await settled();
    sink.close();
    await settled();
    // an open file or socket, for ever, where it is not destroyed
    expect([source.destroyed, pump.state]).toEqual([true, 'resolved']);
  });

  it.each([
    ['before it was read', 0],
    ['after its first value', 1],
  ])('hears of a Readable that fails when its reader leaves %s', async (_, values) => {
    // an 'error' event that nobody listens to would end the process
    const source = failsOnLeaving();
    for (const value of numbers(values)) source.push(value);
    const sink = new FakeSink();
    if (values === 0) sink.close();
    const pump = outcomeOf(pumpIterable(source, sink));
    await settled();
    sink.close();
    await settled();
    source.emit('error', new Error('later still'));
    expect([source.errored?.message, pump.state]).toEqual(['cannot be closed', 'resolved']);
  });

  it.each(SOURCES)('lets others work while it writes %s that never ends', async (_, source) => {
    const counter = new Counter();
    const sink = new FakeSink();
    const pump = pumpIterable(source(counter), sink);
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    sink.close();
    await pump;
    expect(counter.stopped).toBe(1);
    expect(sink.values.length).toBeLessThanOrEqual(10 * 256);
    expect(sink.values).toEqual(numbers(sink.values.length));
  });
});

describe('pumpObservable', () => {
  it('writes values to the end, in order', async () => {
    const sink = new FakeSink();
    await pumpObservable(range(0, 5000), sink);
    expect(sink.values).toEqual(numbers(5000));
    const later = new FakeSink();
    await pumpObservable(from(new Counter(300).async()), later);
    expect(later.values).toEqual(numbers(300));
  });

  it('is over with the last write, not with the last value', async () => {
    const sink = new FakeSink(0);
    const pump = outcomeOf(pumpObservable(range(0, 10), sink));
    for (let taken = 0; taken < 10; taken++) {
      await settled();
      expect([taken, pump.state]).toEqual([taken, 'pending']);
      sink.take(1);
    }
    await settled();
    expect([pump.state, sink.values]).toEqual(['resolved', numbers(10)]);
  });

  it('keeps the order of values that come while others wait', async () => {
    const sink = new FakeSink(1);
    const source = new Subject<number>();
    const pump = outcomeOf(pumpObservable(source, sink));
    for (let i = 0; i < 500; i++) {
      source.next(i);
      if (i % 3 === 0) sink.take(1);
      if (i % 7 === 0) await settled();
    }
    source.complete();
    for (let i = 0; i < 500; i++) {
      sink.take(1);
      await settled();
    }
    expect([pump.state, sink.values]).toEqual(['resolved', numbers(500)]);
  });

  it('takes what may wait, however many values that are, and fails with the next', async () => {
    const sink = new FakeSink(0, 32_000);
    const source = new Subject<number>();
    const pump = outcomeOf(pumpObservable(source, sink));
    // the first is with the writer already, it waits no more
    for (const value of numbers(2001)) source.next(value);
    await settled();
    expect([pump.state, source.observed]).toEqual(['pending', true]);
    source.next(2001);
    await settled();
    expect(pump.error).toMatchObject({
      status: 1008,
      message:
        'the caller reads too slowly for an Observable, which cannot be paused: more than 32000 bytes wait ' +
        '(limits.maxPushedBytes). An async iterable waits for its reader, and has no such bound',
    });
    expect([source.observed, sink.values]).toEqual([false, []]);
  });

  it('sends what waited as it was when it was emitted', async () => {
    const sink = new FakeSink(0);
    const source = new Subject<object>();
    const pump = outcomeOf(pumpObservable(source, sink));
    const value = { i: 0 };
    source.next({ i: -1 });
    for (let i = 0; i < 3; i++) {
      value.i = i;
      source.next(value);
    }
    source.complete();
    sink.take(4);
    await settled();
    for (let i = 0; i < 4; i++) await settled();
    expect([pump.state, sink.values]).toEqual(['resolved', [{ i: -1 }, { i: 0 }, { i: 1 }, { i: 2 }]]);
  });

  it.each([
    ['texts', (size: number) => 'x'.repeat(size)],
    ['bytes', (size: number) => Buffer.alloc(size)],
    ['objects that hold texts', (size: number) => ({ text: 'x'.repeat(size) })],
    ['lists of bytes', (size: number) => [Buffer.alloc(size / 2), Buffer.alloc(size / 2)]],
  ])('takes 16 MiB of %s that wait, and fails with the next', async (_, make) => {
    const sink = new FakeSink(0);
    const source = new Subject<unknown>();
    const pump = outcomeOf(pumpObservable(source, sink));
    const size = 1024 * 1024;
    for (let i = 0; i < 16; i++) source.next(make(size));
    await settled();
    expect(pump.state).toBe('pending');
    for (let i = 0; i < 2; i++) source.next(make(size));
    await settled();
    expect(pump.error).toMatchObject({ status: 1008 });
    expect(source.observed).toBe(false);
  });

  it('stops an Observable that never ends and never waits, where the reader does not read', async () => {
    for (const room of [0, 1, 100]) {
      const counter = new Counter();
      const sink = new FakeSink(room, 16_000);
      expect(await rejection(pumpObservable(counter.observable(), sink))).toMatchObject({ status: 1008 });
      expect(counter.pulled).toBeLessThanOrEqual(room + 1000 + 3);
      expect([sink.values, counter.stopped]).toEqual([numbers(room), 1]);
    }
  });

  it('stops an Observable that never ends and never waits, where the reader leaves', async () => {
    for (const leaveAt of [0, 1, 5000]) {
      const counter = new Counter();
      const sink = new FakeSink();
      sink.onValue = (value) => {
        if (value === leaveAt) sink.close();
      };
      await pumpObservable(counter.observable(), sink);
      expect([sink.values.length, counter.stopped]).toEqual([leaveAt + 1, 1]);
      expect(counter.pulled).toBeLessThanOrEqual(leaveAt + 2);
    }
  });

  it.each([
    ['before it starts', (sink: FakeSink) => sink.close(), undefined],
    ['while nothing comes', undefined, (sink: FakeSink) => sink.close()],
  ])('unsubscribes when the reader leaves %s', async (_, before, after) => {
    let unsubscribed = 0;
    const source = new Observable<number>(() => () => (unsubscribed += 1));
    const sink = new FakeSink();
    before?.(sink);
    const pump = outcomeOf(pumpObservable(source, sink));
    after?.(sink);
    await settled();
    expect([pump.state, unsubscribed]).toEqual(['resolved', 1]);
  });

  it('unsubscribes when the reader leaves while values wait, and writes none of them', async () => {
    const sink = new FakeSink(2);
    const source = new Subject<number>();
    const pump = outcomeOf(pumpObservable(source, sink));
    for (const value of numbers(10)) source.next(value);
    await settled();
    sink.close();
    expect(source.observed).toBe(false);
    await settled();
    expect([pump.state, sink.values]).toEqual(['resolved', [0, 1]]);
  });

  it('unsubscribes once, however it ends', async () => {
    const endings: Record<string, (source: Subject<unknown>, sink: FakeSink) => void> = {
      complete: (source) => source.complete(),
      error: (source) => source.error(new Error('boom')),
      leave: (_, sink) => sink.close(),
      unsendable: (source) => source.next(UNSENDABLE),
    };
    for (const [name, end] of Object.entries(endings)) {
      const source = new Subject<unknown>();
      let unsubscribed = 0;
      const counted = new Observable<unknown>((observer) => {
        const subscription = source.subscribe(observer);
        return () => {
          unsubscribed += 1;
          subscription.unsubscribe();
        };
      });
      const sink = new FakeSink();
      const pump = outcomeOf(pumpObservable(counted, sink));
      source.next(1);
      end(source, sink);
      sink.close();
      source.next('too late');
      await settled();
      const fails = name === 'error' || name === 'unsendable';
      expect([name, pump.state, unsubscribed, source.observed]).toEqual([
        name,
        fails ? 'rejected' : 'resolved',
        1,
        false,
      ]);
      expect(sink.values).toEqual([1]);
    }
  });

  it.each([[new Error('boom')], ['text'], [0], [{ status: 301 }]])(
    'fails with what the source fails with: %p',
    async (thrown) => {
      for (const source of [
        throwError(() => thrown),
        concat(
          of(1),
          throwError(() => thrown),
        ),
      ]) {
        expect(await rejection(pumpObservable(source, new FakeSink()))).toBe(thrown);
      }
    },
  );

  it('fails also where the source fails with nothing', async () => {
    for (const nothing of [undefined, null]) {
      const error = await rejection(
        pumpObservable(
          throwError(() => nothing),
          new FakeSink(),
        ),
      );
      expect(error).toMatchObject({ message: 'the Observable failed' });
    }
  });

  it('fails with what subscribing throws', async () => {
    const source = defer((): never => {
      throw new Error('cannot start');
    });
    expect(await rejection(pumpObservable(source, new FakeSink()))).toMatchObject({
      message: 'cannot start',
    });
  });

  it('gives the reader the values from before a failure', async () => {
    const sink = new FakeSink(1);
    const source = concat(
      of(1, 2, 3),
      throwError(() => new Error('boom')),
    );
    const pump = outcomeOf(pumpObservable(source, sink));
    await settled();
    sink.take(10);
    await settled();
    expect([sink.values, (pump.error as Error).message]).toEqual([[1, 2, 3], 'boom']);
  });

  it('fails with a value that cannot be sent, also after a wait', async () => {
    for (const room of [10, 0]) {
      const sink = new FakeSink(room);
      const source = new Subject<unknown>();
      const pump = outcomeOf(pumpObservable(source, sink));
      source.next(1);
      source.next(UNSENDABLE);
      source.next(2);
      sink.take(10);
      await settled();
      expect(pump.error).toMatchObject({ message: 'the value cannot be sent' });
      expect([sink.values, source.observed]).toEqual([[1], false]);
    }
  });

  describe('of a generator, as an interceptor makes one', () => {
    it('writes the generator’s values', async () => {
      const sink = new FakeSink();
      const counter = new Counter(500);
      await pumpObservable(of(counter.async()), sink);
      expect([sink.values, counter.stopped]).toEqual([numbers(500), 1]);
    });

    it('writes several of them, and values in between, one after the other', async () => {
      const sink = new FakeSink(0);
      const source = of<unknown[]>(
        1,
        new Counter(3).async(),
        2,
        new Counter(2).sync(),
        Readable.from(['a', 'b']),
        3,
      );
      const pump = outcomeOf(pumpObservable(source, sink));
      for (let i = 0; i < 30; i++) {
        sink.take(1);
        await settled();
      }
      expect([pump.state, sink.values]).toEqual(['resolved', [1, 0, 1, 2, 2, 0, 1, 'a', 'b', 3]]);
    });

    it('pulls no faster than the reader reads', async () => {
      const counter = new Counter();
      const sink = new FakeSink(5);
      const pump = outcomeOf(pumpObservable(concat(of(counter.async()), NEVER), sink));
      await settled();
      expect(counter.pulled).toBe(6);
      sink.close();
      await settled();
      expect([pump.state, counter.stopped]).toEqual(['resolved', 1]);
    });

    it('fails with what it throws, as no filter has seen it, and unsubscribes', async () => {
      const boom = new Error('boom');
      async function* source(): AsyncGenerator<number> {
        yield 1;
        throw boom;
      }
      let unsubscribed = 0;
      const wrapped = new Observable<unknown>((observer) => {
        observer.next(source());
        return () => (unsubscribed += 1);
      });
      const error = await rejection(pumpObservable(wrapped, new FakeSink()));
      expect(error).toBeInstanceOf(UnfilteredError);
      expect([error['error'], unsubscribed]).toEqual([boom, 1]);
    });

    it('calls its return() at once when the reader leaves', async () => {
      const source = new ScriptedIterator();
      const sink = new FakeSink();
      const pump = outcomeOf(pumpObservable(of(source), sink));
      await settled();
      sink.close();
      expect(source.returns).toBe(1);
      source.asked[0]?.open({ done: true, value: undefined });
      await settled();
      expect(pump.state).toBe('resolved');
    });

    it('holds its slot until the generator has ended, not until the reader has left', async () => {
      const gate = new Gate();
      let isWorking = false;
      async function* source(): AsyncGenerator<number> {
        isWorking = true;
        await gate.opened; // a query that takes its time
        isWorking = false;
        yield 1;
      }
      const sink = new FakeSink();
      const pump = outcomeOf(pumpObservable(of(source()), sink));
      await settled();
      sink.close();
      await settled();
      expect([isWorking, pump.state]).toEqual([true, 'pending']);
      gate.open();
      await settled();
      expect([isWorking, pump.state]).toEqual([false, 'resolved']);
    });

    it('writes it to its end where the Observable fails meanwhile, and fails then', async () => {
      const counter = new Counter(6);
      const sink = new FakeSink(3);
      const source = new Subject<unknown>();
      const pump = outcomeOf(pumpObservable(source, sink));
      source.next(counter.async());
      await settled();
      source.error(new Error('boom'));
      await settled();
      expect([pump.state, sink.values]).toEqual(['pending', [0, 1, 2]]);
      sink.take(10);
      await settled();
      expect([sink.values, counter.stopped, (pump.error as Error).message]).toEqual([numbers(6), 1, 'boom']);
    });

    it('ends it when its reader leaves after the Observable has failed', async () => {
      const counter = new Counter();
      const sink = new FakeSink(3);
      const source = new Subject<unknown>();
      const pump = outcomeOf(pumpObservable(source, sink));
      source.next(counter.async());
      await settled();
      source.error(new Error('boom'));
      sink.close();
      await settled();
      expect([pump.state === 'pending', counter.stopped]).toEqual([false, 1]);
    });

    it('fails with what a Readable fails with that waits for its turn', async () => {
      const gate = new Gate();
      async function* first(): AsyncIterable<number> {
        await gate.opened;
        yield 1;
      }
      const waiting = new Readable({ objectMode: true, read: () => {} });
      const sink = new FakeSink();
      const failure = rejection(pumpObservable(of(first(), waiting), sink));
      waiting.destroy(new Error('no such file'));
      await settled();
      gate.open();
      expect(await failure).toMatchObject({ error: { message: 'no such file' } });
      expect(sink.values).toEqual([1]);
    });

    it('ends those that wait for their turn when the reader leaves', async () => {
      const waiting = new Readable({ objectMode: true, read: () => {} });
      const sink = new FakeSink(1);
      const pump = outcomeOf(pumpObservable(of(new Counter().async(), waiting), sink));
      await settled();
      sink.close();
      await settled();
      expect([pump.state, waiting.destroyed]).toEqual(['resolved', true]);
    });
  });
});

describe('the values of a call', () => {
  let pair: ChannelPair;
  beforeEach(() => {
    pair = new ChannelPair().open();
  });
  afterEach(() => pair.end());

  const route = { target: '/default/x' } as Route;
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;

  /** A call whose answer is an Observable's values. Returns what the caller reads, and what came of it. */
  async function answer(values: Observable<unknown>): Promise<{ items: unknown[]; outcome: unknown }> {
    const outcomes: unknown[] = [];
    const items: unknown[] = [];
    let fault: unknown;
    pair.client.call(requestOf(), {
      resolve: (body) => outcomes.push({ value: body }),
      reject: (error) => outcomes.push(error),
      stream(channel) {
        outcomes.push('stream');
        channel.whenClosed(() => {
          items.push(...readable(channel));
          fault = channel.fault;
        });
      },
    });
    pair.flow();
    const call = pair.serverOwner.call();
    const sink = new AnswerSink(call, route);
    try {
      await pumpObservable(values, sink);
      const single = sink.end();
      if (single) call.reply(single.value);
    } catch (error) {
      call.fail(error as Fault, 'RapError');
    }
    call.ended();
    pair.flow();
    expect(outcomes).toHaveLength(1);
    return { items, outcome: fault ?? outcomes[0] };
  }

  it('are a void answer, one value, or a stream', async () => {
    expect(await answer(of())).toEqual({ items: [], outcome: { value: null } });
    expect(await answer(of(7))).toEqual({ items: [], outcome: { value: 7 } });
    expect(await answer(of(7, 8))).toEqual({ items: [7, 8], outcome: 'stream' });
    expect(await answer(range(0, 100))).toEqual({ items: numbers(100), outcome: 'stream' });
    expect(await answer(of(1).pipe(concatMap(() => new Counter(3).async())))).toEqual({
      items: numbers(3),
      outcome: 'stream',
    });
  });

  it('are a stream for every generator, whatever it yields', async () => {
    expect(await answer(of(new Counter(1).async()))).toEqual({ items: [0], outcome: 'stream' });
    expect(await answer(of(new Counter(0).async()))).toEqual({ items: [], outcome: 'stream' });
    expect(await answer(of(5, new Counter(2).async()))).toEqual({ items: [5, 0, 1], outcome: 'stream' });
  });

  it('are an error where one cannot be sent, the first like any other', async () => {
    for (const values of [[1, circular, 2], [circular, 1, 2], [circular]]) {
      const { items, outcome } = await answer(from(values));
      expect(outcome).toBeInstanceOf(Fault);
      expect(items).toEqual(values.slice(0, values.indexOf(circular)));
    }
  });
});

describe('a streaming function that is called as a channel', () => {
  const scope = testScope();
  let counter = new Counter();

  @Controller()
  class CountController {
    @MessagePattern('count')
    count(): AsyncIterable<number> {
      return counter.async();
    }
  }

  it('gets nothing of it: the caller is told how to call it', async () => {
    counter = new Counter(3);
    const client = (await scope.serve([CountController])).client();
    const channel = await client.channel<number>('count');
    await expect(channel.closed).rejects.toThrow(
      '/default/count is unary: use call(), or stream() if it streams',
    );
    expect([counter.pulled, client.stats().channels]).toEqual([0, 0]);
  });

  it('gets its parameters as the first message of a stream, and ends that with its last item', async () => {
    counter = new Counter(3);
    const client = (await scope.serve([CountController])).client();
    const items: number[] = [];
    for await (const item of client.stream<number>('count', {})) items.push(item);
    expect([items, client.stats().channels]).toEqual([numbers(3), 0]);
  });

  it.each([
    ['ends its side', (channel: { end(): Promise<void> }) => channel.end()],
    ['closes', (channel: { close(): void }) => channel.close()],
  ])('leaves nobody waiting where the client %s before it has sent any', async (_, over) => {
    counter = new Counter(3);
    const app = await scope.serve([CountController]);
    const client = app.client();
    const channel = await client.channel<number>('count');
    await over(channel);
    const read = channel.read().catch(() => undefined);
    expect(await within('the end of the channel', read)).toBeUndefined();
    await eventually('no handler and no channel is left', () => {
      return app.server.stats().inFlight === 0 && client.stats().channels === 0;
    });
    expect(counter.pulled).toBe(0);
  });

  it('lets a client that drains go when it leaves its last loop', async () => {
    counter = new Counter();
    const client = (await scope.serve([CountController], { limits: { channelWindowBytes: 1 } })).client();
    const items = client.stream<number>('count')[Symbol.asyncIterator]();
    await items.next();
    const drained = client.drain();
    await items.return?.();
    await within('the end of the connection', drained);
    await eventually('the generator has ended', () => counter.stopped === 1);
  });
});
