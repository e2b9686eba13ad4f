import 'reflect-metadata';
import { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { type Observable, of, range } from 'rxjs';
import { ChannelPattern, RapChannel, type RapContext, RapError } from '../../lib/index.js';
import { eventually, pass, rejection, turn } from '../helpers/async.js';
import {
  call,
  credit,
  declare,
  declared,
  declareWith,
  drop,
  end,
  EXTENSIONS,
  fence,
  lifeCycle,
  msg,
  openWith,
  untilDrop,
} from '../helpers/channel/channel-frames.js';
import { BackgroundLoad, BackgroundController } from '../helpers/background-load.js';
import { DECLARE, pack, RawSocket } from '../helpers/raw-socket.js';
import { aborted, idle } from '../helpers/streams.js';
import { gate, notes, probe, scope, serve, type ServeOptions } from '../helpers/stream-scope.js';

@Controller()
class FallbackController {
  @ChannelPattern('echo')
  async echo(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    try {
      for await (const body of channel) await channel.write(body);
    } catch (error) {
      notes.push(error);
    }
    probe.ended += 1;
  }

  @ChannelPattern('ends')
  async ends(@Payload() channel: RapChannel): Promise<void> {
    notes.push(await rejection(channel.end()));
    await channel.write('still open');
  }

  @ChannelPattern('endsForGood')
  async endsForGood(@Payload() channel: RapChannel): Promise<void> {
    await channel.end();
    for await (const body of channel) notes.push(body);
    probe.ended += 1;
  }

  @ChannelPattern('fails')
  async fails(@Payload() channel: RapChannel): Promise<void> {
    await channel.write('before');
    throw new RapError('no more', { status: 1005 });
  }

  /** Waits until the test lets it, then reads everything. */
  @ChannelPattern('later')
  async later(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await gate.opened;
    try {
      for await (const body of channel) notes.push(body);
    } catch (error) {
      notes.push(error);
    }
    probe.ended += 1;
  }

  /** Reads nothing and waits for its signal. */
  @ChannelPattern('never')
  async never(@Payload() _: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await aborted(ctx.signal);
    probe.ended += 1;
  }

  @MessagePattern('generator')
  async *generator(@Payload() { n }: { n: number }, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    for (let i = 0; i < n; i++) {
      probe.produced += 1;
      yield await Promise.resolve(i);
    }
    probe.ended += 1;
  }

  @MessagePattern('kibibytes')
  async *kibibytes(@Payload() { n }: { n: number }): AsyncGenerator<Buffer> {
    for (let i = 0; i < n; i++) {
      probe.produced += 1;
      yield await Promise.resolve(Buffer.alloc(1024));
    }
  }

  @MessagePattern('observable')
  observable(@Payload() { n }: { n: number }): Observable<number> {
    return range(0, n);
  }

  @MessagePattern('one')
  one(): Observable<string> {
    return of('one');
  }

  @MessagePattern('readable')
  readable(): Readable {
    return new Readable({
      objectMode: true,
      read() {},
      destroy(error, callback) {
        probe.ended += 1;
        callback(error);
      },
    });
  }

  @MessagePattern('left')
  left(@Payload() _: unknown, @Ctx() ctx: RapContext): number {
    return (ctx.deadline ?? 0) - Date.now();
  }

  @MessagePattern('wait')
  async wait(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<string> {
    probe.begin(ctx);
    await Promise.race([aborted(ctx.signal), gate.opened]);
    probe.ended += 1;
    return 'waited';
  }

  @MessagePattern('session')
  session(@Payload() _: unknown, @Ctx() ctx: RapContext): boolean {
    const { state } = ctx.session ?? { state: new Map() };
    const known = state.has('seen');
    state.set('seen', true);
    return known;
  }

  @EventPattern('event')
  event(@Payload() body: unknown): void {
    notes.push(body);
  }
}

const start = (options?: ServeOptions) => serve([FallbackController, BackgroundController], options);

/** A raw client, until the test ends; without extensions as Python is. */
async function connect(port: number, extensions?: Record<string, unknown>): Promise<RawSocket> {
  const raw = await (extensions ? openWith(port, extensions) : RawSocket.open(port, DECLARE));
  scope.defer(() => raw.destroy());
  return raw;
}

describe('a Python client', () => {
  it('is answered as Python would: no word of extensions', async () => {
    const test = await start();
    const raw = await RawSocket.connect(test.port);
    scope.defer(() => raw.destroy());
    raw.send(DECLARE);
    const answer = await raw.answer(3);
    expect([answer[0], answer[2], Object.keys(answer[3] as object).toSorted()]).toEqual([
      103,
      {},
      ['conn_id', 'server_info'],
    ]);
  });

  it('gets no CREDIT, however much it sends, and no END', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(5, 'echo'));
    const body = 'x'.repeat(10_000);
    for (let i = 0; i < 100; i++) {
      raw.send(msg(5, body));
      await raw.next((frame) => frame[3] === body);
    }
    raw.send(declare(7, 'ends'));
    expect((await untilDrop(raw, 7)).map(lifeCycle)).toEqual(['DECLARE', 'MSG', 'DROP']);
    expect(notes[0]).toMatchObject({
      status: 10081,
      message: expect.stringMatching(/half-closed.*close\(\)/),
    });
    raw.send(drop(5));
    const rest = await fence(raw, 5);
    expect(rest.map(lifeCycle)).toEqual(['DECLARE']);
  });

  it('gets a stream as a channel, with nothing but MSG and DROP', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(5, 'generator'));
    await raw.next((frame) => lifeCycle(frame) === 'DECLARE');
    raw.send(msg(5, { n: 3 }));
    expect(await untilDrop(raw, 5)).toEqual([msg(5, 0), msg(5, 1), msg(5, 2), drop(5)]);
  });

  it.each(['left', 'generator'])(
    'that sends no parameters is told so when the time for a call is over: %s',
    async (target) => {
      const test = await start({ runTimeoutMs: 100 });
      const raw = await connect(test.port);
      raw.send(declare(5, target));
      const frames = await untilDrop(raw, 5);
      expect(frames.map(lifeCycle)).toEqual(['DECLARE', 'DROP 1008']);
      expect(frames.at(-1)?.[3]).toBe(
        `/default/${target} is no channel: its parameters, the first message, did not come in 100 ms`,
      );
      await idle(test);
      expect(probe.started).toBe(0);
    },
  );

  it('that sends parameters in time may take as long as it likes', async () => {
    const test = await start({ runTimeoutMs: 100 });
    const raw = await connect(test.port);
    raw.send(declare(5, 'readable'), declare(7, 'left'));
    raw.send(msg(5, {}));
    await untilDrop(raw, 7); // the time for both is over
    expect((await fence(raw, 5)).map(lifeCycle)).toEqual(['DECLARE']);
  });

  it.each([
    ['generator', { n: 3 }],
    ['generator', { n: 0 }],
    ['observable', { n: 3 }],
    ['readable', {}],
  ])('that calls a stream is told to open a channel: %s %j', async (target, parameters) => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(call(5, target, parameters));
    const [type, , header, message] = await raw.answer(5);
    expect([type, header['status_code']]).toEqual([101, 1008]);
    expect(message).toMatch(new RegExp(`^/default/${target} is a stream: use stream\\(\\)`));
    await idle(test);
    expect(probe.produced).toBe(0);
    expect(await fence(raw, 5)).toEqual([]);
  });

  it('that calls a Readable leaves none open', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(call(5, 'readable', {}));
    await raw.answer(5);
    await eventually('it is destroyed', () => probe.ended === 1);
  });

  it('that calls an Observable of one value gets it', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(call(5, 'one', {}), call(7, 'observable', { n: 1 }), call(9, 'observable', { n: 0 }));
    expect(await raw.answer(5)).toEqual([101, 5, {}, 'one']);
    expect(await raw.answer(7)).toEqual([101, 7, {}, 0]);
    expect(await raw.answer(9)).toEqual([101, 9, {}, null]);
  });

  it('sees an error on DROP', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(5, 'fails'));
    const frames = await untilDrop(raw, 5);
    expect(frames.map(lifeCycle)).toEqual(['DECLARE', 'MSG', 'DROP 1005']);
    expect(frames.at(-1)?.[3]).toBe('no more');
  });

  it('is answered to an event that it sends as a call', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(call(5, 'event', { a: 1 }, { one_way: true }));
    expect(await raw.answer(5)).toMatchObject({ 0: 101, 2: {}, 3: null });
    expect(notes).toEqual([{ a: 1 }]);
  });

  it('has its timeout_ms ignored: it did not offer it', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(call(5, 'left', {}, { timeout_ms: 100 }));
    expect((await raw.answer(5))[3]).toBeGreaterThan(5000);
  });

  it('may leave a channel without DROP and go on; its channel ends with its connection', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(5, 'echo'), msg(5, 'hi'));
    await raw.next((frame) => frame[3] === 'hi');
    raw.send(call(7, 'one', {}));
    expect(await raw.answer(7)).toEqual([101, 7, {}, 'one']);
    expect(test.server.stats().inFlight).toBe(1);
    raw.socket.end();
    await eventually('the handler has ended', () => probe.ended === 1);
    expect(probe.aborted).toBe(1);
    expect(notes[0]).toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST' });
    await idle(test);
  });
});

