import { Readable } from 'node:stream';
import { of } from 'rxjs';
import { isStream, pumpIterable, UnfilteredError } from '../../../lib/nest/streams/stream-source.js';
import { Fault } from '../../../lib/protocol/fault.js';
import { Gate, rejection } from '../../helpers/async.js';
import { FakeSink } from './fake-sink.js';
import { outcomeOf, settled } from '../../helpers/outcome.js';
import { Counter, ScriptedIterator, failsOnLeaving, numbers } from './sources.js';

/** Sources of the same numbers. */
const SOURCES: readonly [string, (counter: Counter) => AsyncIterable<unknown> | Iterable<unknown>][] = [
  ['an async generator', (counter) => counter.async()],
  ['a generator', (counter) => counter.sync()],
];

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

  it('asks nothing of a source if nobody wants more from the start', async () => {
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

  it('fails as the source does if that has no iterator to give', async () => {
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
    // an open file or socket, for ever, if it is not destroyed
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
