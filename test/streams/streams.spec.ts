import 'reflect-metadata';
import { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { from, lastValueFrom, Observable, of, range, tap, toArray } from 'rxjs';
import { ChannelError, type RapClient, type RapContext } from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, turn, within } from '../helpers/async.js';
import { call, lifeCycle, openWith, untilDrop } from '../helpers/channel/channel-frames.js';
import type { RawSocket } from '../helpers/raw-socket.js';
import { collect, idle, Probe, takeItems } from '../helpers/streams.js';

interface Count {
  n: number;
}

let probe = new Probe();
let gate = new Gate();
beforeEach(() => {
  probe = new Probe();
  gate = new Gate();
});

function* upTo(n: number): Generator<number> {
  for (let i = 0; i < n; i++) yield i;
}

const FALSY = [0, '', false, null, undefined, Number.NaN, [], {}];

@Controller()
class Sources {
  @MessagePattern('asyncGenerator')
  async *asyncGenerator(@Payload() { n }: Count): AsyncGenerator<number> {
    probe.begin();
    try {
      for (const i of upTo(n)) {
        if (i % 100 === 1) await turn();
        yield i;
      }
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('promisedGenerator')
  async promisedGenerator(@Payload() { n }: Count): Promise<AsyncGenerator<number>> {
    await turn();
    return this.asyncGenerator({ n });
  }

  @MessagePattern('generator')
  *generator(@Payload() { n }: Count): Generator<number> {
    yield* upTo(n);
  }

  @MessagePattern('iterator')
  iterator(@Payload() { n }: Count): IterableIterator<number> {
    return [...upTo(n)].values();
  }

  /** An async iterable that is not a generator: it has neither `return` nor `throw`. */
  @MessagePattern('asyncIterable')
  asyncIterable(@Payload() { n }: Count): AsyncIterable<number> {
    return {
      [Symbol.asyncIterator]: () => {
        let i = 0;
        return {
          next: () =>
            Promise.resolve(i < n ? { done: false, value: i++ } : { done: true, value: undefined as never }),
        };
      },
    };
  }

  @MessagePattern('readable')
  readable(@Payload() { n }: Count): Readable {
    return Readable.from(upTo(n));
  }

  /** A Readable whose values come later, one at a time. */
  @MessagePattern('pushedReadable')
  pushedReadable(@Payload() { n }: Count): Readable {
    let i = 0;
    return new Readable({
      objectMode: true,
      read() {
        setImmediate(() => this.push(i < n ? { i: i++ } : null));
      },
    });
  }

  @MessagePattern('observable')
  observable(@Payload() { n }: Count): Observable<number> {
    return range(0, n);
  }

  @MessagePattern('laterObservable')
  laterObservable(@Payload() { n }: Count): Observable<number> {
    return from(this.asyncGenerator({ n }));
  }

  @MessagePattern('promisedObservable')
  async promisedObservable(@Payload() { n }: Count): Promise<Observable<number>> {
    await turn();
    return range(0, n);
  }

  @MessagePattern('falsy')
  *falsy(): Generator {
    yield* FALSY;
  }

  @MessagePattern('falsyObservable')
  falsyObservable(): Observable<unknown> {
    return from(FALSY);
  }

  @MessagePattern('sized')
  async *sized(@Payload() sizes: number[]): AsyncGenerator<Buffer> {
    for (const [i, size] of sizes.entries()) yield Buffer.alloc(size, i);
  }

  @MessagePattern('chunks')
  chunks(): Readable {
    return Readable.from([Buffer.from('ab'), Buffer.from('c')], { objectMode: false });
  }

  @MessagePattern('array')
  array(): number[] {
    return [1, 2, 3];
  }

  @MessagePattern('map')
  map(): Map<string, number> {
    return new Map([['a', 1]]);
  }

  @MessagePattern('set')
  set(): Set<number> {
    return new Set([1, 2]);
  }

  @MessagePattern('text')
  text(): string {
    return 'text';
  }

  @MessagePattern('buffer')
  buffer(): Buffer {
    return Buffer.from([1, 2]);
  }

  @MessagePattern('typed')
  typed(): Float64Array {
    return new Float64Array([0.5, 1.5]);
  }

  @MessagePattern('nothing')
  nothing(): void {}

  @MessagePattern('one')
  one(): Observable<string> {
    return of('one');
  }

  /** The state of now, and later what changes: the most common live query. */
  @MessagePattern('live')
  live(): Observable<string> {
    return new Observable((observer) => {
      observer.next('now');
      void gate.opened.then(() => {
        observer.next('later');
        observer.complete();
      });
    });
  }

  @MessagePattern('gated')
  async *gated(@Payload() name: string, @Ctx() ctx: RapContext): AsyncGenerator<string> {
    probe.begin(ctx);
    yield `${name} 1`;
    await gate.opened;
    yield `${name} 2`;
    probe.ended += 1;
  }
}

const scope = testScope();

/** A raw client with all extensions, until the test ends. */
async function connect(port: number): Promise<RawSocket> {
  const raw = await openWith(port);
  scope.defer(() => raw.destroy());
  return raw;
}

let client: RapClient;
let port: number;

/** All values by Nest's contract. */
function sendAll<T>(pattern: string, data: unknown): Promise<T[]> {
  return lastValueFrom(client.send<T>(pattern, data).pipe(toArray()));
}

beforeEach(async () => {
  const test = await scope.serve([Sources]);
  scope.defer(() => idle(test));
  ({ port } = test);
  client = test.client();
});

const NUMBERS = [
  'asyncGenerator',
  'promisedGenerator',
  'generator',
  'iterator',
  'asyncIterable',
  'readable',
  'observable',
  'laterObservable',
  'promisedObservable',
];

describe.each(NUMBERS)('a handler that returns %s', (pattern) => {
  it('streams its values to stream(), in order', async () => {
    expect(await collect(client.stream(pattern, { n: 300 }))).toEqual([...upTo(300)]);
    expect(await collect(client.stream(pattern, { n: 1 }))).toEqual([0]);
    expect(await collect(client.stream(pattern, { n: 0 }))).toEqual([]);
  });

  it('emits its values to send(), in order', async () => {
    expect(await sendAll(pattern, { n: 300 })).toEqual([...upTo(300)]);
    expect(await sendAll(pattern, { n: 1 })).toEqual([0]);
  });

  it('gives its values to session.execute()', async () => {
    const session = await client.openSession();
    const values = await session.execute<number>(pattern, { n: 3 });
    expect(await collect(values as AsyncIterable<number>)).toEqual([0, 1, 2]);
    session.close();
  });

  it('tells call() to use stream()', async () => {
    const error = await rejection(client.call(pattern, { n: 3 }));
    expect(error).toBeInstanceOf(ChannelError);
    expect(error).toMatchObject({ status: 1008, message: expect.stringMatching(/stream\(\)/) });
    expect(error.message).toContain(`/default/${pattern}`);
  });
});

describe('an empty stream', () => {
  it.each(['asyncGenerator', 'generator', 'iterator', 'readable', 'asyncIterable'])(
    'of %s completes without a value over send()',
    async (pattern) => {
      expect(await sendAll(pattern, { n: 0 })).toEqual([]);
    },
  );

  it('tells call() to use stream() too', async () => {
    expect(await rejection(client.call('asyncGenerator', { n: 0 }))).toBeInstanceOf(ChannelError);
  });
});

describe('what streams', () => {
  it('takes a Readable of objects that come one by one', async () => {
    expect(await collect(client.stream('pushedReadable', { n: 3 }))).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }]);
  });