/** Sends this many messages, until the server takes no more. Returns the bytes that it took. */
async function flood(raw: RawSocket, id: number, count: number, size = 1024): Promise<number> {
  const message = pack(msg(id, Buffer.alloc(size)));
  const batch = Buffer.concat(Array.from({ length: Math.min(count, 1000) }, () => message));
  const before = raw.socket.bytesWritten;
  for (let sent = 0; sent < count; sent += 1000) raw.socket.write(batch);
  const total = raw.socket.bytesWritten - before;
  let left = -1;
  while (left !== raw.socket.writableLength) {
    left = raw.socket.writableLength;
    await pass(100);
  }
  return total - left;
}

describe('a Python client that floods a channel', () => {
  it('is read no further while the handler does not read; other connections notice nothing', async () => {
    const test = await start();
    const background = await BackgroundLoad.of(test);
    const raw = await connect(test.port);
    raw.send(declare(5, 'later'));
    await eventually('the handler runs', () => probe.started === 1);
    const taken = await flood(raw, 5, 20_000);
    expect(taken).toBeLessThan(14e6);
    expect(raw.closed).toBe(false);
    await background.goesOn();
    // what comes behind on this connection waits too
    raw.send(call(7, 'one', {}), drop(5));
    gate.open();
    expect(await raw.answer(7, 10_000)).toEqual([101, 7, {}, 'one']);
    await eventually('the handler has read all', () => probe.ended === 1, 10_000);
    expect(notes).toHaveLength(20_000);
    expect(notes.every((note) => note instanceof Uint8Array)).toBe(true);
    await background.stop();
  }, 20_000);

  it('with large messages is held by bytes, not by their number', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(5, 'later'));
    await eventually('the handler runs', () => probe.started === 1);
    const taken = await flood(raw, 5, 20, 3 << 20);
    expect(taken).toBeLessThan(30e6);
    gate.open();
    raw.send(drop(5));
    await eventually('the handler has read all', () => probe.ended === 1);
    expect(notes).toHaveLength(20);
  });

  it('is not taken for dead while it is not read', async () => {
    const time = scope.stopTime();
    const test = await start({ keepAlive: { intervalMs: 50, timeoutMs: 40, maxMissed: 2 } });
    const raw = await connect(test.port);
    const pongs = (async () => {
      for (;;) {
        const ping = await raw.next((frame) => frame[0] === 203, 60_000);
        raw.send([203, ping[1], { target: '/_event/ping' }, ping[3]]);
      }
    })().catch(() => {});
    raw.send(declare(5, 'later'), ...Array.from({ length: 2000 }, (_, i) => msg(5, i)));
    await eventually('the handler runs', () => probe.started === 1);
    for (let n = 0; n < 40; n++) {
      time.pass(20);
      await turn();
    }
    expect([raw.closed, probe.aborted]).toEqual([false, 0]);
    gate.open();
    raw.send(drop(5));
    await eventually('the handler has read all', () => probe.ended === 1);
    expect(notes).toEqual(Array.from({ length: 2000 }, (_, i) => i));
    raw.destroy();
    await pongs;
  });

  it.each(['destroy', 'end'] as const)('and goes is noticed although it is not read: %s', async (how) => {
    const time = scope.stopTime();
    const test = await start({ keepAlive: { intervalMs: 50, timeoutMs: 40, maxMissed: 2 } });
    const raw = await connect(test.port);
    raw.send(declare(5, 'never'), ...Array.from({ length: 2000 }, (_, i) => msg(5, i)));
    await eventually('the handler runs', () => probe.started === 1);
    await pass(20); // it has read what it reads
    raw.socket[how]();
    await eventually('the handler is told', () => {
      time.pass(5);
      return probe.ended === 1;
    });
  });

  it('and closes it in between leaves the connection usable', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(5, 'fails'), ...Array.from({ length: 2000 }, (_, i) => msg(5, i)), call(7, 'one', {}));
    expect(await raw.answer(7)).toEqual([101, 7, {}, 'one']);
    expect((await fence(raw, 5)).map(lifeCycle)).toEqual(['DECLARE', 'MSG', 'DROP 1005']);
    expect(raw.closed).toBe(false);
  });
});

