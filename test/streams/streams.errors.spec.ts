import 'reflect-metadata';
import { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { concat, from, Observable, range, throwError } from 'rxjs';
import {
  AuthError,
  ChannelError,
  InvokeError,
  type RapClient,
  RapError,
  ServerError,
  TooManyRequestsError,
} from '../../lib/index.js';
import { collect, collectFailing, idle, takeItems } from '../helpers/streams.js';
import { gate, probe, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

/** How a stream fails: after this many items, with what. */
interface Failure {
  after: number;
  error: keyof typeof ERRORS;
}

const ERRORS = {
  type: () => new TypeError('not a number'),
  rap: () => new TooManyRequestsError('slow down', { code: 'ERR_APP_SLOW', details: { retryAfter: 3 } }),
  own: () => new RapError('own status', { status: 777, details: ['a'] }),
  rpc: () => new RpcException('plain text'),
  rpcObject: () => new RpcException({ name: 'Custom', message: 'from an object', code: 5 }),
  invoke: () => new InvokeError('as Python says it', { remoteName: 'KeyError' }),
  nothing: () => undefined,
  symbol: () => Symbol('s'),
  text: () => 'only a text',
};

@Controller()
class FailingController {
  @MessagePattern('asyncGenerator')
  async *asyncGenerator(@Payload() { after, error }: Failure): AsyncGenerator<number> {
    try {
      for (let i = 0; i < after; i++) yield await Promise.resolve(i);
      throw ERRORS[error]();
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('generator')
  *generator(@Payload() { after, error }: Failure): Generator<number> {
    try {
      for (let i = 0; i < after; i++) yield i;
      throw ERRORS[error]();
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('observable')
  observable(@Payload() { after, error }: Failure): Observable<number> {
    return new Observable((observer) => {
      range(0, after).subscribe((value) => observer.next(value));
      observer.error(ERRORS[error]());
      return () => (probe.ended += 1);
    });
  }

  @MessagePattern('readable')
  readable(@Payload() { after, error }: Failure): Readable {
    let i = 0;
    return new Readable({
      objectMode: true,
      read() {
        if (i < after) this.push(i++);
        else setImmediate(() => this.destroy(ERRORS[error]() as Error));
      },
      destroy(reason, callback) {
        probe.ended += 1;
        callback(reason);
      },
    });
  }

  @MessagePattern('before')
  before(@Payload() { error }: Failure): AsyncGenerator<number> {
    throw ERRORS[error]();
  }

  @MessagePattern('rejects')
  async rejects(@Payload() { error }: Failure): Promise<Observable<number>> {
    await Promise.resolve();
    throw ERRORS[error]();
  }

  /** Fails when it is over, not in between. */
  @MessagePattern('inFinally')
  async *inFinally(): AsyncGenerator<number> {
    try {
      yield await Promise.resolve(1);
    } finally {
      probe.ended += 1;
      // oxlint-disable-next-line no-unsafe-finally -- that is the test
      throw new RapError('while leaving', { status: 1005 });
    }
  }

  @MessagePattern('syncFinally')
  *syncFinally(): Generator<number> {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      probe.ended += 1;
      // oxlint-disable-next-line no-unsafe-finally -- that is the test
      throw new Error('while leaving');
    }
  }

  /** An item that no wire can carry, with items before and after it. */
  @MessagePattern('unsendable')
  async *unsendable(@Payload() kind: 'circular' | 'large' | 'getter'): AsyncGenerator {
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    const getter = {
      get boom(): never {
        throw new TypeError('a getter throws');
      },
    };
    try {
      yield await Promise.resolve('good');
      yield { circular, large: Buffer.alloc(5 << 20), getter }[kind];
      yield 'never';
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('unsendableObservable')
  unsendableObservable(): Observable<unknown> {
    return new Observable((observer) => {
      observer.next('good');
      const circular: unknown[] = [];
      circular.push(circular);
      observer.next(circular);
      observer.next('never');
      return () => (probe.unsubscribed += 1);
    });
  }

  /** More than the window holds, and then an error, all at once. */
  @MessagePattern('burst')
  burst(@Payload() items: number): Observable<Buffer> {
    return concat(
      from(Array.from({ length: items }, (_, i) => Buffer.alloc(1024, i))),
      throwError(() => new AuthError('after all of them')),
    );
  }

  @MessagePattern('numbers')
  numbers(@Payload() count: number): Observable<number> {
    return range(0, count);
  }

  @MessagePattern('tooFast')
  tooFast(@Payload() items: number): Observable<Buffer> {
    return new Observable((observer) => {
      for (let i = 0; i < items && !observer.closed; i++) {
        probe.produced += 1;
        observer.next(Buffer.alloc(1024));
      }
      observer.complete();
      return () => (probe.unsubscribed += 1);
    });
  }

  @MessagePattern('gatedFailure')
  async *gatedFailure(): AsyncGenerator<number> {
    yield 1;
    await gate.opened;
    throw new Error('too late for anybody');
  }

  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }
}

const start = (options?: ServeOptions) => serveWithClient([FailingController], options);

const KINDS = ['asyncGenerator', 'generator', 'observable', 'readable'];

/** What arrives over send(), with its error. */
function collectSent(
  client: RapClient,
  pattern: string,
  data: unknown,
): Promise<{ items: unknown[]; error: unknown }> {
  return new Promise((resolve, reject) => {
    const items: unknown[] = [];
    client.send(pattern, data).subscribe({
      next: (item) => items.push(item),
      error: (error: unknown) => resolve({ items, error }),
      complete: () => reject(new Error('completed')),
    });
  });
}

describe.each(KINDS)('an error of %s', (kind) => {
  it.each([0, 2, 300])('comes after %d items, masked', async (after) => {
    const { mine, log } = await start();
    const { items, error } = await collectFailing(mine.stream(kind, { after, error: 'type' }));
    expect(items).toEqual(Array.from({ length: after }, (_, i) => i));
    expect(error).toBeInstanceOf(ServerError);
    expect(error).toMatchObject({ message: 'Internal server error', status: 500, code: 'ERR_RAP_SERVER' });
    expect(log.lines.filter((line) => line.includes('not a number'))).toHaveLength(1);
    expect(probe.ended).toBe(1);
  });

  it('comes as what it is if it is a RapError', async () => {
    const { mine } = await start();
    const { items, error } = await collectFailing(mine.stream(kind, { after: 2, error: 'rap' }));
    expect(items).toEqual([0, 1]);
    expect(error).toBeInstanceOf(TooManyRequestsError);
    expect(error).toMatchObject({
      message: 'slow down',
      status: 429,
      code: 'ERR_APP_SLOW',
      details: { retryAfter: 3 },
    });
    const own = await collectFailing(mine.stream(kind, { after: 1, error: 'own' }));
    expect(own.error).toMatchObject({ message: 'own status', status: 777, details: ['a'] });
    const python = await collectFailing(mine.stream(kind, { after: 1, error: 'invoke' }));
    expect(python.error).toMatchObject({ message: 'as Python says it', status: 301, remoteName: 'KeyError' });
  });

  it('comes with its own text if it is an RpcException', async () => {
    const { mine } = await start();
    const { error } = await collectFailing(mine.stream(kind, { after: 1, error: 'rpc' }));
    expect(error).toMatchObject({ message: 'plain text', status: 301 });
    const object = await collectFailing(mine.stream(kind, { after: 1, error: 'rpcObject' }));
    expect(object.error).toMatchObject({ message: 'from an object', status: 301, remoteName: 'Custom' });
  });

  it('shows its name and text if the server exposes errors', async () => {
    const { mine } = await start({ exposeErrors: true });
    for (const after of [0, 2]) {
      const { items, error } = await collectFailing(mine.stream(kind, { after, error: 'type' }));
      expect(items).toHaveLength(after);
      expect(error).toBeInstanceOf(InvokeError);
      expect(error).toMatchObject({ remoteName: 'TypeError', message: 'not a number', status: 301 });
      expect(error.stack).not.toContain('FailingController');
    }
  });

  it('comes after the values of send() too', async () => {
    const { mine } = await start();
    const { items, error } = await collectSent(mine, kind, { after: 2, error: 'rap' });
    expect(items).toEqual([0, 1]);
    expect(error).toBeInstanceOf(TooManyRequestsError);
    expect(error).toMatchObject({ details: { retryAfter: 3 } });
  });
});

describe.each(['before', 'rejects'])('an error of a handler that %s', (pattern) => {
  it('comes with the first item asked for', async () => {
    const { mine } = await start();
    const { items, error } = await collectFailing(mine.stream(pattern, { after: 0, error: 'rap' }));
    expect(items).toEqual([]);
    expect(error).toBeInstanceOf(TooManyRequestsError);
    const masked = await collectFailing(mine.stream(pattern, { after: 0, error: 'type' }));
    expect(masked.error).toMatchObject({ message: 'Internal server error', status: 500 });
    expect((await collectSent(mine, pattern, { after: 0, error: 'rap' })).error).toBeInstanceOf(
      TooManyRequestsError,
    );
  });
});

describe('whatever is thrown', () => {
  it.each(['nothing', 'symbol', 'text'] as const)('ends the stream: %s', async (error) => {
    const { mine } = await start();
    for (const kind of ['asyncGenerator', 'generator', 'observable']) {
      const failed = await collectFailing(mine.stream(kind, { after: 1, error }));
      expect(failed.items).toEqual([0]);
      expect(failed.error).toBeInstanceOf(RapError);
    }
    expect(await mine.call('echo', 'alive')).toBe('alive');
  });
});

describe('an error on leaving', () => {
  it('arrives if the generator had come to its end', async () => {
    const { mine } = await start();
    const { items, error } = await collectFailing(mine.stream('inFinally'));
    expect([items, error['status'], error.message]).toEqual([[1], 1005, 'while leaving']);
  });

  it('harms nobody if the reader has left an async generator', async () => {
    const { mine, server } = await start();
    expect(await takeItems(mine.stream('inFinally'), 1)).toEqual([1]);
    await idle({ server });
    expect(probe.ended).toBe(1);
    expect(await mine.call('echo', 'alive')).toBe('alive');
  });

  it('harms nobody if the reader has left a sync generator', async () => {
    const { mine, server } = await start();
    expect(await takeItems(mine.stream('syncFinally'), 1)).toEqual([0]);
    await idle({ server });
    expect(probe.ended).toBe(1);
    expect(await mine.call('echo', 'alive')).toBe('alive');
  });

  it('harms nobody if the connection is lost', async () => {
    const test = await start();
    const { server } = test;
    const leaving = test.client();
    const iterator = leaving.stream('syncFinally')[Symbol.asyncIterator]();
    await iterator.next();
    leaving.close();
    await idle({ server });
    expect(await test.client().call('echo', 'alive')).toBe('alive');
  });

  it('reaches nobody who has left long ago', async () => {
    const { mine, server, log } = await start();
    expect(await takeItems(mine.stream('gatedFailure'), 1)).toEqual([1]);
    gate.open();
    await idle({ server });
    expect(await mine.call('echo', 'alive')).toBe('alive');
    expect(log.lines.filter((line) => line.startsWith('fatal'))).toEqual([]);
  });
});

describe('an item that cannot be sent', () => {
  it.each(['circular', 'large', 'getter'])('fails the stream after the items before it: %s', async (kind) => {
    const { mine } = await start();
    const { items, error } = await collectFailing(mine.stream('unsendable', kind));
    expect(items).toEqual(['good']);
    expect(error).toBeInstanceOf(RapError);
    expect(await mine.call('echo', 'alive')).toBe('alive');
  });

  it.each(['circular', 'large', 'getter'])('lets the generator clean up: %s', async (kind) => {
    const { mine, server } = await start();
    await collectFailing(mine.stream('unsendable', kind));
    await idle({ server });
    expect(probe.ended).toBe(1);
    await collectSent(mine, 'unsendable', kind);
    await idle({ server });
    expect(probe.ended).toBe(2);
  });

  it('ends the subscription of an Observable', async () => {
    const { mine, server } = await start();
    const { items, error } = await collectFailing(mine.stream('unsendableObservable'));
    expect(items).toEqual(['good']);
    expect(error).toBeInstanceOf(RapError);
    await idle({ server });
    expect(probe.unsubscribed).toBe(1);
  });
});

describe('an Observable that is faster than its reader', () => {
  it('loses none of the values that came before its error', async () => {
    const { mine } = await start();
    const { items, error } = await collectFailing(mine.stream<Uint8Array>('burst', 600));
    expect(error).toBeInstanceOf(AuthError);
    expect(items).toHaveLength(600);
    expect(items.every((item, i) => item[0] === i % 256)).toBe(true);
  });

  it('delivers all to a reader at full speed, however many there are', async () => {
    const { mine } = await start();
    expect(await collect(mine.stream('tooFast', 1300))).toHaveLength(1300);
    expect(probe.unsubscribed).toBe(1);
    const all = await collect(mine.stream<number>('numbers', 100_000));
    expect([all.length, all.at(-1)]).toEqual([100_000, 99_999]);
  });

  it('fails with 1008 if the buffer is full, and is left', async () => {
    const { mine } = await start();
    const { items, error } = await collectFailing(mine.stream('tooFast', 100_000));
    expect(error).toBeInstanceOf(ChannelError);
    expect(error.message).toMatch(/reads too slowly .* more than 16777216 bytes wait/);
    expect(items.length).toBeGreaterThan(200);
    expect(probe.produced).toBeLessThan(18_000);
    expect(probe.unsubscribed).toBe(1);
  });
});
