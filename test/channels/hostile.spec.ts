import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelError, ChannelPattern, RapChannel, RapClient, type RapContext } from '../../lib/index.js';
import type { TestApp } from '../helpers/app.js';
import { eventually, rejection, type ServedApp } from '../helpers/async.js';
import {
  answerDeclareWith,
  call,
  credit,
  declare,
  declared,
  drop,
  end,
  EXTENSIONS,
  fence,
  fenceClient,
  lifeCycle,
  msg,
  openWith,
  untilDrop,
} from '../helpers/channel/channel-frames.js';
import { BackgroundLoad, BackgroundController } from '../helpers/background-load.js';
import { heapUsed } from '../helpers/memory.js';
import { type RawFrame, type RawSocket, scriptedServer } from '../helpers/raw-socket.js';
import { collectFailing } from '../helpers/streams.js';
import { gate, notes, probe, scope, serve, type ServeOptions } from '../helpers/stream-scope.js';

@Controller()
class HostileController {
  @ChannelPattern('echo')
  async echo(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    try {
      for await (const body of channel) await channel.write(body);
    } catch (error) {
      notes.push(error);
    } finally {
      probe.ended += 1;
    }
  }

  /** Reads nothing before the test lets it. */
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

  /** Writes its items when the test lets it, whatever the client does. */
  @MessagePattern('count')
  async *count(@Payload() n: number): AsyncGenerator<number> {
    probe.begin();
    try {
      for (let i = 0; i < n; i++) yield await Promise.resolve(i);
      await gate.opened;
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('hold')
  async hold(@Payload() body: unknown): Promise<unknown> {
    probe.begin();
    await gate.opened;
    probe.ended += 1;
    return body;
  }
}

async function start(options?: ServeOptions): Promise<ServedApp> {
  const test = await serve([HostileController, BackgroundController], options);
  const background = await BackgroundLoad.of(test);
  scope.defer(() => background.stop());
  return test;
}

async function connect(test: TestApp, extensions: Record<string, unknown> = EXTENSIONS): Promise<RawSocket> {
  const raw = await openWith(test.port, extensions);
  scope.defer(() => raw.destroy());
  return raw;
}

/** Waits until all handlers but those of the background load have ended. */
function handlersEnded(): Promise<void> {
  return eventually('all handlers have ended', () => probe.started === probe.ended);
}

const NOT_CREATED: [Record<string, unknown>, string] = [{ status_code: 1008 }, 'channel not create'];

describe('frames for a channel that is not there', () => {
  const frames: Record<string, (id: number) => RawFrame> = {
    MSG: (id) => msg(id, 1),
    DROP: (id) => drop(id),
    END: (id) => end(id),
    CREDIT: (id) => credit(id, 5),
    'an unknown life cycle': (id) => [102, id, { channel_life_cycle: 'HELLO' }, null],
    'no life cycle': (id) => [102, id, {}, null],
    'a life cycle that is not text': (id) => [102, id, { channel_life_cycle: 5 }, null],
  };

  it.each(Object.keys(frames))(
    '%s before DECLARE is answered with 1008, and the connection works',
    async (name) => {
      const raw = await connect(await start());
      raw.send((frames[name] as (id: number) => RawFrame)(5));
      expect(await raw.answer(5)).toEqual([102, 5, ...NOT_CREATED]);
      raw.send(declare(5, 'echo'), msg(5, 'hi'));
      expect([await raw.answer(5), await raw.answer(5)]).toEqual([declared(5), msg(5, 'hi')]);
    },
  );

  it.each(Object.keys(frames))("%s after the peer's own DROP is answered with 1008", async (name) => {
    const raw = await connect(await start());
    raw.send(declare(5, 'echo'), msg(5, 'hi'), drop(5));
    raw.send((frames[name] as (id: number) => RawFrame)(5));
    const answer = await raw.next((frame) => frame[2]['status_code'] !== undefined);
    expect(answer).toEqual([102, 5, ...NOT_CREATED]);
    raw.send(declare(5, 'echo'), msg(5, 'again'));
    await raw.next((frame) => frame[3] === 'again');
  });

  it('that are errors are not answered: that would go on for ever', async () => {
    const raw = await connect(await start());
    raw.send([102, 5, ...NOT_CREATED], [102, 7, { status_code: 301, channel_life_cycle: 'MSG' }, ['E', 'x']]);
    await fence(raw);
    expect(raw.frames).toEqual([]);
  });

  it('are not held against a peer whose frames have crossed the DROP of this side', async () => {
    const test = await start();
    const raw = await connect(test);
    gate.open();
    raw.send(declare(5, 'count'), msg(5, 0));
    expect((await untilDrop(raw, 5)).map(lifeCycle)).toEqual(['DECLARE', 'DROP']);
    raw.send(msg(5, 'late'), credit(5, 100), end(5), drop(5));
    expect(await fence(raw, 5)).toEqual([]);
    raw.send(msg(5, 'too late'));
    expect(await raw.answer(5)).toEqual([102, 5, ...NOT_CREATED]);
  });

  it('are answered a hundred times, then the connection is closed', async () => {
    const test = await start();
    const raw = await connect(test);
    raw.send(declare(3001, 'echo'));
    await eventually('it runs', () => probe.started === 1);
    raw.send(...Array.from({ length: 300 }, (_, i) => msg(5 + 2 * i, 1)));
    expect(await raw.closeReason()).toBe('excessive rejected frames');
    await raw.waitClosed();
    const refused = raw.frames.filter((frame) => frame[2]['status_code'] === 1008);
    expect(refused.length).toBeGreaterThanOrEqual(100);
    expect(refused.length).toBeLessThan(110);
    await eventually('its channel has ended', () => probe.ended === 1);
  });
});

describe('an id that is in use', () => {
  it('by a channel: a second DECLARE ends it with 1008', async () => {
    const test = await start();
    const raw = await connect(test);
    raw.send(declare(5, 'echo'), msg(5, 'hi'));
    await raw.next((frame) => frame[3] === 'hi');
    raw.send(declare(5, 'echo'));
    const frame = await raw.next((it) => it[2]['status_code'] !== undefined);
    expect([lifeCycle(frame), frame[3]]).toEqual(['DROP 1008', 'a second DECLARE']);
    await eventually('the handler has ended', () => probe.ended === 1);
    expect(notes[0]).toBeInstanceOf(ChannelError);
    expect(notes[0]).toMatchObject({ status: 1008, message: 'a second DECLARE' });
    expect(raw.closed).toBe(false);
    await handlersEnded();
  });

  it.each([
    ['a channel for one whose call runs', (): RawFrame[] => [call(5, 'hold', 1), declare(5, 'echo')]],
    ['a call for one whose call runs', (): RawFrame[] => [call(5, 'hold', 1), call(5, 'hold', 2)]],
    ['a call for one whose channel runs', (): RawFrame[] => [declare(5, 'later'), call(5, 'hold', 2)]],
    [
      'a channel for one whose handler has not ended',
      (): RawFrame[] => [declare(5, 'later'), drop(5), declare(5, 'later')],
    ],
  ])('closes the connection: %s', async (_, frames) => {
    const test = await start();
    const raw = await connect(test);
    raw.send(...frames());
    expect(await raw.closeReason()).toBe('correlation id 5 is in use');
    await raw.waitClosed();
    expect(probe.started).toBeLessThanOrEqual(1);
    gate.open();
    await handlersEnded();
  });

  it('by a call that has become a stream: DECLARE ends it with 1008', async () => {
    const test = await start();
    const raw = await connect(test);
    raw.send(call(5, 'count', 2));
    await raw.next((frame) => frame[3] === 1);
    raw.send(declare(5, 'echo'));
    expect(lifeCycle((await untilDrop(raw, 5)).at(-1) as RawFrame)).toBe('DROP 1008');
    gate.open();
    await handlersEnded();
    expect(raw.closed).toBe(false);
  });

  it('is free again when its handler has ended', async () => {
    const test = await start();
    const raw = await connect(test);
    for (let i = 0; i < 20; i++) {
      raw.send(declare(5, 'echo'), msg(5, i));
      await raw.next((frame) => frame[3] === i);
      raw.send(drop(5));
      await handlersEnded();
    }
    expect(probe).toMatchObject({ started: 20, ended: 20 });
  });
});

describe('a step that the life of a channel does not allow', () => {
  const steps: [string, (id: number) => RawFrame[], string][] = [
    ['MSG after END', (id) => [end(id), msg(id, 1)], 'the peer has ended its side'],
    ['END twice', (id) => [end(id), end(id)], 'the peer has ended its side'],
    ['a credit of zero', (id) => [credit(id, 0)], 'credit must be a positive integer'],
    ['a negative credit', (id) => [credit(id, -1)], 'credit must be a positive integer'],
    ['a credit that is text', (id) => [credit(id, '5')], 'credit must be a positive integer'],
    ['a credit of nothing', (id) => [credit(id, null)], 'credit must be a positive integer'],
    ['half a credit', (id) => [credit(id, 0.5)], 'credit must be a positive integer'],
    ['a credit that is not a number', (id) => [credit(id, Number.NaN)], 'credit must be a positive integer'],
    ['a credit without end', (id) => [credit(id, Infinity)], 'credit must be a positive integer'],
    ['a list of credits', (id) => [credit(id, [5])], 'credit must be a positive integer'],
    ['a huge credit', (id) => [credit(id, 2 ** 40)], 'too much credit'],
    ['a credit beyond every number', (id) => [credit(id, 2n ** 63n)], 'credit must be a positive integer'],
    [
      'credits that add up to too much',
      (id) => [credit(id, 2 ** 32 - 300_000), credit(id, 300_000)],
      'too much credit',
    ],
    [
      'an unknown life cycle',
      (id) => [[102, id, { channel_life_cycle: 'PAUSE' }, null]],
      'unknown life cycle',
    ],
    [
      'a life cycle that is not text',
      (id) => [[102, id, { channel_life_cycle: ['MSG'] }, null]],
      'unknown life cycle',
    ],
    ['no life cycle', (id) => [[102, id, {}, 1]], 'unknown life cycle'],
    [
      'DECLARE as text of another case',
      (id) => [[102, id, { channel_life_cycle: 'msg' }, 1]],
      'unknown life cycle',
    ],
  ];

  it.each(steps)('ends it with 1008, on both sides: %s', async (_, frames, message) => {
    const test = await start();
    const raw = await connect(test);
    raw.send(declare(5, 'later'), declare(7, 'echo'), msg(5, 'before'), ...frames(5));
    const last = await raw.next((frame) => frame[1] === 5 && lifeCycle(frame) !== 'DECLARE');
    expect([lifeCycle(last), last[3]]).toEqual(['DROP 1008', message]);
    expect(last[2]['error']).toMatchObject({ name: 'ChannelError' });
    gate.open();
    await eventually('its handler has ended', () => probe.ended >= 1);
    expect(notes).toHaveLength(2);
    expect(notes[0]).toBe('before');
    expect(notes[1]).toMatchObject({ status: 1008, message });
    // nothing of it touches the channel beside it
    raw.send(msg(7, 'still here'));
    await raw.next((frame) => frame[1] === 7 && frame[3] === 'still here');
    expect((await fence(raw, 5)).map(lifeCycle)).toEqual(['DECLARE']);
  });

  it.each(steps)('ends a call that has become a stream in the same way: %s', async (_, frames, message) => {
    const test = await start();
    const raw = await connect(test);
    raw.send(call(5, 'count', 1));
    await raw.next((frame) => frame[3] === 0);
    raw.send(...frames(5));
    const last = await raw.next((frame) => frame[1] === 5 && frame[2]['status_code'] !== undefined);
    expect([lifeCycle(last), last[3]]).toEqual(['DROP 1008', message]);
    gate.open();
    await handlersEnded();
    expect(probe.ended).toBe(1);
  });

  it('leaves a frame of too much credit by a hair alone', async () => {
    const raw = await connect(await start());
    raw.send(declare(5, 'echo'), credit(5, 2 ** 32 - 256 * 1024), msg(5, 'hi'));
    expect([lifeCycle(await raw.answer(5)), (await raw.answer(5))[3]]).toEqual(['DECLARE', 'hi']);
  });

  it('DROP twice is answered with 1008 once, END with both sides ended not at all', async () => {
    const test = await start();
    const raw = await connect(test);
    raw.send(declare(5, 'echo'), drop(5), drop(5));
    await raw.next((frame) => frame[2]['status_code'] === 1008);
    gate.open();
    raw.send(declare(7, 'echo'), end(7));
    expect((await untilDrop(raw, 7)).map(lifeCycle)).toEqual(['DECLARE', 'DROP']);
    raw.send(drop(7));
    expect(await fence(raw, 7)).toEqual([]);
  });

  it('credit if none was agreed ends the channel', async () => {
    const raw = await connect(await start(), {});
    raw.send(declare(5, 'echo'), credit(5, 5));
    const last = await raw.next((frame) => frame[2]['status_code'] !== undefined);
    expect([lifeCycle(last), last[3]]).toEqual(['DROP 1008', 'credits were not agreed']);
  });
});

describe('messages beyond the credit', () => {
  it('end the channel if the handler does not read; what was within it is read', async () => {
    const test = await start();
    const raw = await connect(test);
    raw.send(declare(5, 'later'));
    await eventually('it runs', () => probe.started === 1);
    const body = Buffer.alloc(1024);
    raw.send(...Array.from({ length: 300 }, () => msg(5, body)));
    const last = await raw.next((frame) => frame[1] === 5 && lifeCycle(frame) !== 'DECLARE');
    expect([lifeCycle(last), last[3]]).toEqual(['DROP 1008', 'more bytes than it had credit for']);
    gate.open();
    await eventually('it has ended', () => probe.ended === 1);
    // the window, and one that may go over it
    expect(notes.length).toBeGreaterThan(240);
    expect(notes.length).toBeLessThan(259);
    expect(notes.at(-1)).toMatchObject({ status: 1008 });
  });

  it('may be one, of any size', async () => {
    const test = await start();
    const raw = await connect(test);
    raw.send(declare(5, 'later'), msg(5, Buffer.alloc(3 << 20)));
    await eventually('it runs', () => probe.started === 1);
    expect((await fence(raw, 5)).map(lifeCycle)).toEqual(['DECLARE']);
    gate.open();
    expect(await raw.answer(5)).toMatchObject({ 3: expect.any(Number), 2: { channel_life_cycle: 'CREDIT' } });
    raw.send(msg(5, 1), drop(5));
    await eventually('it has ended', () => probe.ended === 1);
    expect(notes).toHaveLength(2);
  });

  it('take no memory, whatever comes after them', async () => {
    const test = await start();
    const raw = await connect(test);
    const body = Buffer.alloc(10_000);
    const before = await heapUsed();
    raw.send(declare(5, 'later'));
    for (let i = 0; i < 100; i++) raw.send(...Array.from({ length: 50 }, () => msg(5, body)));
    await raw.next((frame) => frame[2]['status_code'] === 1008);
    await fence(raw);
    expect((await heapUsed()) - before).toBeLessThan(4 << 20);
    expect((await fence(raw, 5)).map(lifeCycle)).toEqual(['DECLARE']);
  });
});

/** A client of a server whose frames the test writes. */
async function client(
  extensions = EXTENSIONS,
): Promise<{ mine: RapClient; peer: RawSocket; background: () => Promise<void> }> {
  const scripted = await scriptedServer((peer) => answerDeclareWith(peer, extensions).then(() => {}));
  scope.defer(() => scripted.close());
  const mine = new RapClient({ host: '127.0.0.1', port: scripted.port, reconnect: false });
  scope.defer(() => mine.close());
  await mine.connect();
  const [peer] = scripted.peers as [RawSocket];
  return {
    mine,
    peer,
    async background() {
      const calling = mine.call('echo', 1);
      const frame = await peer.next((it) => it[0] === 101);
      peer.send([101, frame[1], {}, 'fine']);
      expect(await calling).toBe('fine');
    },
  };
}

describe('a server that breaks the rules', () => {
  const steps: [string, (id: number) => RawFrame[], string][] = [
    ['MSG before DECLARE is answered', (id) => [msg(id, 1)], 'not declared yet'],
    ['CREDIT before DECLARE is answered', (id) => [credit(id, 1)], 'not declared yet'],
    ['END before DECLARE is answered', (id) => [end(id)], 'not declared yet'],
    ['DECLARE twice', (id) => [declared(id), declared(id)], 'a second DECLARE'],
    ['a credit of zero', (id) => [declared(id), credit(id, 0)], 'credit must be a positive integer'],
    ['a huge credit', (id) => [declared(id), credit(id, 2 ** 40)], 'too much credit'],
    ['MSG after END', (id) => [declared(id), end(id), msg(id, 1)], 'the peer has ended its side'],
    [
      'an unknown life cycle',
      (id) => [declared(id), [102, id, { channel_life_cycle: 'X' }, 1]],
      'unknown life cycle',
    ],
    [
      'more than there is credit for',
      (id) => [declared(id), ...Array.from({ length: 300 }, () => msg(id, Buffer.alloc(1024)))],
      'more bytes than it had credit for',
    ],
  ];

  it.each(steps)('ends that channel with 1008 and no other: %s', async (_, frames, message) => {
    const { mine, peer, background } = await client();
    const channel = await mine.channel('chat');
    const other = await mine.channel('other');
    const [first, second] = [await peer.next(), await peer.next()];
    peer.send(declared(second[1]), ...frames(first[1]));
    const dropped = await peer.next((frame) => lifeCycle(frame).startsWith('DROP'));
    expect([dropped[1], lifeCycle(dropped), dropped[3]]).toEqual([first[1], 'DROP 1008', message]);
    const error = await rejection(channel.closed);
    expect(error).toBeInstanceOf(ChannelError);
    expect(error.message).toBe(message);
    const { error: readError } = await collectFailing(channel);
    expect(readError).toBeInstanceOf(ChannelError);
    peer.send(msg(second[1], 'fine'));
    expect(await other.read()).toBe('fine');
    await background();
    expect(mine.stats().channels).toBe(1);
  });

  it('sends for channels that there are not: answered with 1008, and no more', async () => {
    const { peer, background } = await client();
    peer.send(msg(4, 1), drop(6), end(8), credit(10, 5));
    for (const id of [4, 6, 8, 10]) expect(await peer.answer(id)).toEqual([102, id, ...NOT_CREATED]);
    peer.send([102, 4, ...NOT_CREATED]);
    await fenceClient(peer);
    expect(peer.frames).toEqual([]);
    await background();
  });

  it('opens a channel: there is none to open', async () => {
    const { peer, background } = await client();
    peer.send([102, 4, { channel_life_cycle: 'DECLARE', target: '/default/x' }, {}]);
    expect(await peer.answer(4)).toEqual([102, 4, ...NOT_CREATED]);
    await background();
  });

  it('answers a call twice, the second time with a stream', async () => {
    const { mine, peer, background } = await client();
    const calling = mine.call('a');
    const [, id] = await peer.next();
    peer.send([101, id, {}, 'first'], msg(id, 'second'), drop(id), [101, id, {}, 'third']);
    expect(await calling).toBe('first');
    await fenceClient(peer);
    expect(mine.stats()).toMatchObject({ inFlight: 0, channels: 0, lateAnswers: 1 });
    await background();
  });

  it('answers a stream with a value too', async () => {
    const { mine, peer, background } = await client();
    const session = await mine.openSession();
    const executing = session.execute<number>('a');
    const [, id] = await peer.next();
    peer.send(msg(id, 1), [101, id, {}, 'a value'], msg(id, 2), drop(id));
    const items: number[] = [];
    for await (const item of (await executing) as AsyncIterable<number>) items.push(item);
    expect(items).toEqual([1, 2]);
    await background();
    session.close();
  });

  it('streams to a call() that wanted one value, until it hears DROP', async () => {
    const { mine, peer, background } = await client();
    const calling = rejection(mine.call('a'));
    const [, id] = await peer.next();
    peer.send(...Array.from({ length: 1000 }, (_, i) => msg(id, i)));
    expect(await calling).toBeInstanceOf(ChannelError);
    expect(await peer.next()).toEqual(drop(id));
    peer.send(...Array.from({ length: 1000 }, (_, i) => msg(id, i)), drop(id));
    await fenceClient(peer);
    expect(peer.frames).toEqual([]);
    expect(mine.stats().channels).toBe(0);
    await background();
  });

  it('turns a call into a stream while its cancel is on the way', async () => {
    const { mine, peer, background } = await client();
    const controller = new AbortController();
    const calling = rejection(mine.call('a', {}, { signal: controller.signal }));
    const [, id] = await peer.next();
    controller.abort();
    await calling;
    const cancel = await peer.next();
    expect([cancel[2]['target'], cancel[3]]).toEqual(['/_event/cancel', { id }]);
    peer.send(msg(id, 0), msg(id, 1), drop(id));
    await fenceClient(peer);
    expect(peer.frames).toEqual([]);
    await background();
  });

  it('sends and sends what nobody asked for, and is left', async () => {
    const { mine, peer } = await client();
    const lost: unknown[] = [];
    mine.on('disconnect', (error) => lost.push(error));
    peer.send(...Array.from({ length: 300 }, (_, i) => msg(4 + 2 * i, i)));
    await peer.waitClosed();
    await eventually('the client has noticed', () => lost.length === 1);
    expect(lost[0]).toMatchObject({ message: expect.stringContaining('excessive rejected frames') });
    expect(peer.frames.length).toBeLessThan(110);
  });
});
