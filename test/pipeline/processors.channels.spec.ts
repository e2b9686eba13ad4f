import {
  AuthError,
  ChannelError,
  type ProcessorContext,
  type RapClient,
  type RapProcessor,
  type RapRequest,
  type RapResponse,
} from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';
import { all, forget, later, never, Recorder, seen, SlowRecorder, Things } from './handlers.js';

const scope = testScope();
beforeEach(forget);

/** Seals bodies as an encrypting processor would, and fails on what is not sealed. */
class Seal implements RapProcessor {
  constructor(private readonly side: 'client' | 'server') {}
  processRequest(request: RapRequest): void | Promise<void> {
    return this.#turn(request, this.side === 'client');
  }
  processResponse(response: RapResponse): void | Promise<void> {
    if (!response.error) return this.#turn(response, this.side === 'server');
  }
  #turn(message: RapRequest, seals: boolean): void | Promise<void> {
    if (seals) message.body = { sealed: message.body ?? null };
    else {
      const { body } = message;
      if (typeof body !== 'object' || body === null || !('sealed' in body)) throw new AuthError('not sealed');
      message.body = body.sealed;
    }
  }
}
class SlowSeal extends Seal {
  override processRequest(request: RapRequest): Promise<void> {
    return jitter(() => super.processRequest(request));
  }
  override processResponse(response: RapResponse): Promise<void> {
    return jitter(() => super.processResponse(response));
  }
}
let turns = 0;
/** Some take one turn of the event loop, some three: what is not kept in order gets out of it. */
async function jitter<T>(work: () => T): Promise<Awaited<T>> {
  for (let i = turns++ % 3; i >= 0; i--) await new Promise((resolve) => setImmediate(resolve));
  return await work();
}

const kinds = [
  ['at once', Seal, Recorder],
  ['later', SlowSeal, SlowRecorder],
] as const;

/** One that fails on the nth message of a life cycle in a direction. */
const failsOn = (
  method: 'processRequest' | 'processResponse',
  lifeCycle: string,
  nth: number,
  slow: boolean,
): RapProcessor => {
  let count = 0;
  const work = (message: RapRequest): void => {
    if (message.lifeCycle === lifeCycle && ++count === nth) throw new AuthError('not this one');
  };
  return { [method]: (message: RapRequest) => (slow ? later(() => work(message)) : work(message)) };
};

