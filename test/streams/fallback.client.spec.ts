import 'reflect-metadata';
import { lastValueFrom } from 'rxjs';
import {
  CallTimeoutError,
  ChannelError,
  ChannelLifecycleError,
  InvokeError,
  RapClient,
  type RapClientOptions,
} from '../../lib/index.js';
import { eventually, pass, rejection, testScope, within } from '../helpers/async.js';
import {
  answerDeclareWith,
  declared,
  drop,
  EXTENSIONS,
  fenceClient,
  lifeCycle,
  msg,
} from '../helpers/channel/channel-frames.js';
import { answerDeclare, type RawFrame, RawSocket, scriptedServer } from '../helpers/raw-socket.js';
import { collect, collectFailing, takeItems } from '../helpers/streams.js';

const scope = testScope();

interface Script {
  readonly client: RapClient;
  /** The connection; a client makes one. */
  readonly peer: RawSocket;
  /** Everything that the client has sent after DECLARE. */
  readonly seen: RawFrame[];
}

/** A client of a scripted server, which answers each frame with `answer`, or leaves all to the test. */
async function against(
  extensions: Record<string, unknown> | undefined,
  answer?: (peer: RawSocket, frame: RawFrame) => void,
  options: RapClientOptions = {},
): Promise<Script> {
  const seen: RawFrame[] = [];
  const scripted = await scriptedServer(async (peer) => {
    if (extensions) await answerDeclareWith(peer, extensions);
    else await answerDeclare(peer);
    if (!answer) return;
    for (;;) {
      const frame = await peer.next(undefined, 60_000);
      if (frame[2]['target'] === '/_event/ping') {
        if (frame[0] === 103) peer.send([103, frame[1], {}, frame[3]]);
        continue;
      }
      seen.push(frame);
      answer(peer, frame);
    }
  });
  scope.defer(() => scripted.close());
  const client = new RapClient({ host: '127.0.0.1', port: scripted.port, ...options });
  scope.defer(() => client.close());
  await client.connect();
  return { client, peer: scripted.peers[0] as RawSocket, seen };
}

/** Plays the functions of a server, as Python does: `items` for a stream, an echo, a slow call. */
function play(items = 3): (peer: RawSocket, frame: RawFrame) => void {
  return (peer, frame) => {
    const [type, id, { target }, body] = frame;
    if (type === 101 && target === '/default/slow') {
      setTimeout(() => peer.send([101, id, {}, 'late']), 60);
    } else if (type === 101) peer.send([101, id, {}, body]);
    else if (lifeCycle(frame) === 'DECLARE') {
      peer.send(declared(id));
      if (target === '/default/push') peer.send(msg(id, 'pushed'));
    } else if (lifeCycle(frame) === 'MSG') {
      if ((body as { stream?: boolean }).stream) {
        peer.send(...Array.from({ length: items }, (_, i) => msg(id, i)), drop(id));
      } else peer.send(msg(id, body));
    }
  };
}

/** Uses all that a client has. */
async function useEverything(client: RapClient): Promise<void> {
  await client.call('echo', 1, { timeoutMs: 5000 });
  expect(await rejection(client.call('slow', {}, { timeoutMs: 20 }))).toBeInstanceOf(CallTimeoutError);
  await rejection(client.call('slow', {}, { signal: AbortSignal.timeout(20) }));
  expect(await collect(client.stream('gen', { stream: true }, { timeoutMs: 5000 }))).toHaveLength(3);
  expect(await takeItems(client.stream('gen', { stream: true }), 1)).toEqual([0]);
  await lastValueFrom(client.emit('event', 'e'), { defaultValue: undefined });
  await client.withSession(() => client.call('echo', 2));
  const channel = await client.channel<string, string>('chat', { timeoutMs: 5000 });
  // more than half a window, less than a whole one
  for (let i = 0; i < 100; i++) {
    await channel.write('x'.repeat(2000));
    expect(await channel.read()).toHaveLength(2000);
  }
  await channel.end().catch(() => {});
  channel.close();
}