  it('takes a Readable of bytes', async () => {
    const chunks = await collect(client.stream<Uint8Array>('chunks'));
    expect(chunks.every((chunk) => chunk instanceof Uint8Array)).toBe(true);
    expect(Buffer.concat(chunks).toString()).toBe('abc');
  });

  it.each([
    ['array', [1, 2, 3]],
    ['map', new Map([['a', 1]])],
    ['set', new Set([1, 2])],
    ['text', 'text'],
    ['typed', [0.5, 1.5]],
    ['nothing', null],
    ['one', 'one'],
  ])('does not take %s: it is one value', async (pattern, value) => {
    expect(await client.call(pattern)).toEqual(value);
    expect(await sendAll(pattern, {})).toEqual([value]);
    const session = await client.openSession();
    expect(await session.execute(pattern)).toEqual(value);
    session.close();
  });

  it('does not take bytes', async () => {
    expect(Buffer.from(await client.call<Uint8Array>('buffer'))).toEqual(Buffer.from([1, 2]));
  });

  it.each(['array', 'map', 'set', 'text', 'buffer', 'nothing'])(
    'is told by stream() if the function answers with %s',
    async (pattern) => {
      const error = await rejection(collect(client.stream(pattern)));
      expect(error).toBeInstanceOf(ChannelError);
      expect(error).toMatchObject({ status: 1008 });
      expect(error.message).toMatch(/unary.*call\(\).*stream\(\)/);
    },
  );
});

describe('items', () => {
  const received = FALSY.map((item) => item ?? null);

  it('may be falsy', async () => {
    expect(await collect(client.stream('falsy'))).toEqual(received);
    expect(await collect(client.stream('falsyObservable'))).toEqual(received);
    expect(await sendAll('falsy', {})).toEqual(received);
    expect(await sendAll('falsyObservable', {})).toEqual(received);
  });

  it('may be of any size', async () => {
    const sizes = [0, 1, 65_535, 65_536, 1 << 20, 3, 3 << 20];
    const items = await collect(client.stream<Uint8Array>('sized', sizes));
    expect(items.map((item) => item.length)).toEqual(sizes);
    expect(items.every((item, i) => item.every((byte) => byte === i))).toBe(true);
  });

  it('may be many', async () => {
    const items = await collect(client.stream<number>('asyncGenerator', { n: 20_000 }));
    expect(items).toEqual([...upTo(20_000)]);
    expect(probe.ended).toBe(1);
  });
});