async function idle(client: RapClient): Promise<void> {
  await eventually('no channel is left', () => client.stats().channels === 0);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('a server whose processors take their time with DECLARE gives no room before its answer', async () => {
  const taken = new Gate();
  const processor: RapProcessor = {
    processRequest: ({ lifeCycle }: RapRequest) => {
      if (lifeCycle === 'MSG') taken.open();
    },
    processResponse: async ({ lifeCycle }: RapResponse) => {
      if (lifeCycle !== 'DECLARE') return;
      await taken.opened;
      for (let i = 0; i < 5; i++) await turn(); // the handler reads it
    },
  };
  const test = await scope.serve([Things], { processors: [processor] });
  const channel = await test.client().channel<string, string>('upper');
  // more than half a window: room is given back when it is read
  for (const text of ['a', 'b', 'c']) {
    await channel.write(text.repeat(200_000));
    expect(await channel.read()).toBe(text.toUpperCase().repeat(200_000));
  }
});

describe.each(kinds)('processors that work %s', (form, SealKind, RecorderKind) => {
  const slow = form === 'later';

  it('see DECLARE and each message of a channel, in both directions and in order', async () => {
    const log: string[] = [];
    const test = await scope.serve([Things], { processors: [new RecorderKind('s', log)] });
    const channel = await test.client().channel<string, string>('upper', { metadata: { room: 1 } });
    await channel.write('a');
    expect(await channel.read()).toBe('A');
    await channel.write('b');
    expect(await channel.read()).toBe('B');
    await channel.end();
    await channel.closed;
    await eventually('it is over on the server', () => log.includes('s exit'));
    expect(log).toEqual([
      's enter channel',
      's request DECLARE {"room":1}',
      's response DECLARE null',
      's request MSG "a"',
      's response MSG "A"',
      's request MSG "b"',
      's response MSG "B"',
      's exit',
    ]);
  });

  it('seal channels, streams, stream answers and calls end to end', async () => {
    const test = await scope.serve([Things], { processors: [new SealKind('server')] });
    const client = test.client({ processors: [new SealKind('client')] });
    expect(await client.call('echo', { a: 1 })).toEqual({ a: 1 });
    expect(await all(client.stream('count', 300))).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    const channel = await client.channel<string, string>('upper', { metadata: { room: 1 } });
    for (const text of ['a', 'b', 'c']) void channel.write(text);
    const read: (string | undefined)[] = [];
    for (let i = 0; i < 3; i++) read.push(await channel.read());
    expect(read).toEqual(['A', 'B', 'C']);
    channel.close();
    expect(seen.metadata).toEqual([{ room: 1 }]);
    const values: unknown[] = [];
    await new Promise<void>((resolve, reject) =>
      client
        .send('count', 5)
        .subscribe({ next: (value) => values.push(value), error: reject, complete: resolve }),
    );
    expect(values).toEqual([1, 2, 3, 4, 5]);
    await idle(client);
  });

  it('refuse what is not sealed, and harm nobody else', async () => {
    const test = await scope.serve([Things], { processors: [new SealKind('server')] });
    const [plain, sealed] = [test.client(), test.client({ processors: [new SealKind('client')] })];
    expect(await rejection(plain.call('echo', 1))).toMatchObject({
      name: 'AuthError',
      message: 'not sealed',
    });
    expect(await rejection(all(plain.stream('count', 3)))).toMatchObject({ name: 'AuthError' });
    const channel = await plain.channel('upper');
    expect(await rejection(channel.read())).toMatchObject({ name: 'AuthError', message: 'not sealed' });
    expect(await sealed.call('echo', 1)).toBe(1);
    expect(seen.runs).toBe(1);
    await eventually('nothing runs', () => test.server.stats().inFlight === 0);
    await idle(plain);
  });

  it('see the error that ends a stream, and its context ends with it', async () => {
    const log: string[] = [];
    const test = await scope.serve([Things], { processors: [new RecorderKind('s', log)] });
    const client = test.client({ processors: [new RecorderKind('c', log)] });
    const items: unknown[] = [];
    const error = await rejection(
      (async () => {
        for await (const item of client.stream('count.fail')) items.push(item);
      })(),
    );
    expect(error).toMatchObject({ name: 'AuthError', message: 'enough' });
    expect(items).toEqual([1]);
    await eventually(
      'it is over on both sides',
      () => log.filter((line) => line.includes('exit')).length === 2,
    );
    expect(log.filter((line) => line.startsWith('s'))).toEqual([
      's enter channel',
      's request DECLARE {}',
      's response DECLARE null',
      's request MSG null',
      's response MSG 1',
      's response DROP nothing error 401',
      's exit AuthError',
    ]);
    expect(log.filter((line) => line.startsWith('c'))).toEqual([
      'c enter channel',
      'c request DECLARE nothing',
      'c request MSG nothing',
      'c response DECLARE null',
      'c response MSG 1',
      'c response DROP "enough" error 401',
      'c exit AuthError',
    ]);
  });

  describe.each(['DECLARE', 'MSG'])('that throw on %s', (lifeCycle) => {
    it.each(['processRequest', 'processResponse'] as const)(
      'in %s on the server end the channel with the error',
      async (method) => {
        const test = await scope.serve([Things], { processors: [failsOn(method, lifeCycle, 1, slow)] });
        const client = test.client();
        const channel = await client.channel<string, string>('upper');
        void channel.write('a').catch(() => {});
        expect(await rejection(channel.read())).toMatchObject({ name: 'AuthError', message: 'not this one' });
        expect(await rejection(channel.closed)).toMatchObject({ name: 'AuthError' });
        await eventually('nothing runs', () => test.server.stats().inFlight === 0);
        await idle(client);
        if (method === 'processRequest') {
          expect(seen.metadata).toHaveLength(lifeCycle === 'MSG' ? 1 : 0);
          expect(seen.errors).toMatchObject(lifeCycle === 'MSG' ? [{ name: 'AuthError' }] : []);
        }
        expect(await client.call('echo', 1)).toBe(1);
      },
    );

    it.each(['processRequest', 'processResponse'] as const)(
      'in %s on the client end the channel with the error, on both sides',
      async (method) => {
        const thrown: unknown[] = [];
        const inner = failsOn(method, lifeCycle, 1, slow);
        const test = await scope.serve([Things]);
        const client = test.client({
          processors: [inner, { onContextExit: (_context, error) => void thrown.push(error) }],
        });
        const opening = client.channel<string, string>('upper');
        if (lifeCycle === 'DECLARE' && method === 'processRequest' && !slow) {
          expect(await rejection(opening)).toMatchObject({ name: 'AuthError', message: 'not this one' });
        } else {
          const channel = await opening;
          void channel.write('a').catch(() => {});
          expect(await rejection(channel.read())).toMatchObject({
            name: 'AuthError',
            message: 'not this one',
          });
        }
        await eventually('nothing runs', () => test.server.stats().inFlight === 0);
        await idle(client);
        expect(thrown).toMatchObject([{ name: 'AuthError' }]);
        const opened = lifeCycle === 'MSG' || method === 'processResponse';
        if (opened) await eventually('the handler knows', () => seen.errors.length === 1);
        expect(seen.errors).toMatchObject(opened ? [{ name: 'AuthError' }] : []);
      },
    );
  });

  it('that throw give the reader what came before', async () => {
    const test = await scope.serve([Things], { processors: [failsOn('processResponse', 'MSG', 3, slow)] });
    const items: unknown[] = [];
    const reading = (async () => {
      for await (const item of test.client().stream('count', 5)) items.push(item);
    })();
    expect(await rejection(reading)).toMatchObject({ name: 'AuthError' });
    expect(items).toEqual([1, 2]);
    const other = await scope.serve([Things]);
    const client = other.client({ processors: [failsOn('processResponse', 'MSG', 3, slow)] });
    const more: unknown[] = [];
    const again = (async () => {
      for await (const item of client.stream('count', 5)) more.push(item);
    })();
    expect(await rejection(again)).toMatchObject({ name: 'AuthError' });
    expect(more).toEqual([1, 2]);
  });

  it('write of a channel rejects with the error of its own message', async () => {
    const test = await scope.serve([Things]);
    const client = test.client({ processors: [failsOn('processRequest', 'MSG', 2, slow)] });
    const channel = await client.channel<string, string>('upper');
    const [first, second, third] = ['a', 'b', 'c'].map((text) => channel.write(text));
    await first;
    expect(await rejection(second as Promise<void>)).toMatchObject({ name: 'AuthError' });
    expect(await rejection(third as Promise<void>)).toMatchObject({ name: 'AuthError' });
    await idle(client);
  });

  it('leaving a stream early ends its context once on both sides', async () => {
    const log: string[] = [];
    const test = await scope.serve([Things], { processors: [new RecorderKind('s', log)] });
    const client = test.client({ processors: [new RecorderKind('c', log)] });
    for await (const item of client.stream<number>('count', 1e9)) if (item === 3) break;
    await eventually('it is over', () => log.filter((line) => line.includes('exit')).length === 2);
    await eventually('nothing runs', () => test.server.stats().inFlight === 0);
    expect(log.filter((line) => line.includes('exit'))).toHaveLength(2);
  });

  it('a lost connection ends every context once', async () => {
    const exits: string[] = [];
    const watch = (side: string): RapProcessor => ({
      onContextExit: (context: ProcessorContext, error) =>
        void exits.push(`${side} ${context.kind} ${(error as Error | undefined)?.name}`),
    });
    const test = await scope.serve([Things], { processors: [new SealKind('server'), watch('server')] });
    const client = test.client({ processors: [watch('client'), new SealKind('client')] });
    const channel = await client.channel<string, string>('upper');
    await channel.write('a');
    await channel.read();
    const call = rejection(client.call('hang'));
    await eventually('it runs', () => seen.runs === 1);
    client.unwrap<{ destroy(): void }>().destroy();
    await call;
    await eventually('all are told', () => exits.length === 4);
    expect(exits.toSorted((a, b) => a.localeCompare(b))).toEqual([
      'client call ConnectionLostError',
      'client channel ConnectionLostError',
      'server call ConnectionLostError',
      'server channel ConnectionLostError',
    ]);
  });
});

describe('an asynchronous processor', () => {
  it('counts against the window of the channel: the peer cannot send ahead of it', async () => {
    const gate = new Gate();
    let begun = 0;
    const test = await scope.serve([Things], {
      limits: { channelWindowBytes: 1000 },
      processors: [
        {
          processRequest: ({ lifeCycle }) => {
            if (lifeCycle !== 'MSG') return undefined;
            begun += 1;
            return gate.opened;
          },
        },
      ],
    });
    const client = test.client();
    const channel = await client.channel<string, string>('upper');
    const text = 'x'.repeat(400);
    const written: number[] = [];
    for (let i = 0; i < 6; i++) void channel.write(text).then(() => written.push(i));
    await eventually('the first is there', () => begun === 1);
    await client.ping(); // what could be sent is there
    expect(written).toEqual([0, 1, 2]);
    expect(begun).toBe(1);
    gate.open();
    const read: number[] = [];
    for (let i = 0; i < 6; i++) read.push(((await channel.read()) as string).length);
    expect(read).toEqual([400, 400, 400, 400, 400, 400]);
    expect(begun).toBe(6);
    channel.close();
  });

  it('slows a producer down: it is not asked for more while its last item is under way', async () => {
    const gate = new Gate();
    let made = 0;
    const test = await scope.serve([Things], {
      processors: [{ processResponse: ({ lifeCycle }) => (lifeCycle === 'MSG' ? gate.opened : undefined) }],
    });
    test.server.addHandler('many', () =>
      Promise.resolve(
        (function* () {
          for (let i = 0; i < 10; i++) yield (made = i + 1);
        })() as never,
      ),
    );
    const items = all(test.client().stream('many'));
    await eventually('it has begun', () => made > 0);
    await test
      .client()
      .call('echo', 1)
      .catch(() => {});
    expect(made).toBeLessThanOrEqual(2);
    gate.open();
    expect(await items).toHaveLength(10);
  });

  it('that hangs leaves the other channels and calls alone, and goes with the connection', async () => {
    const exits: unknown[] = [];
    const test = await scope.serve([Things], {
      processors: [
        {
          processRequest: ({ lifeCycle, body }) =>
            lifeCycle === 'MSG' && body === 'stuck' ? never() : undefined,
        },
        { onContextExit: ({ target }) => void exits.push(target) },
      ],
    });
    const client = test.client();
    const stuck = await client.channel<string, string>('upper');
    await stuck.write('stuck');
    await stuck.write('never seen');
    const fine = await client.channel<string, string>('upper');
    await fine.write('a');
    expect(await fine.read()).toBe('A');
    expect(await client.call('echo', 1)).toBe(1);
    client.close();
    await eventually(
      'both contexts are over',
      () => exits.filter((it) => it === '/default/upper').length === 2,
    );
    await eventually('nothing runs', () => test.server.stats().inFlight === 0);
  });

  it('lets a channel end in order: what was written before close still leaves', async () => {
    const recorder = new Recorder('s');
    const test = await scope.serve([Things], { processors: [recorder] });
    const client = test.client({ processors: [{ processRequest: () => later(() => undefined) }] });
    const channel = await client.channel<string, string>('upper');
    await channel.write('a');
    void channel.write('b');
    void channel.write('c');
    channel.close();
    expect(channel.isClosed).toBe(true);
    expect(await rejection(channel.write('d'))).toMatchObject({ name: 'ChannelLifecycleError' });
    await within('the end', channel.closed);
    await idle(client);
    await eventually('it is over on the server', () => recorder.log.includes('s exit'));
    const requests = recorder.log.filter((line) => line.startsWith('s request MSG'));
    expect(requests).toEqual(['s request MSG "a"', 's request MSG "b"', 's request MSG "c"']);
  });

  it('gives every item of a stream whose end has overtaken it', async () => {
    const gate = new Gate();
    const test = await scope.serve([Things]);
    const client = test.client({
      processors: [{ processResponse: ({ lifeCycle }) => (lifeCycle === 'MSG' ? gate.opened : undefined) }],
    });
    const items = all(client.stream('count', 5));
    await eventually(
      'the server is done',
      () => test.server.stats().inFlight === 0 && client.stats().channels === 0,
    );
    gate.open();
    expect(await items).toEqual([1, 2, 3, 4, 5]);
  });

  it('ends a channel that is closed before its DECLARE was sent, without a word to the server', async () => {
    const gate = new Gate();
    const recorder = new Recorder('s');
    const exits: unknown[] = [];
    const test = await scope.serve([Things], { processors: [recorder] });
    const client = test.client({
      processors: [
        { processRequest: () => gate.opened, onContextExit: (_context, error) => void exits.push(error) },
      ],
    });
    const channel = await client.channel('upper');
    channel.close();
    await channel.closed;
    gate.open();
    await test.client().call('echo', 1);
    expect(recorder.log.filter((line) => line.includes('enter'))).toEqual(['s enter call']);
    expect(exits).toEqual([undefined]);
  });
});

it('a call that is answered by a stream although one value was wanted is told so, and ends once', async () => {
  const exits: unknown[] = [];
  const test = await scope.serve([Things]);
  const client = test.client({
    processors: [{ onContextExit: (_context, error) => void exits.push(error) }],
  });
  expect(await rejection(client.call('count', 3))).toBeInstanceOf(ChannelError);
  await idle(client);
  expect(exits).toMatchObject([{ name: 'ChannelError' }]);
});