/** The extensions that a frame of a client uses. */
function extensionOf([type, , header]: RawFrame): string[] {
  const used: string[] = [];
  if (type === 102 && header['channel_life_cycle'] === 'END') used.push('half_close');
  if (type === 102 && header['channel_life_cycle'] === 'CREDIT') used.push('credit');
  if (header['target'] === '/_event/cancel') used.push('cancel');
  if (header['target'] === '/_event/session_close') used.push('session');
  if ('one_way' in header) used.push('one_way');
  if ('timeout_ms' in header) used.push('deadline');
  return used;
}

describe('a client of a Python server', () => {
  it('offers its extensions, and uses none', async () => {
    const { client, seen } = await against(undefined, play());
    await useEverything(client);
    await client.call('echo', 'the last');
    expect(seen.flatMap(extensionOf)).toEqual([]);
    const ours = Object.keys(seen.reduce((all, [, , header]) => ({ ...all, ...header }), {}));
    expect(ours.toSorted()).toEqual(['channel_life_cycle', 'session_id', 'target']);
  });

  it('names all extensions in DECLARE', async () => {
    const asked: RawFrame[] = [];
    const scripted = await scriptedServer(async (peer) => {
      asked.push(await answerDeclare(peer));
    });
    scope.defer(() => scripted.close());
    const client = new RapClient({ host: '127.0.0.1', port: scripted.port });
    scope.defer(() => client.close());
    await client.connect();
    expect(asked.map((frame) => frame[3])).toMatchObject([{ extensions: EXTENSIONS }]);
  });

  it('waits for the answer to DECLARE before it sends a message', async () => {
    const { client, peer } = await against(undefined);
    const items = collect(client.stream('gen', { a: 1 }));
    const channel = await client.channel<string, string>('chat');
    const writing = channel.write('first');
    const [stream, chat] = await Promise.all([
      peer.next((frame) => frame[2]['target'] === '/default/gen'),
      peer.next((frame) => frame[2]['target'] === '/default/chat'),
    ]);
    await fenceClient(peer);
    await pass(10);
    await fenceClient(peer);
    expect(peer.frames).toEqual([]);
    peer.send(declared(stream[1]));
    expect(await peer.next()).toEqual(msg(stream[1], { a: 1 }));
    peer.send(declared(chat[1]));
    expect(await peer.next()).toEqual(msg(chat[1], 'first'));
    await writing;
    peer.send(msg(stream[1], 0), drop(stream[1]), drop(chat[1]));
    expect(await items).toEqual([0]);
    await channel.closed;
    expect(peer.frames).toEqual([]);
  });

  it('that has left before that answer sends DROP and no message', async () => {
    const { client, peer } = await against(undefined);
    const channel = await client.channel<string, string>('chat');
    const writing = rejection(channel.write('never'));
    const [, id] = await peer.next();
    channel.close();
    expect(await writing).toBeInstanceOf(ChannelLifecycleError);
    expect(await peer.next()).toEqual(drop(id));
    // Python answers DECLARE all the same, and ends on DROP
    peer.send(declared(id), msg(id, 'from a generator that was faster'), drop(id));
    await fenceClient(peer);
    expect(peer.frames).toEqual([]);
  });

  it('drops the late answer of a call that was given up', async () => {
    const { client, peer } = await against(undefined);
    const timedOut = rejection(client.call('a', {}, { timeoutMs: 20 }));
    const controller = new AbortController();
    const aborted = rejection(client.call('b', {}, { signal: controller.signal }));
    const [a, b] = [await peer.next(), await peer.next()];
    controller.abort();
    await Promise.all([timedOut, aborted]);
    peer.send([101, a[1], {}, 'late'], [101, b[1], { status_code: 301 }, ['ValueError', 'late']]);
    await fenceClient(peer);
    expect(client.stats()).toMatchObject({ lateAnswers: 2, inFlight: 0 });
    const next = client.call('c');
    const [, id] = await peer.next();
    peer.send([101, id, {}, 'right']);
    expect(await next).toBe('right');
    expect(peer.frames).toEqual([]);
  });

  it('drops the answer to an event, whatever it is', async () => {
    const { client, peer } = await against(undefined);
    client.emit('event', { a: 1 });
    client.emit('event', { a: 2 });
    for (const answer of [
      [{}, null],
      [{ status_code: 404 }, 'Not found func. name: event'],
    ] as const) {
      const frame = await peer.next();
      expect([frame[0], frame[2]]).toEqual([101, { target: '/default/event' }]);
      peer.send([101, frame[1], answer[0], answer[1]]);
    }
    await fenceClient(peer);
    expect(client.stats()).toMatchObject({ inFlight: 0, lateAnswers: 0 });
  });

  it('cannot half-close: end() says so, and the channel goes on', async () => {
    const { client, seen } = await against(undefined, play());
    const channel = await client.channel<string, string>('chat');
    const error = await rejection(channel.end());
    expect(error).toBeInstanceOf(ChannelLifecycleError);
    expect(error).toMatchObject({ status: 10081, message: expect.stringMatching(/half-closed.*close\(\)/) });
    await channel.write('still open');
    expect(await channel.read()).toBe('still open');
    channel.close();
    await eventually('DROP', () => seen.some((frame) => lifeCycle(frame) === 'DROP'));
    expect(seen.map(lifeCycle)).toEqual(['DECLARE', 'MSG', 'DROP']);
  });

  it('sends DROP when a loop is left', async () => {
    const { client, peer } = await against(undefined);
    const taking = takeItems(client.stream('gen', { a: 9 }), 2);
    const [, id] = await peer.next();
    peer.send(declared(id));
    await peer.next();
    peer.send(msg(id, 0), msg(id, 1), msg(id, 2));
    expect(await taking).toEqual([0, 1]);
    expect(await peer.next()).toEqual(drop(id));
    peer.send(msg(id, 3), drop(id));
    await fenceClient(peer);
    expect(peer.frames).toEqual([]);
    expect(client.stats().channels).toBe(0);
  });

  it('takes "channel not create" on an open channel for its end', async () => {
    const { client, peer } = await against(undefined);
    const channel = await client.channel<string, string>('chat');
    const [, id] = await peer.next();
    peer.send(declared(id), msg(id, 'before'));
    const reading = Promise.all([channel.read(), rejection(channel.read())]);
    await channel.write('too late');
    await peer.next();
    peer.send([102, id, { status_code: 1008 }, 'channel not create']);
    const [first, error] = await reading;
    expect(first).toBe('before');
    expect(error).toBeInstanceOf(ChannelError);
    expect(error.message).toBe('channel not create');
    expect(channel.isClosed).toBe(true);
    expect(await rejection(channel.closed)).toBeInstanceOf(ChannelError);
    expect(client.stats().channels).toBe(0);
    await fenceClient(peer);
    expect(peer.frames).toEqual([]);

    const streaming = collectFailing(client.stream('gen', {}));
    const [, streamId] = await peer.next();
    peer.send(declared(streamId), msg(streamId, 1), [
      102,
      streamId,
      { status_code: 1008 },
      'channel not create',
    ]);
    const { items, error: streamError } = await streaming;
    expect([items, streamError.constructor]).toEqual([[1], ChannelError]);
  });

  it('hears of an error if the server puts one on DROP', async () => {
    const { client, peer } = await against(undefined);
    const streaming = collectFailing(client.stream('gen', {}));
    const [, id] = await peer.next();
    const failure = ['ValueError', 'gen boom'];
    peer.send(declared(id), msg(id, 0), [102, id, { channel_life_cycle: 'DROP', status_code: 301 }, failure]);
    const { items, error } = await streaming;
    expect(items).toEqual([0]);
    expect(error).toBeInstanceOf(InvokeError);
    expect(error).toMatchObject({ remoteName: 'ValueError', message: 'gen boom' });
  });

  it('is told if DECLARE is refused', async () => {
    const { client, peer } = await against(undefined);
    const channel = await client.channel('nope');
    const [, id] = await peer.next();
    peer.send([102, id, { status_code: 404 }, 'Not found func. name: nope']);
    expect(await rejection(channel.read())).toMatchObject({ status: 404 });
  });

  it('stops reading the connection while a slow reader has enough, and goes on after', async () => {
    const { client, peer } = await against(undefined);
    const iterator = client.stream<Uint8Array>('gen', {})[Symbol.asyncIterator]();
    const first = iterator.next();
    const [, id] = await peer.next();
    peer.send(declared(id));
    const count = 20_000;
    const item = Buffer.alloc(1024);
    for (let i = 0; i < count; i += 100) peer.send(...Array.from({ length: 100 }, () => msg(id, item)));
    peer.send(drop(id));
    await first;
    let before = -1;
    while (before !== peer.socket.writableLength) {
      before = peer.socket.writableLength;
      await pass(100);
    }
    // of 20 MB, the kernel has a few, the client 128 messages
    expect(before).toBeGreaterThan(5e6);
    let got = 1;
    while (!(await iterator.next()).done) got += 1;
    expect(got).toBe(count);
  });

  it('lets a channel that is left make room for the others', async () => {
    const { client, peer } = await against(undefined);
    const channel = await client.channel<number>('chat');
    const [, id] = await peer.next();
    peer.send(declared(id), ...Array.from({ length: 500 }, (_, i) => msg(id, i)));
    const call = client.call('echo', 1);
    const frame = await peer.next((it) => it[0] === 101);
    peer.send([101, frame[1], {}, 'answer']);
    await channel.read();
    await pass(20);
    expect(client.stats().inFlight).toBe(1);
    channel.close();
    expect(await within('the answer', call)).toBe('answer');
  });
});

