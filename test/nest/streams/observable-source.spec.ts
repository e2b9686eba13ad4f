import { Readable } from 'node:stream';
import { concat, defer, from, NEVER, Observable, of, range, Subject, throwError } from 'rxjs';
import { pumpObservable } from '../../../lib/nest/streams/observable-source.js';
import { UnfilteredError } from '../../../lib/nest/streams/stream-source.js';
import { Gate, rejection } from '../../helpers/async.js';
import { FakeSink, UNSENDABLE } from './fake-sink.js';
import { outcomeOf, settled } from '../../helpers/outcome.js';
import { Counter, ScriptedIterator, numbers } from './sources.js';

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

  it('stops an Observable that never ends and never waits, if the reader does not read', async () => {
    for (const room of [0, 1, 100]) {
      const counter = new Counter();
      const sink = new FakeSink(room, 16_000);
      expect(await rejection(pumpObservable(counter.observable(), sink))).toMatchObject({ status: 1008 });
      expect(counter.pulled).toBeLessThanOrEqual(room + 1000 + 3);
      expect([sink.values, counter.stopped]).toEqual([numbers(room), 1]);
    }
  });

  it('stops an Observable that never ends and never waits, if the reader leaves', async () => {
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

  it('fails also if the source fails with nothing', async () => {
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

    it('writes it to its end if the Observable fails meanwhile, and fails then', async () => {
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