describe('a client that offers one extension', () => {
  it.each(Object.entries(EXTENSIONS))('is answered with that one: %s', async (name, parameters) => {
    const test = await start();
    const raw = await RawSocket.connect(test.port);
    scope.defer(() => raw.destroy());
    raw.send(declareWith({ [name]: parameters, something_else: {} }));
    const { extensions } = (await raw.answer(3))[3] as { extensions: unknown };
    expect(extensions).toEqual({ [name]: parameters });
  });

  it('cancel: the handler is told, and nothing is answered', async () => {
    const test = await start();
    const raw = await connect(test.port, { cancel: {} });
    raw.send(call(5, 'wait', {}), [103, 7, { target: '/_event/cancel' }, { id: 5 }]);
    await eventually('the handler has ended', () => probe.ended === 1);
    expect(await fence(raw, 5)).toEqual([]);
    for (const body of [null, 'x', {}, { id: 'x' }, { id: 999 }, { id: 5 }, { id: -1 }]) {
      raw.send([103, 9, { target: '/_event/cancel' }, body]);
    }
    raw.send(call(11, 'generator', { n: 3 }));
    expect((await raw.answer(11))[2]['status_code']).toBe(1008);
  });

  it('credit: it holds the server, and is given back', async () => {
    const test = await start();
    const raw = await connect(test.port, { credit: { window: 3000 } });
    raw.send(declare(5, 'kibibytes'), msg(5, { n: 1000 }));
    await eventually('it stands', () => probe.produced >= 3);
    await fence(raw);
    await pass(10);
    expect((await fence(raw, 5)).filter((frame) => lifeCycle(frame) === 'MSG')).toHaveLength(3);
    gate.open();
    raw.send(drop(5), declare(7, 'later'), ...Array.from({ length: 150 }, () => msg(7, 'x'.repeat(1000))));
    const back = await raw.next((frame) => lifeCycle(frame) === 'CREDIT');
    expect(back[3]).toBeGreaterThanOrEqual(128 * 1024);
    raw.send(drop(7));
  });

  it('half_close: END ends one direction, each in its time', async () => {
    const test = await start();
    const raw = await connect(test.port, { half_close: {} });
    raw.send(declare(5, 'echo'), msg(5, 'a'), end(5));
    expect((await untilDrop(raw, 5)).map(lifeCycle)).toEqual(['DECLARE', 'MSG', 'DROP']);
    raw.send(declare(9, 'generator'), msg(9, { n: 3 }), end(9));
    expect(await untilDrop(raw, 9)).toEqual([declared(9), msg(9, 0), msg(9, 1), msg(9, 2), drop(9)]);
    raw.send(declare(11, 'generator'), end(11));
    expect((await untilDrop(raw, 11)).map(lifeCycle)).toEqual(['DECLARE', 'DROP 1008']);
    raw.send(declare(7, 'endsForGood'));
    await raw.next((frame) => frame[1] === 7 && lifeCycle(frame) === 'END');
    raw.send(msg(7, 'after its end'), end(7));
    await eventually('the handler has ended', () => probe.ended === 3);
    expect(notes).toEqual(['after its end']);
    expect((await fence(raw, 7)).map(lifeCycle)).toEqual(['DECLARE']);
  });

  it('accept_stream: a channel to a function is refused before it runs, a stream is not', async () => {
    const test = await start();
    const raw = await connect(test.port, { accept_stream: {}, fast_open: {} });
    raw.send(declare(5, 'generator'), msg(5, { n: 1 }));
    const frames = await untilDrop(raw, 5);
    expect(frames.map(lifeCycle)).toEqual(['DROP 1008']);
    expect(frames[0]?.[3]).toBe(
      '/default/generator is unary: use call(), or stream() if it streams, not channel()',
    );
    raw.send(declare(7, 'generator', {}, { accept_stream: true }), msg(7, { n: 1 }));
    expect(await untilDrop(raw, 7)).toEqual([declared(7), msg(7, 0), drop(7)]);
    expect(probe.started).toBe(1);
    await idle(test);
  });

  it('fast_open: messages behind DECLARE are taken', async () => {
    const test = await start();
    const raw = await connect(test.port, { fast_open: {} });
    raw.send(declare(5, 'echo'), msg(5, 1), msg(5, 2), drop(5), declare(7, 'generator'), msg(7, { n: 2 }));
    expect(await untilDrop(raw, 7)).toEqual([declared(7), msg(7, 0), msg(7, 1), drop(7)]);
  });

  it('one_way: an event is not answered', async () => {
    const test = await start();
    const raw = await connect(test.port, { one_way: {} });
    raw.send(
      call(5, 'event', 1, { one_way: true }),
      call(7, 'nope', 1, { one_way: true }),
      call(9, 'generator', { n: 3 }, { one_way: true }),
      call(11, 'echo', 1, { one_way: true }),
    );
    await eventually('the generator has run', () => probe.ended === 1);
    await fence(raw);
    expect(raw.frames).toEqual([]);
    expect(notes).toEqual([1]);
    expect(probe.produced).toBe(3);
  });

  it('stream_reply: a call is answered by a stream, without credits', async () => {
    const test = await start();
    const raw = await connect(test.port, { stream_reply: {} });
    raw.send(call(5, 'generator', { n: 1000 }));
    const frames = await untilDrop(raw, 5);
    expect(frames).toHaveLength(1001);
    expect(frames.slice(0, 2)).toEqual([msg(5, 0), msg(5, 1)]);
    raw.send(call(7, 'kibibytes', { n: 1e9 }));
    await raw.next((frame) => frame[1] === 7);
    raw.send(drop(7));
    await idle(test);
  });

  it('session: session_close forgets it', async () => {
    const test = await start();
    const raw = await connect(test.port, { session: {} });
    const header = { session_id: 's' };
    raw.send(call(5, 'session', {}, header), call(7, 'session', {}, header));
    expect([(await raw.answer(5))[3], (await raw.answer(7))[3]]).toEqual([false, true]);
    raw.send([103, 9, { target: '/_event/session_close' }, header], call(11, 'session', {}, header));
    expect((await raw.answer(11))[3]).toBe(false);
    expect(await fence(raw, 9)).toEqual([]);
  });

  it('deadline: timeout_ms holds', async () => {
    const test = await start();
    const raw = await connect(test.port, { deadline: {} });
    raw.send(call(5, 'left', {}, { timeout_ms: 500 }));
    expect((await raw.answer(5))[3]).toBeLessThanOrEqual(500);
  });
});