describe('a client of a server that knows one extension', () => {
  it.each(Object.keys(EXTENSIONS))('uses that one, and no other: %s', async (name) => {
    const { client, seen } = await against({ [name]: EXTENSIONS[name] }, play());
    await useEverything(client);
    await client.call('echo', 'the last');
    const used = new Set(seen.flatMap(extensionOf));
    // that of streams and of the first message show elsewhere
    const expected = ['stream_reply', 'fast_open'].includes(name) ? [] : [name];
    expect([...used]).toEqual(expected);
  });

  it('fast_open: the first message follows DECLARE at once', async () => {
    const { client, peer } = await against({ fast_open: {} });
    void collect(client.stream('gen', { a: 1 })).catch(() => {});
    const [, id] = await peer.next();
    expect(await peer.next()).toEqual(msg(id, { a: 1 }));
    peer.send(declared(id), drop(id));
  });

  it('stream_reply: a call may be answered by a stream', async () => {
    const { client, peer } = await against({ stream_reply: {} });
    const session = await client.openSession();
    const executing = session.execute<number>('gen', {});
    const [, id] = await peer.next();
    peer.send(msg(id, 1), msg(id, 2), drop(id));
    expect(await collect((await executing) as AsyncIterable<number>)).toEqual([1, 2]);
    session.close();
  });

  it('none of them: a stream for a call is a channel that does not exist', async () => {
    const { client, peer } = await against({});
    const calling = client.call('gen', {});
    const [, id] = await peer.next();
    peer.send(msg(id, 1));
    expect(await peer.next()).toEqual([102, id, { status_code: 1008 }, 'channel not create']);
    peer.send([101, id, {}, 'the answer']);
    expect(await calling).toBe('the answer');
  });

  it('credit: it gives back what was read, in bytes', async () => {
    const { client, peer } = await against({ credit: { window: 100 } });
    const channel = await client.channel<Uint8Array, string>('chat');
    const [, id] = await peer.next();
    peer.send(declared(id));
    for (let i = 0; i < 200; i++) peer.send(msg(id, Buffer.alloc(1000)));
    for (let i = 0; i < 200; i++) await channel.read();
    const frame = await peer.next();
    expect(lifeCycle(frame)).toBe('CREDIT');
    expect(frame[3]).toBeGreaterThanOrEqual(128 * 1024);
    expect(frame[3]).toBeLessThan(140 * 1024);
    // and it writes no more than it was given
    const writes = Array.from({ length: 5 }, () => channel.write('x'.repeat(50)));
    await fenceClient(peer);
    expect(peer.frames.filter((it) => lifeCycle(it) === 'MSG')).toHaveLength(2);
    channel.close();
    await Promise.allSettled(writes);
  });
});

describe('extensions that are not what they should be', () => {
  it.each([null, 'all', 5, [], ['credit'], { credit: null }, { credit: 'yes', half_close: true }])(
    'count for none: %j',
    async (extensions) => {
      const { client, seen } = await against(extensions as never, play());
      await useEverything(client);
      expect(seen.flatMap(extensionOf)).toEqual([]);
    },
  );
});
