import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  ChannelPattern,
  CryptoProcessor,
  ParseError,
  type RapChannel,
  type RapClientOptions,
  RapContext,
  RapProcessor,
  type RapServerOptions,
  defineService,
  type RapHandlers,
  RapService,
  unary,
} from '../../lib/index.js';
import { Observable } from 'rxjs';
import { z } from 'zod';
import { eventually, Gate, rejection, testScope } from '../helpers/async.js';
import { EventPattern } from '../helpers/event-pattern.js';

const scope = testScope();

describe('a property that is undefined', () => {
  @Controller()
  class PageController {
    @MessagePattern('page') page(@Payload() { page = 1, sort }: { page?: number; sort?: string }): unknown {
      return { page, sort, keys: Object.keys({ page, ...(sort === undefined ? {} : { sort }) }) };
    }
    @MessagePattern('said') said(@Payload() data: object, @Ctx() ctx: RapContext): unknown {
      return { data: Object.keys(data), header: 'note' in ctx.header, metadata: Object.keys(ctx.metadata) };
    }
    @MessagePattern('fails') fails(): never {
      throw new ParseError('no', { details: [{ path: 'a', hint: undefined }] });
    }
  }

  it('takes the default of the handler that it is given to, and is not in the answer', async () => {
    const test = await scope.serve([PageController]);
    const answer = await test.client().call<object>('page', { page: undefined, sort: undefined });
    expect(answer).toEqual({ page: 1, keys: ['page'] });
    expect(Object.keys(answer)).toEqual(['page', 'keys']);
  });

  it('is left out of bodies, headers, metadata and details', async () => {
    const test = await scope.serve([PageController]);
    const client = test.client({ metadata: { tenant: undefined, user: 'u' } });
    expect(await client.call('said', { a: undefined, b: 1 }, { header: { note: undefined } })).toEqual({
      data: ['b'],
      header: false,
      metadata: ['user'],
    });
    const error = await rejection(client.call('fails'));
    expect((error.details as object[]).map(Object.keys)).toEqual([['path']]);
  });
});

