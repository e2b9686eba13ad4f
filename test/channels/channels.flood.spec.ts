import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  ChannelPattern,
  ConnectionLostError,
  RapChannel,
  type RapClient,
  type RapContext,
} from '../../lib/index.js';
import { eventually, type ServedApp } from '../helpers/async.js';
import { declare, drop, end, fence, msg, openWith } from '../helpers/channel/channel-frames.js';
import { BackgroundLoad, BackgroundController } from '../helpers/background-load.js';
import { heapUsed } from '../helpers/memory.js';
import { pack, type RawFrame, type RawSocket } from '../helpers/raw-socket.js';
import { aborted } from '../helpers/streams.js';
import { gate, probe, scope, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

/** A raw client with all extensions, until the test ends. */
async function connect(port: number): Promise<RawSocket> {
  const raw = await openWith(port);
  scope.defer(() => raw.destroy());
  return raw;
}

@Controller()
class FloodController {
  @ChannelPattern('echo')
  async echo(@Payload() channel: RapChannel): Promise<void> {
    probe.started += 1;
    for await (const body of channel) await channel.write(body);
    probe.ended += 1;
  }

  @ChannelPattern('untilGone')
  async untilGone(@Payload() _: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.started += 1;
    await aborted(ctx.signal);
    probe.ended += 1;
  }

  @ChannelPattern('hold')
  async hold(): Promise<void> {
    probe.started += 1;
    await gate.opened;
  }

  /** Reads one message and ends the channel itself, in one of the ways there are. */
  @ChannelPattern('selfClosing')
  async selfClosing(@Payload() channel: RapChannel<string>): Promise<void> {
    const how = await channel.read();
    if (how === 'close') channel.close();
    else if (how === 'error') channel.close(new Error('enough'));
    else await channel.end();
  }

  @MessagePattern('count')
  async *count(@Payload() n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield await Promise.resolve(i);
  }
}

function start(options: ServeOptions = {}): Promise<ServedApp & { mine: RapClient }> {
  // a fence is a ping, and there are many
  const limits = { pingBurst: 1e6, ...options.limits };
  const controllers = [FloodController, BackgroundController];
  return serveWithClient(controllers, { ...options, limits }, { reconnect: false });
}

/** Does so much, some at a time. */
async function repeat(times: number, atOnce: number, work: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let i = next++; i < times; i = next++) await work(i);
    }),
  );
}

const MEGABYTE = 1024 * 1024;

describe('a flood of channels', () => {
  it('opened, used and ended leave nothing behind', async () => {
    const test = await start();
    const background = await BackgroundLoad.of(test);
    const use = async (i: number): Promise<void> => {
      const channel = await test.mine.channel<number, number>('echo', { metadata: { i } });
      await channel.write(i);
      expect(await channel.read()).toBe(i);
      if (i % 2 === 0) channel.close();
      else await channel.end();
      await channel.closed;
    };
    await repeat(1000, 100, use);
    const before = await heapUsed();
    await repeat(10_000, 100, use);
    await eventually('all handlers have ended', () => probe.ended === 11_000);
    const grown = (await heapUsed()) - before;
    expect(grown).toBeLessThan(6 * MEGABYTE);
    expect(test.mine.stats()).toEqual({
      connections: 1,
      inFlight: 0,
      queued: 0,
      channels: 0,
      waitingForCredit: 0,
      lateAnswers: 0,
    });
    await background.stop();
  }, 300_000);

  it('opened and dropped at once end with the connection that does it, and only that', async () => {
    const test = await start();
    const background = await BackgroundLoad.of(test);
    // the same bytes for each connection: what takes its time here is to be the server
    const floods = [5, 1005].map((id) => {
      const ids = Array.from({ length: 500 }, (_, i) => id + 2 * i);
      return Buffer.concat(ids.flatMap((each) => [declare(each, 'untilGone'), drop(each)].map(pack)));
    });
    const before = await heapUsed();
    let dropped = 0;
    await repeat(200, 5, async () => {
      const raw = await connect(test.port);
      let sent = 0;
      for (const flood of floods) {
        if (raw.closed) break;
        raw.bytes(flood);
        sent += 500;
        await fence(raw).catch(() => {}); // rejects if the connection closes
      }
      expect(await raw.closeReason()).toBe('excessive resets');
      dropped += sent;
      await raw.waitClosed();
      raw.frames.length = 0; // this side's own memory of it
    });
    expect(dropped).toBeGreaterThanOrEqual(100_000);
    await eventually('all handlers have ended', () => probe.ended === probe.started);
    expect((await heapUsed()) - before).toBeLessThan(6 * MEGABYTE);
    await background.stop();
  }, 300_000);

  it('dropped by a client of this project at once end with its connection, in words that say why', async () => {
    const test = await start();
    const background = await BackgroundLoad.of(test);
    const errors: unknown[] = [];
    test.mine.on('disconnect', (error) => errors.push(error));
    await test.mine.connect();
    for (let i = 0; i < 2000 && errors.length === 0; i++) {
      const channel = await test.mine.channel('untilGone');
      channel.close();
      if (i % 50 === 0) await test.mine.call('background.echo', i).catch(() => {});
    }
    await eventually('the connection is gone', () => errors.length > 0);
    expect(errors[0]).toBeInstanceOf(ConnectionLostError);
    expect(errors[0]).toMatchObject({ message: expect.stringContaining('excessive resets') });
    await background.stop();
  });
});