describe('an offer that is none', () => {
  it.each([null, 'all', 5, [], ['credit'], { credit: null }, { credit: 'yes' }, { nothing: {} }])(
    'is answered with none: %j',
    async (extensions) => {
      const test = await start();
      const raw = await RawSocket.connect(test.port);
      scope.defer(() => raw.destroy());
      raw.send(declareWith(extensions as never));
      const body = (await raw.answer(3))[3] as { extensions?: object };
      expect(Object.keys(body.extensions ?? {})).toEqual([]);
    },
  );

  it.each([{}, { window: 0 }, { window: -5 }, { window: 'much' }, { window: null }, { window: Number.NaN }])(
    'of credit is taken whole or not at all: %j',
    async (parameters) => {
      const test = await start();
      const raw = await RawSocket.connect(test.port);
      scope.defer(() => raw.destroy());
      raw.send(declareWith({ credit: parameters }));
      const body = (await raw.answer(3))[3] as { extensions?: object };
      const agreed = Object.keys(body.extensions ?? {}).includes('credit');
      raw.send(declare(5, 'echo'));
      for (let i = 0; i < 300; i++) raw.send(msg(5, 'x'.repeat(1000)));
      raw.send(credit(5, 1e6));
      await eventually('it is answered', () => raw.frames.length > 20);
      await fence(raw);
      // a server that named credit gives it back; one that did not says nothing of it
      expect(raw.frames.some((frame) => lifeCycle(frame) === 'CREDIT')).toBe(agreed);
    },
  );
});