/** Takes its time with every message. */
class SlowProcessor extends RapProcessor {
  override async processRequest(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
  }
  override async processResponse(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const key = CryptoProcessor.generateKey();
const slowSerializer = {
  async serialize(packet: object): Promise<object> {
    await Promise.resolve();
    return packet;
  },
};
type Both = RapClientOptions & RapServerOptions;
/** What the server is given, and the client. */
const WAYS: [string, (side: 'server' | 'client') => Both][] = [
  ['plain', () => ({})],
  ['through processors', () => ({ processors: [new SlowProcessor()] })],
  [
    'sealed',
    (side) => ({
      processors: [new CryptoProcessor(side === 'server' ? { keys: { k: key } } : { keyId: 'k', key })],
    }),
  ],
  ['through a serializer', () => ({ serializer: slowSerializer })],
];

const SIZE = 128 * 1024;

/** The byte that a value is full of; undefined if it is full of several. */
function fill(bytes: Uint8Array): number | undefined {
  const [first] = bytes;
  return bytes.every((byte) => byte === first) ? first : undefined;
}

@Controller()
class KeepingController {
  static shared = Buffer.alloc(3 * 1024 * 1024);
  static events: unknown[] = [];

  @MessagePattern('put') put(@Payload() data: Buffer): unknown {
    return fill(data);
  }
  @MessagePattern('nested') nested(@Payload() { a }: { a: { bytes: Buffer }[] }): unknown {
    return a.map(({ bytes }) => fill(bytes));
  }
  @MessagePattern('echo') echo(@Payload() data: unknown): unknown {
    return data;
  }
  @EventPattern('event') event(@Payload() data: unknown): void {
    KeepingController.events.push(data);
  }
  /** One buffer for all answers, which is written again as soon as one has left the handler. */
  @MessagePattern('take') take(@Payload() value: number): Buffer {
    setImmediate(() => KeepingController.shared.fill(0));
    return KeepingController.shared.fill(value);
  }
  @MessagePattern('frames') *frames(@Payload() count: number): Generator<Buffer> {
    const buffer = Buffer.alloc(SIZE);
    for (let i = 0; i < count; i++) yield buffer.fill(i);
  }
  @MessagePattern('pushed') pushed(@Payload() count: number): Observable<Buffer> {
    return new Observable((subscriber) => {
      const buffer = Buffer.alloc(SIZE);
      for (let i = 0; i < count; i++) subscriber.next(buffer.fill(i));
      buffer.fill(99);
      subscriber.complete();
    });
  }
  @MessagePattern('records') *records(@Payload() count: number): Generator<object> {
    const record = { i: -1 };
    for (let i = 0; i < count; i++) {
      record.i = i;
      yield record;
    }
  }
  @MessagePattern('again') *again(@Payload() data: object): Generator<object> {
    yield data;
  }
  @ChannelPattern('fills') async fills(@Payload() channel: RapChannel<Buffer>): Promise<void> {
    for await (const bytes of channel) await channel.write(fill(bytes));
  }
  @MessagePattern('noted') noted(@Ctx() { header }: RapContext): unknown {
    return header['note'];
  }
  @ChannelPattern('notes') async notes(@Payload() channel: RapChannel): Promise<void> {
    await gate.opened;
    for await (const { header } of channel.messages()) await channel.write(header['note']);
  }
  @ChannelPattern('patient') async patient(@Payload() channel: RapChannel<{ i: number }>): Promise<void> {
    await gate.opened;
    await channel.write(channel.metadata);
    for await (const { i } of channel) await channel.write(i);
  }
}

let gate = new Gate();

describe.each(WAYS)('bytes that are written again as soon as they were handed over, %s', (_way, options) => {
  it.each<[string, (bytes: Uint8Array) => unknown, string]>([
    ['a Buffer', (bytes) => Buffer.from(bytes.buffer), 'put'],
    ['a Uint8Array', (bytes) => bytes, 'put'],
    ['an ArrayBuffer', (bytes) => bytes.buffer, 'put'],
    ['a DataView', (bytes) => new DataView(bytes.buffer), 'put'],
    ['parts of a body', (bytes) => ({ a: [{ bytes }, { bytes: bytes.subarray(0, 9) }] }), 'nested'],
  ])('%s of a call', async (_name, form, pattern) => {
    const test = await scope.serve([KeepingController], options('server'));
    const client = test.client(options('client'));
    await client.connect();
    for (const size of [64, SIZE]) {
      const bytes = new Uint8Array(size).fill(7);
      const answer = client.call(pattern, form(bytes));
      bytes.fill(0);
      expect(await answer).toEqual(pattern === 'nested' ? [7, 7] : 7);
    }
  });

  it('of messages of a channel', async () => {
    const test = await scope.serve([KeepingController], options('server'));
    const channel = await test.client(options('client')).channel<number, Buffer>('fills');
    const buffer = Buffer.alloc(SIZE);
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const value of channel) seen.push(value);
    })();
    for (let i = 0; i < 20; i++) await channel.write(buffer.fill(i));
    await channel.end();
    await reading;
    expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it('of answers', async () => {
    const test = await scope.serve([KeepingController], options('server'));
    const client = test.client(options('client'));
    await client.connect();
    for (const value of [1, 2, 3]) expect(fill(await client.call<Buffer>('take', value))).toBe(value);
  });

  it('of values of an Observable that does not pause', async () => {
    const test = await scope.serve([KeepingController], options('server'));
    const seen: unknown[] = [];
    for await (const bytes of test.client(options('client')).stream<Buffer>('pushed', 8))
      seen.push(fill(bytes));
    expect(seen).toEqual(Array.from({ length: 8 }, (_, i) => i));
  });

  it('of items of a stream, and of a single one', async () => {
    const test = await scope.serve([KeepingController], options('server'));
    const client = test.client(options('client'));
    for (const count of [1, 8]) {
      const seen: unknown[] = [];
      for await (const bytes of client.stream<Buffer>('frames', count)) seen.push(fill(bytes));
      expect(seen).toEqual(Array.from({ length: count }, (_, i) => i));
      const items: unknown[] = [];
      await new Promise<void>((resolve, reject) => {
        client.send<{ i: number }>('records', count).subscribe({
          next: (record) => items.push(record.i),
          error: reject,
          complete: resolve,
        });
      });
      expect(items).toEqual(Array.from({ length: count }, (_, i) => i));
    }
  });
});

/** Uses one body three times, and changes it each time. */
const changing = <T>(use: (body: { i: number }) => T): T[] => {
  const body = { i: -1 };
  const used = [0, 1, 2].map((i) => {
    body.i = i;
    return use(body);
  });
  body.i = 9;
  return used;
};

describe.each(WAYS)('a body that changes after it was handed over, %s', (_way, options) => {
  const expected = [{ i: 0 }, { i: 1 }, { i: 2 }];

  it.each<[string, Both, boolean]>([
    ['of a client that is not connected', {}, false],
    ['of a connected client', {}, true],
    ['in a full queue', { limits: { maxInFlight: 1 } }, true],
  ])('arrives as it was: calls %s', async (_name, more, isConnected) => {
    const test = await scope.serve([KeepingController], options('server'));
    const client = test.client({ ...options('client'), ...more });
    if (isConnected) await client.connect();
    expect(await Promise.all(changing((body) => client.call('echo', body)))).toEqual(expected);
  });

  it('arrives as it was: events', async () => {
    KeepingController.events = [];
    const test = await scope.serve([KeepingController], options('server'));
    const client = test.client(options('client'));
    changing((body) => client.emit('event', body));
    await eventually('three events', () => KeepingController.events.length === 3);
    expect(KeepingController.events).toEqual(expected);
  });

  it('arrives as it was: streams, each time that they are read', async () => {
    const test = await scope.serve([KeepingController], options('server'));
    const client = test.client(options('client'));
    const streams = changing((body) => client.stream<object>('again', body));
    for (const round of ['first', 'second']) {
      const items: unknown[] = [];
      for (const stream of streams) for await (const item of stream) items.push(item);
      expect([round, items]).toEqual([round, expected]);
    }
  });

  it('arrives as it was: headers of calls and of writes that wait', async () => {
    gate = new Gate();
    const test = await scope.serve([KeepingController], {
      ...options('server'),
      limits: { channelWindowBytes: 16 },
    });
    const client = test.client({ ...options('client'), limits: { maxInFlight: 1 } });
    const header = { note: { i: -1 } };
    const noting = <T>(use: () => T): T[] =>
      changing(({ i }) => {
        header.note.i = i;
        return use();
      });
    const notes = noting(() => client.call('noted', null, { header }));
    header.note.i = 9;
    expect(await Promise.all(notes)).toEqual(expected);
    const channel = await client.channel('notes');
    const writes = noting(() => channel.write('x', header));
    header.note = { i: 9 };
    gate.open();
    for (const note of expected) expect(await channel.read()).toEqual(note);
    await Promise.all(writes);
    channel.close();
  });

  it('arrives as it was: metadata and writes of a channel that wait for credit', async () => {
    gate = new Gate();
    const test = await scope.serve([KeepingController], {
      ...options('server'),
      limits: { channelWindowBytes: 16 },
    });
    const client = test.client(options('client'));
    const metadata = { name: 'a' };
    const opening = client.channel('patient', { metadata });
    metadata.name = 'b';
    const channel = await opening;
    const writes = changing((body) => channel.write(body));
    gate.open();
    expect(await channel.read()).toEqual({ name: 'a' });
    for (const i of [0, 1, 2]) expect(await channel.read()).toBe(i);
    await Promise.all(writes);
    channel.close();
  });
});

const Kept = defineService('kept', {
  all: unary({
    input: z.object({
      at: z.date(),
      size: z.bigint(),
      names: z.map(z.string(), z.number()),
      ids: z.set(z.bigint()),
    }),
    output: z.object({
      at: z.date(),
      size: z.bigint(),
      names: z.map(z.string(), z.number()),
      ids: z.set(z.bigint()),
    }),
  }),
  later: unary<Date, Date>(),
});

@RapService(Kept)
class KeptController implements RapHandlers<typeof Kept> {
  all<T>(input: T): T {
    return input;
  }
  later(at: Date): Date {
    return new Date(at.getTime() + 1);
  }
}

describe.each(WAYS)('values that msgpack has no type for, %s', (_way, options) => {
  const values = {
    at: new Date(1_732_270_000_123),
    size: 5n,
    large: 2n ** 100n,
    map: new Map<unknown, unknown>([[1, new Set(['a'])]]),
    list: [undefined, new URL('https://example.com/a'), /a+/gi],
  };

  it('arrive as they are, also if they had to wait', async () => {
    const test = await scope.serve([KeepingController], options('server'));
    const client = test.client(options('client'));
    expect(await client.call('echo', values)).toEqual(values);
    expect(await client.call('echo', values)).toEqual(values);
    const items: unknown[] = [];
    for await (const item of client.stream('again', values)) items.push(item);
    expect(items).toEqual([values]);
  });

  it('are what contracts say', async () => {
    const test = await scope.serve([KeptController], options('server'));
    const kept = test.client(options('client')).service(Kept);
    const input = {
      at: new Date(0),
      size: 5n,
      names: new Map([['a', 1]]),
      ids: new Set([1n, 2n ** 70n]),
    };
    expect(await kept.all(input)).toEqual(input);
    expect(await kept.later(new Date(0))).toEqual(new Date(1));
  });
});

it('sends values as JSON has them if bodies are JSON', async () => {
  const text = 'a-key-of-16-char';
  const options = (side: 'server' | 'client'): Both => ({
    processors: [
      new CryptoProcessor({
        mode: 'rap-cbc',
        ...(side === 'server' ? { keys: { k: text } } : { keyId: 'k', key: text }),
      }),
    ],
  });
  const test = await scope.serve([KeepingController], options('server'));
  const client = test.client(options('client'));
  const body = { at: new Date(0), set: new Set([1]), map: new Map([['a', 5n]]) };
  const expected = { at: '1970-01-01T00:00:00.000Z', set: [1], map: { a: 5 } };
  expect(await client.call('echo', body)).toEqual(expected);
  expect(await client.call('echo', body)).toEqual(expected);
});