describe('channels that the handler ends', () => {
  it.each(['close', 'error', 'end'])('say nothing against the client: %s', async (how) => {
    const test = await start();
    const lost: unknown[] = [];
    test.mine.on('disconnect', (error) => lost.push(error));
    await repeat(1200, 20, async () => {
      const channel = await test.mine.channel<unknown, string>('selfClosing');
      await channel.write(how);
      if (how === 'end') await channel.end();
      await channel.closed.catch(() => {});
    });
    expect(lost).toEqual([]);
  });
});

const batch = (from: number): RawFrame[] =>
  Array.from({ length: 100 }, (_, i) => from + 2 * i).flatMap((id) => [
    declare(id, 'count', { pad: 'x'.repeat(1000) }),
    end(id),
  ]);

describe('streams that are opened and have nothing asked of them', () => {
  it('end with END, and leave nothing behind', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(...batch(5));
    await fence(raw);
    const before = await heapUsed();
    for (let id = 5 + 200; id < 8000 && !raw.closed; id += 200) {
      raw.send(...batch(id));
      await fence(raw).catch(() => {}); // rejects if the connection closes
      raw.frames.length = 0;
    }
    expect((await heapUsed()) - before).toBeLessThan(3 * MEGABYTE);
  });
});

describe('a peer that opens more than it may', () => {
  it('and does not read the refusals is not served without end', async () => {
    const test = await start({
      limits: { maxChannels: 2, maxFrameBytes: 65_536, sendBufferSoftBytes: 65_536, framesPerTick: 1024 },
    });
    const background = await BackgroundLoad.of(test);
    const raw = await connect(test.port);
    raw.send(declare(5, 'hold'), declare(7, 'hold'));
    await eventually('both run', () => probe.started === 2);
    raw.socket.pause();
    // its answers would be some 25 MB, of which the kernel takes a few
    const frame = pack(declare(9, 'hold'));
    const flood = Buffer.concat(Array.from({ length: 10_000 }, () => frame));
    for (let i = 0; i < 20; i++) raw.socket.write(flood);
    const left = (): number => (raw.closed ? 0 : raw.socket.writableLength);
    // until it takes no more for a while: it has stopped reading, or has taken everything
    for (let before = Infinity; left() < before; await background.goesOn(50)) {
      before = left();
      await background.goesOn();
    }
    expect(raw.closed || raw.socket.writableLength > 0).toBe(true);
    await background.stop();
  }, 30_000);
});

describe('deadlines that never come', () => {
  it('leave nothing behind when their channels are over', async () => {
    const test = await start();
    const raw = await connect(test.port);
    const use = async (from: number, count: number): Promise<void> => {
      for (let i = 0; i < count; i += 50) {
        const ids = Array.from({ length: 50 }, (_, j) => from + 2 * (i + j));
        for (const id of ids) {
          raw.send(declare(id, 'echo', {}, { timeout_ms: 1e8 + id }), msg(id, 'x'), end(id));
        }
        await eventually('all have ended', () => probe.started === probe.ended && probe.ended % 50 === 0);
        await fence(raw);
        raw.frames.length = 0;
      }
    };
    await use(5, 4500); // as many ended channels as a connection remembers
    const before = await heapUsed();
    await use(5 + 2 * 4500, 4000);
    const grown = (await heapUsed()) - before;
    expect(grown).toBeLessThan(MEGABYTE);
  }, 120_000);
});
