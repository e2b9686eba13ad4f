import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, type RapClientOptions, type RapContext } from '../../lib/index.js';
import { eventually, pass, turn, within } from '../helpers/async.js';
import { call, credit, declare, drop, fence, msg, openWith } from '../helpers/channel/channel-frames.js';
import { heapUsed } from '../helpers/memory.js';
import type { RawSocket } from '../helpers/raw-socket.js';
import { aborted, collect, idle } from '../helpers/streams.js';
import { gate, probe, scope, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

const KIBIBYTE = 1024;
const WINDOW = 256 * KIBIBYTE;
/** One item of a channel on the wire: a KiB, and its frame around it. */
const ITEM = KIBIBYTE + 40;

let serverChannels: RapChannel[] = [];
beforeEach(() => void (serverChannels = []));

@Controller()
class PressureController {
  /** Items of a KiB; counts how far ahead it gets. */
  @MessagePattern('kibibytes')
  async *kibibytes(@Payload() n: number, @Ctx() ctx: RapContext): AsyncGenerator<Buffer> {
    probe.begin(ctx);
    try {
      for (let i = 0; i < n; i++) {
        probe.produced += 1;
        const item = Buffer.alloc(KIBIBYTE);
        item.writeUInt32BE(i);
        yield item;
      }
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('count')
  async *count(@Payload() n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield await Promise.resolve(i);
  }

  /** Writes without being asked; never faster than it may. */
  @ChannelPattern('pour')
  async pour(@Payload() channel: RapChannel<unknown, Buffer>, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    while (!channel.isClosed) {
      await channel.write(Buffer.alloc(KIBIBYTE)).catch(() => {});
      probe.produced += 1;
    }
    probe.ended += 1;
  }

  @ChannelPattern('echo')
  async echo(@Payload() channel: RapChannel): Promise<void> {
    for await (const body of channel) await channel.write(body);
  }

  /** Does not read before the test lets it. */
  @ChannelPattern('later')
  async later(@Payload() channel: RapChannel<Uint8Array, number>, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    serverChannels.push(channel);
    await Promise.race([gate.opened, aborted(ctx.signal)]);
    let bytes = 0;
    for await (const chunk of channel) bytes += chunk.length;
    await channel.write(bytes).catch(() => {});
    probe.ended += 1;
  }

  @MessagePattern('echo1')
  echo1(@Payload() body: unknown): unknown {
    return body;
  }
}

const start = (options?: ServeOptions, clientOptions?: RapClientOptions) =>
  serveWithClient([PressureController], options, clientOptions);

async function connect(port: number, extensions?: Record<string, unknown>): Promise<RawSocket> {
  const raw = await openWith(port, extensions);
  scope.defer(() => raw.destroy());
  return raw;
}

/** Waits until a count stands still while the event loop goes round. */
async function settled(count: () => number): Promise<number> {
  let before = -1;
  for (let still = 0; still < 20; still = count() === before ? still + 1 : 0) {
    before = count();
    await pass(2);
  }
  return before;
}

describe('a slow reader', () => {
  it('keeps the producer no more than the window ahead, all the way', async () => {
    const { mine } = await start();
    let consumed = 0;
    let furthest = 0;
    for await (const item of mine.stream<Uint8Array>('kibibytes', 3000)) {
      expect(Buffer.from(item).readUInt32BE()).toBe(consumed);
      consumed += 1;
      if (consumed % 25 === 0) {
        await turn();
        await turn();
      }
      furthest = Math.max(furthest, probe.produced - consumed);
    }
    expect(consumed).toBe(3000);
    // the window, one item beyond it, and one that was made and waits
    expect(furthest).toBeLessThanOrEqual(WINDOW / KIBIBYTE + 2);
    expect(furthest).toBeGreaterThan(50);
  });

  it('that stops to read stops the producer, and memory stays flat', async () => {
    const { mine, server } = await start();
    const iterator = mine.stream<Uint8Array>('kibibytes', 1e9)[Symbol.asyncIterator]();
    await iterator.next();
    const ahead = await settled(() => probe.produced);
    expect(ahead).toBeLessThanOrEqual(WINDOW / KIBIBYTE + 2);
    expect(ahead).toBeGreaterThan((WINDOW / ITEM) * 0.9);
    const before = await heapUsed();
    for (let i = 0; i < 2000; i++) await iterator.next();
    expect((await heapUsed()) - before).toBeLessThan(2 * 1024 * KIBIBYTE);
    expect(probe.produced).toBeLessThanOrEqual(2001 + WINDOW / KIBIBYTE + 2);
    await iterator.return?.();
    await idle({ server });
  });

  it('has the window that its client was given', async () => {
    const { mine } = await start({}, { limits: { channelWindowBytes: 16 * KIBIBYTE } });
    const iterator = mine.stream<Uint8Array>('kibibytes', 1000)[Symbol.asyncIterator]();
    await iterator.next();
    expect(await settled(() => probe.produced)).toBeLessThanOrEqual(18);
    await iterator.return?.();
  });

  it('is right for one item that is larger than the window', async () => {
    const { mine } = await start(
      { limits: { channelWindowBytes: KIBIBYTE } },
      { limits: { channelWindowBytes: KIBIBYTE } },
    );
    const channel = await mine.channel<Uint8Array, Buffer>('echo');
    for (const size of [100 * KIBIBYTE, 1, 50 * KIBIBYTE]) {
      await channel.write(Buffer.alloc(size, 1));
      expect((await channel.read())?.length).toBe(size);
    }
    channel.close();
  });

  it('over send() is as fast as the subscriber, which cannot wait: the producer is not held', async () => {
    const { mine } = await start();
    let count = 0;
    await new Promise<void>((resolve, reject) => {
      mine.send('kibibytes', 2000).subscribe({ next: () => (count += 1), error: reject, complete: resolve });
    });
    expect([count, probe.produced]).toEqual([2000, 2000]);
  });

  it('over session.execute() holds the producer', async () => {
    const { mine, server } = await start();
    const session = await mine.openSession();
    const items = (await session.execute('kibibytes', 1e9)) as AsyncIterable<Uint8Array>;
    expect(await settled(() => probe.produced)).toBeLessThanOrEqual(WINDOW / KIBIBYTE + 2);
    for await (const item of items) {
      expect(item).toHaveLength(KIBIBYTE);
      break;
    }
    await idle({ server });
  });
});

describe('credits on the wire', () => {
  it('hold the server to the byte, and one message more', async () => {
    const test = await start();
    const raw = await connect(test.port, { credit: { window: 10_000 } });
    raw.send(declare(5, 'pour'));
    await settled(() => probe.produced);
    const frames = await fence(raw, 5);
    const messages = frames.filter((frame) => frame[3] !== null);
    expect(messages).toHaveLength(Math.ceil(10_000 / ITEM));
    for (const bytes of [1, 5000, 1]) {
      raw.send(credit(5, bytes));
      await settled(() => probe.produced);
    }
    const size = 1 + 1 + 1 + 1 + 'channel_life_cycle'.length + 1 + 'MSG'.length + 1 + 1 + 3 + KIBIBYTE;
    const sent = messages.length + (await fence(raw, 5)).length;
    // as many as there is credit for, the last one going below zero
    expect(sent).toBeGreaterThanOrEqual(Math.floor(15_002 / (size + 3)));
    expect(sent).toBeLessThanOrEqual(Math.ceil(15_002 / (size - 3)));
    raw.send(drop(5));
  });

  it('come back in batches, not one for each message', async () => {
    const test = await start();
    const raw = await connect(test.port, { credit: { window: 1e9 }, half_close: {} });
    raw.send(declare(5, 'later'));
    await eventually('it runs', () => probe.started === 1);
    gate.open();
    let credits = 0;
    let returned = 0;
    for (let i = 0; i < 2000; i++) {
      raw.send(msg(5, Buffer.alloc(KIBIBYTE)));
      if (i % 100 === 0) {
        for (const frame of await fence(raw, 5)) {
          if (frame[2]['channel_life_cycle'] !== 'CREDIT') continue;
          credits += 1;
          returned += frame[3] as number;
        }
      }
    }
    expect(credits).toBeGreaterThan(5);
    expect(credits).toBeLessThan(30);
    expect(returned).toBeGreaterThan(1_500_000);
    expect(returned).toBeLessThanOrEqual(2000 * ITEM);
    raw.send(drop(5));
  });

  it('are given back by nobody for what nobody reads', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(5, 'later'), ...Array.from({ length: 200 }, () => msg(5, Buffer.alloc(KIBIBYTE))));
    await eventually('it runs', () => probe.started === 1);
    const frames = await fence(raw, 5);
    expect(frames.map((frame) => frame[2]['channel_life_cycle'])).toEqual(['DECLARE']);
    raw.send(drop(5));
  });
});

describe('on one connection', () => {
  it('a channel that is not read stops neither calls, streams nor other channels', async () => {
    const { mine } = await start();
    const slow = await mine.channel<Uint8Array>('pour');
    await slow.read();
    await settled(() => probe.produced);
    const echo = await mine.channel('echo');
    for (let i = 0; i < 50; i++) {
      expect(await within('a call', mine.call('echo1', i))).toBe(i);
      await echo.write(i);
      expect(await within('a channel', echo.read())).toBe(i);
    }
    expect(await within('a stream', collect(mine.stream('count', 2000)))).toHaveLength(2000);
    expect(probe.produced).toBeLessThanOrEqual(WINDOW / KIBIBYTE + 2);
    echo.close();
    slow.close();
  });

  it('a handler that does not read stops neither calls nor other channels', async () => {
    const { mine } = await start();
    const slow = await mine.channel<number, Buffer>('later');
    let written = 0;
    const writing = (async () => {
      for (; written < 1000; written++) await slow.write(Buffer.alloc(KIBIBYTE));
      await slow.end();
    })();
    expect(await settled(() => written)).toBeLessThanOrEqual(WINDOW / KIBIBYTE + 1);
    const echo = await mine.channel('echo');
    for (let i = 0; i < 50; i++) {
      expect(await within('a call', mine.call('echo1', i))).toBe(i);
      await echo.write(i);
      expect(await within('a channel', echo.read())).toBe(i);
    }
    echo.close();
    gate.open();
    await within('all is written', writing);
    expect(await slow.read()).toBe(1000 * KIBIBYTE);
  });

  it('1 slow channel of 100 holds up none of the 99', async () => {
    const { mine } = await start();
    const slow = await mine.channel<Uint8Array>('pour');
    await settled(() => probe.produced);
    const others = await Promise.all(Array.from({ length: 99 }, () => mine.channel('echo')));
    const body = Buffer.alloc(4 * KIBIBYTE, 1);
    await within(
      'all of the 99',
      Promise.all(
        others.map(async (channel) => {
          for (let i = 0; i < 20; i++) {
            await channel.write(body);
            expect((await channel.read()) as Uint8Array).toHaveLength(body.length);
          }
        }),
      ),
      8000,
    );
    expect(slow.isClosed).toBe(false);
    for (const channel of [slow, ...others]) channel.close();
  }, 10_000);

  it('a stream that floods leaves calls their turn', async () => {
    const { mine } = await start();
    let items = 0;
    const controller = new AbortController();
    const streams = Array.from({ length: 4 }, async () => {
      for await (const _ of mine.stream('kibibytes', 1e9, { signal: controller.signal })) items += 1;
    });
    await eventually('the streams run', () => items > 1000);
    const before = items;
    for (let i = 0; i < 30; i++) expect(await within('a call', mine.call('echo1', i))).toBe(i);
    expect(items).toBeGreaterThan(before);
    controller.abort();
    await Promise.allSettled(streams);
  });

  it('parallel streams share: none waits for the end of another', async () => {
    const { mine } = await start();
    const counts = [0, 0, 0, 0];
    await Promise.all(
      counts.map(async (_, s) => {
        for await (const item of mine.stream<Uint8Array>('kibibytes', 1500)) {
          expect(item).toHaveLength(KIBIBYTE);
          counts[s] = (counts[s] ?? 0) + 1;
          if (counts[s] === 1500) expect(Math.min(...counts)).toBeGreaterThan(300);
        }
      }),
    );
    expect(counts).toEqual([1500, 1500, 1500, 1500]);
  });

  it('64 parallel echoes of a MiB come through while streams and a channel run', async () => {
    // both sides write far more than the kernel takes
    const limits = { sendBufferHardBytes: 256 * 1024 * KIBIBYTE };
    const { mine } = await start({}, { limits });
    let items = 0;
    const controller = new AbortController();
    const { signal } = controller;
    const streams = [1, 2].map(async () => {
      for await (const _ of mine.stream('kibibytes', 1e9, { signal })) items += 1;
    });
    const slow = await mine.channel('pour');
    await eventually('the streams run', () => items > 100);
    const body = Buffer.alloc(1024 * KIBIBYTE, 5);
    const answers = await within(
      '64 echoes',
      Promise.all(Array.from({ length: 64 }, () => mine.call<Uint8Array>('echo1', body))),
      15_000,
    );
    expect(answers.every((answer) => answer.length === body.length)).toBe(true);
    const before = items;
    await eventually('the streams go on', () => items > before);
    controller.abort();
    slow.close();
    await Promise.allSettled(streams);
  }, 20_000);

  it('64 channels that both write a MiB at once come through', async () => {
    const { mine } = await start();
    const body = Buffer.alloc(64 * KIBIBYTE, 5);
    await within(
      '64 channels',
      Promise.all(
        Array.from({ length: 64 }, async () => {
          const channel = await mine.channel<Uint8Array, Buffer>('echo');
          const writing = (async () => {
            for (let i = 0; i < 16; i++) await channel.write(body);
            await channel.end();
          })();
          let bytes = 0;
          for await (const chunk of channel) bytes += chunk.length;
          expect(bytes).toBe(1024 * KIBIBYTE);
          await writing;
        }),
      ),
      15_000,
    );
  }, 20_000);
});

describe('a client that reads nothing at all', () => {
  it('stops its streams at the buffers of the kernel and its own, and takes no memory', async () => {
    const test = await start();
    const other = test.client();
    const raw = await connect(test.port, { credit: { window: 2 ** 31 }, stream_reply: {} });
    raw.socket.pause();
    raw.send(...Array.from({ length: 20 }, (_, i) => call(5 + 2 * i, 'kibibytes', 1e9)));
    await eventually('all run', () => probe.started === 20);
    const produced = await settled(() => probe.produced);
    // 256 KiB that wait in the process, an item a stream, and what the kernel has taken
    const kernel = raw.socket.bytesRead;
    expect(kernel).toBeLessThan(WINDOW);
    expect(produced * KIBIBYTE).toBeLessThan(24 * 1024 * KIBIBYTE);
    expect(await other.call('echo1', 'alive')).toBe('alive');
    raw.destroy();
    await eventually('all have ended', () => probe.ended === 20);
  });
});