describe('client.stream()', () => {
  it('starts with the first item that is asked for', async () => {
    const stream = client.stream('asyncGenerator', { n: 2 });
    await client.call('text');
    expect(probe.started).toBe(0);
    expect(await collect(stream)).toEqual([0, 1]);
    expect(probe.started).toBe(1);
  });

  it('starts anew with each loop', async () => {
    const stream = client.stream('asyncGenerator', { n: 2 });
    expect(await collect(stream)).toEqual([0, 1]);
    expect(await collect(stream)).toEqual([0, 1]);
    expect(probe.started).toBe(2);
  });

  it('answers several next() in their order', async () => {
    const iterator = client.stream<number>('asyncGenerator', { n: 3 })[Symbol.asyncIterator]();
    const results = await Promise.all(Array.from({ length: 5 }, () => iterator.next()));
    expect(results.map(({ value }) => value)).toEqual([0, 1, 2, undefined, undefined]);
    expect(results.map(({ done }) => done)).toEqual([false, false, false, true, true]);
    expect(probe.started).toBe(1);
  });

  it('stays done after its end, an error and a return', async () => {
    const ended = client.stream<number>('asyncGenerator', { n: 1 })[Symbol.asyncIterator]();
    await ended.next();
    for (let i = 0; i < 2; i++) expect(await ended.next()).toEqual({ done: true, value: undefined });
    expect(await ended.return?.()).toEqual({ done: true, value: undefined });

    const failed = client.stream<number>('text')[Symbol.asyncIterator]();
    await rejection(failed.next());
    expect(await failed.next()).toEqual({ done: true, value: undefined });

    const left = client.stream<number>('asyncGenerator', { n: 5 })[Symbol.asyncIterator]();
    expect(await left.return?.()).toEqual({ done: true, value: undefined });
    expect(await left.next()).toEqual({ done: true, value: undefined });
    expect(probe.started).toBe(1);
  });

  it('keeps parallel streams apart', async () => {
    const a = client.stream<string>('gated', 'a')[Symbol.asyncIterator]();
    const b = client.stream<string>('gated', 'b')[Symbol.asyncIterator]();
    expect([(await a.next()).value, (await b.next()).value]).toEqual(['a 1', 'b 1']);
    expect(await client.call('text')).toBe('text');
    gate.open();
    expect([(await b.next()).value, (await a.next()).value]).toEqual(['b 2', 'a 2']);
    expect([(await a.next()).done, (await b.next()).done]).toEqual([true, true]);
    expect(probe.contexts.map((ctx) => ctx.target)).toEqual(['/default/gated', '/default/gated']);
  });

  it('leaves no signal aborted if the stream ends in order', async () => {
    gate.open();
    await collect(client.stream('gated', 'a'));
    await sendAll('gated', 'b');
    expect(probe.signals.map((signal) => signal.aborted)).toEqual([false, false]);
  });

  it('gives a part of an endless stream', async () => {
    expect(await takeItems(client.stream('generator', { n: Number.MAX_SAFE_INTEGER }), 3)).toEqual([0, 1, 2]);
    expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
  });
});

describe('a value that comes alone at first', () => {
  it('is not held back until the next one, over stream()', async () => {
    const iterator = client.stream('live')[Symbol.asyncIterator]();
    expect(await within('the first value', iterator.next())).toEqual({ done: false, value: 'now' });
    gate.open();
    expect(await iterator.next()).toEqual({ done: false, value: 'later' });
    expect((await iterator.next()).done).toBe(true);
  });

  it('is not held back until the next one, over send()', async () => {
    const seen: string[] = [];
    const all = lastValueFrom(client.send<string>('live', {}).pipe(tap((value) => seen.push(value))));
    try {
      await eventually('the first value', () => seen.length === 1);
    } finally {
      gate.open();
      await all;
    }
    expect(seen).toEqual(['now', 'later']);
  });
});

describe('on the wire', () => {
  it('several values for a call are channel messages under its id, then DROP', async () => {
    const raw = await connect(port);
    raw.send(call(5, 'generator', { n: 2 }));
    expect(await untilDrop(raw, 5)).toEqual([
      [102, 5, { channel_life_cycle: 'MSG' }, 0],
      [102, 5, { channel_life_cycle: 'MSG' }, 1],
      [102, 5, { channel_life_cycle: 'DROP' }, null],
    ]);
  });

  it('no value is a DROP, one value of an Observable is an answer', async () => {
    const raw = await connect(port);
    raw.send(call(5, 'generator', { n: 0 }), call(7, 'one', {}), call(9, 'observable', { n: 2 }));
    expect((await untilDrop(raw, 5)).map(lifeCycle)).toEqual(['DROP']);
    expect(await raw.answer(7)).toEqual([101, 7, {}, 'one']);
    expect((await untilDrop(raw, 9)).map(lifeCycle)).toEqual(['MSG', 'MSG', 'DROP']);
  });
});
