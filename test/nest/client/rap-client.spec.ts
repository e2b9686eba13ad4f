import 'reflect-metadata';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getEventListeners } from 'node:events';
import net from 'node:net';
import { Controller } from '@nestjs/common';
import {
  ClientProxy,
  Ctx,
  MessagePattern,
  Payload,
  type ReadPacket,
  type WritePacket,
} from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, retry, Subject, takeUntil, tap } from 'rxjs';
import { toArray } from 'rxjs/operators';
import {
  AuthError,
  CallCancelledError,
  CallTimeoutError,
  ConnectionLostError,
  RapClient,
  RapContext,
  RapError,
  RapStatus,
  RegisteredError,
  type RapClientOptions,
} from '../../../lib/index.js';
import {
  eventually,
  Gate,
  rejection,
  testScope,
  warnsOfLeak,
  within,
  type ServedApp,
} from '../../helpers/async.js';

const scope = testScope();

/** What handlers of `hold` wait for, in this test. */
let finish = new Gate();
let calls: unknown[] = [];
beforeEach(() => {
  finish = new Gate();
  calls = [];
});

@Controller()
class ClientController {
  @MessagePattern('sum') sum(@Payload() { a, b }: { a: number; b: number }): number {
    calls.push([a, b]);
    return a + b;
  }
  @MessagePattern('hold') async hold(@Payload() data: unknown): Promise<unknown> {
    calls.push(data);
    await finish.opened;
    return data;
  }
  @MessagePattern('fail') fail(): never {
    throw new AuthError('no');
  }
  @MessagePattern('header') header(@Ctx() ctx: RapContext): unknown {
    return ctx.header;
  }
}

const serve = (): Promise<ServedApp> => scope.serve([ClientController]);

/** A client of a class of the test, closed with it. */
function clientOf<T extends RapClient>(
  Class: new (options: RapClientOptions) => T,
  options: RapClientOptions,
): T {
  const client = new Class({ host: '127.0.0.1', ...options });
  scope.defer(() => client.close());
  return client;
}

/** A port on which nobody listens. */
async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('the class RapClient', () => {
  it('is a ClientProxy', () => {
    expect(new RapClient()).toBeInstanceOf(ClientProxy);
  });

  it('opens no socket when it is made', async () => {
    const { client, server } = await serve();
    client();
    await new Promise(setImmediate);
    expect(server.stats().connections).toBe(0);
  });

  it.each<[string, object]>([
    ['callTimeoutMs', { callTimeoutMs: 0 }],
    ['callTimeoutMs', { callTimeoutMs: Number.NaN }],
    ['servers', { servers: [] }],
    ['limits.nothing', { limits: { nothing: 1 } }],
    ['keepAlive.intervalMs', { keepAlive: { intervalMs: -1 } }],
  ])('refuses a wrong option, and names it: %s', (name, options) => {
    expect(() => new RapClient(options as RapClientOptions)).toThrow(RangeError);
    expect(() => new RapClient(options as RapClientOptions)).toThrow(name);
  });
});

describe('the server to connect to', () => {
  it('by servers, in the form of a list of one', async () => {
    const { port } = await serve();
    const rap = clientOf(RapClient, { servers: [{ host: '127.0.0.1', port }] });
    expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);
  });

  it('by the path of a Unix socket', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rap-'));
    scope.defer(() => rm(folder, { recursive: true, force: true }));
    const path = join(folder, 'socket');
    const { server } = await scope.serve([ClientController], { path });
    const rap = clientOf(RapClient, { path });

    expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);
    expect(server.address()).toBe(path);
    rap.close();
  });
});

describe('publish()', () => {
  class Publishing extends RapClient {
    request(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
      return this.publish(packet, callback);
    }
  }
  const publish = (client: Publishing, packet: ReadPacket): Promise<WritePacket[]> => {
    return new Promise((resolve) => {
      const packets: WritePacket[] = [];
      client.request(packet, (reply) => {
        packets.push(reply);
        if (reply.isDisposed || reply.err !== undefined) resolve(packets);
      });
    });
  };

  it('gives the value and the end in two steps', async () => {
    const { port } = await serve();
    const rap = clientOf(Publishing, { port });
    expect(await publish(rap, { pattern: 'sum', data: { a: 1, b: 2 } })).toEqual([
      { response: 3 },
      { isDisposed: true },
    ]);
  });

  it('gives an error as err', async () => {
    const { port } = await serve();
    const rap = clientOf(Publishing, { port });
    expect(await publish(rap, { pattern: 'fail', data: null })).toEqual([{ err: expect.any(AuthError) }]);
  });

  it('never throws: an invalid pattern is an err too', async () => {
    const { port } = await serve();
    const rap = clientOf(Publishing, { port });
    expect(await publish(rap, { pattern: '', data: null })).toEqual([{ err: expect.any(RegisteredError) }]);
  });

  it('its teardown ends the waiting, without a word', async () => {
    const { port } = await serve();
    const rap = clientOf(Publishing, { port });
    const packets: WritePacket[] = [];
    const teardown = rap.request({ pattern: 'hold', data: 1 }, (packet) => packets.push(packet));
    await eventually('the call', () => calls.length);

    teardown();
    teardown();

    expect(rap.stats().inFlight).toBe(0);
    finish.open();
    expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);
    expect(packets).toEqual([]);
  });
});

describe('send()', () => {
  it('is cold: no call without a subscriber, one for each', async () => {
    const { client } = await serve();
    const source = client().send<number>('sum', { a: 1, b: 2 });
    await new Promise(setImmediate);
    expect(calls).toEqual([]);

    expect(await lastValueFrom(source.pipe(toArray()))).toEqual([3]);
    expect(await firstValueFrom(source)).toBe(3);

    expect(calls).toHaveLength(2);
  });

  it('an error is one error, of the class that the handler threw', async () => {
    const { client } = await serve();
    expect(await rejection(lastValueFrom(client().send('fail', 1)))).toBeInstanceOf(AuthError);
  });

  it('retry calls again', async () => {
    const { client } = await serve();
    let attempts = 0;
    const source = client()
      .send('fail', 1)
      .pipe(tap({ subscribe: () => (attempts += 1) }), retry(2));

    await rejection(lastValueFrom(source));

    expect(attempts).toBe(3);
  });

  it('unsubscribing stops the waiting: nothing comes any more, the connection lives on', async () => {
    const { client, server } = await serve();
    const rap = client();
    const stop = new Subject<void>();
    const seen: unknown[] = [];
    rap
      .send('hold', 1)
      .pipe(takeUntil(stop))
      .subscribe({
        next: (value) => seen.push(value),
        error: (error) => seen.push(error),
        complete: () => seen.push('complete'),
      });
    await eventually('the call', () => calls.length);
    expect(rap.stats().inFlight).toBe(1);

    stop.next();

    expect(rap.stats().inFlight).toBe(0);
    expect(seen).toEqual(['complete']);
    finish.open();
    expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);
    await eventually('no call left', () => server.stats().inFlight === 0);
    expect(seen).toEqual(['complete']);
  });

  it('unsubscribing before the client is connected: the call is not sent', async () => {
    const { client } = await serve();
    const rap = client();

    rap.send('sum', { a: 1, b: 2 }).subscribe().unsubscribe();
    expect(await rap.call('sum', { a: 3, b: 4 })).toBe(7);

    expect(calls).toEqual([[3, 4]]);
  });
});

describe('overrides of a subclass', () => {
  class Overriding extends RapClient {
    protected override serializeError(error: unknown): unknown {
      return new Error(`wrapped: ${(error as Error).message}`);
    }
    protected override serializeResponse(response: unknown): unknown {
      return { wrapped: response };
    }
  }

  it('serializeResponse, for call and send', async () => {
    const { port } = await serve();
    const rap = clientOf(Overriding, { port });

    expect(await rap.call('sum', { a: 1, b: 2 })).toEqual({ wrapped: 3 });
    expect(await firstValueFrom(rap.send('sum', { a: 1, b: 2 }))).toEqual({ wrapped: 3 });
  });

  it('serializeError, for call, send and emit, once each', async () => {
    const { port } = await serve();
    const rap = clientOf(Overriding, { port });

    await expect(rap.call('fail')).rejects.toThrow(/^wrapped: no$/);
    await expect(firstValueFrom(rap.send('fail', 1))).rejects.toThrow(/^wrapped: no$/);
    await expect(firstValueFrom(rap.emit('', 1))).rejects.toThrow(/^wrapped: Invalid target/);
    await expect(rap.call('')).rejects.toThrow(/^wrapped: Invalid target/);
  });

  it('serializeError, for errors of this side', async () => {
    const rap = clientOf(Overriding, { port: await closedPort() });
    await expect(rap.call('sum')).rejects.toThrow(/^wrapped: cannot connect/);
    await expect(firstValueFrom(rap.send('sum', 1))).rejects.toThrow(/^wrapped: cannot connect/);
    await expect(firstValueFrom(rap.emit('sum', 1))).rejects.toThrow(/^wrapped: cannot connect/);
  });

  it.each(['call', 'send'] as const)(
    'serializeResponse that throws fails its %s, and nothing else',
    async (way) => {
      class Checking extends RapClient {
        protected override serializeResponse(response: unknown): unknown {
          if (response === 3) throw new TypeError('3 is no response');
          return response;
        }
      }
      const { port } = await serve();
      const rap = clientOf(Checking, { port });
      await rap.connect();
      const three = { a: 1, b: 2 };
      const answer = way === 'call' ? rap.call('sum', three) : firstValueFrom(rap.send('sum', three));

      await expect(within('the error', answer)).rejects.toThrow('3 is no response');
      expect(await rap.call('sum', { a: 2, b: 2 }, { timeoutMs: 1000 })).toBe(4);
    },
  );
});

describe('connect()', () => {
  it('is single-flight: callers at once share one connection', async () => {
    const { client, server } = await serve();
    const rap = client();

    await Promise.all(Array.from({ length: 10 }, () => rap.connect()));
    await Promise.all([rap.connect(), rap.call('sum', { a: 1, b: 2 }), rap.ping()]);

    expect(server.stats().connections).toBe(1);
  });

  it('is lazy: the first calls connect once', async () => {
    const { client, server } = await serve();
    const rap = client();

    const sums = await Promise.all(
      Array.from({ length: 10 }, (_, a) => rap.call<number>('sum', { a, b: 1 })),
    );

    expect(sums).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(server.stats().connections).toBe(1);
  });

  it('fails for every caller, with the cause, and may be tried again', async () => {
    const port = await closedPort();
    const rap = clientOf(RapClient, { port });

    const errors = await Promise.all([
      rejection(rap.connect()),
      rejection(rap.connect()),
      rejection(rap.call('x')),
    ]);

    for (const error of errors) {
      expect(error).toBeInstanceOf(ConnectionLostError);
      expect(error).toMatchObject({ sent: 'no', cause: { code: 'ECONNREFUSED' } });
      expect(error.message).toContain(`127.0.0.1:${port}`);
    }
    const { server } = await scope.serve([ClientController], { port });
    await rap.connect();
    expect(server.stats().connections).toBe(1);
    rap.close();
  });
});

describe('close()', () => {
  it('rejects what waits, and a later call connects again', async () => {
    const { client } = await serve();
    const rap = client();
    const waiting = [rejection(rap.call('hold', 1)), rejection(lastValueFrom(rap.send('hold', 2)))];
    await eventually('the calls', () => calls.length === 2);

    rap.close();

    for (const error of await Promise.all(waiting)) {
      expect(error).toBeInstanceOf(ConnectionLostError);
      expect(error).toMatchObject({ sent: 'unknown', code: 'ERR_RAP_CONNECTION_LOST' });
    }
    expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);
    finish.open();
  });

  it('rejects what waits for the connection: it was not sent', async () => {
    const { client } = await serve();
    const rap = client();
    const waiting = [rejection(rap.call('sum', {})), rejection(rap.connect())];

    rap.close();

    for (const error of await Promise.all(waiting)) {
      expect(error).toBeInstanceOf(ConnectionLostError);
      expect(error).toMatchObject({ sent: 'no' });
    }
    expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);
    expect(calls).toHaveLength(1);
  });

  it('may be called twice, before connect, and as onApplicationShutdown with a signal', async () => {
    const { client, server } = await serve();
    const rap = client();
    rap.close();
    await rap.connect();

    const hook: { close(signal?: string): unknown } = rap; // as ClientsModule calls it
    hook.close('SIGTERM');
    rap.close();

    await eventually('no connection', () => server.stats().connections === 0);
    await rap.connect();
    expect(server.stats().connections).toBe(1);
  });

  it('right after connect: the late socket does not stay', async () => {
    const { client, server } = await serve();
    const rap = client();
    const first = rejection(rap.connect());
    rap.close();
    await first;
    await rap.connect();

    await eventually('one connection', () => server.stats().connections === 1);
    expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);
    expect(server.stats().connections).toBe(1);
  });
});

describe('status and on()', () => {
  it('status tells connecting, connected, disconnected', async () => {
    const { client } = await serve();
    const rap = client();
    const seen: RapStatus[] = [];
    rap.status.subscribe((status) => seen.push(status));

    await rap.connect();
    rap.close();
    await rap.connect();

    expect(seen).toEqual(['connecting', 'connected', 'disconnected', 'connecting', 'connected']);
    expect(await firstValueFrom(rap.status)).toBe(RapStatus.Connected);
  });

  it('status tells reconnecting when the server goes, and connected when it is back', async () => {
    const test = await serve();
    const rap = clientOf(RapClient, { port: test.port });
    await rap.connect();
    const seen: RapStatus[] = [];
    rap.status.subscribe((status) => seen.push(status));

    await test.server.close();
    await eventually('reconnecting', () => seen.includes(RapStatus.Reconnecting));
    const again = await scope.serve([ClientController], { port: test.port });
    expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);

    expect(seen.slice(0, 3)).toEqual(['connected', 'disconnected', 'reconnecting']);
    expect(seen.at(-1)).toBe('connected');
    expect(again.server.stats().connections).toBe(1);
    rap.close();
  });

  it('status tells disconnected when the server cannot be reached', async () => {
    const rap = clientOf(RapClient, { port: await closedPort() });
    const seen: RapStatus[] = [];
    rap.status.subscribe((status) => seen.push(status));

    await rejection(rap.connect());

    expect(seen).toEqual(['connecting', 'disconnected']);
  });

  it('on: connect, disconnect and reconnecting, for every listener, over restarts', async () => {
    const test = await serve();
    const rap = clientOf(RapClient, { port: test.port });
    const seen: unknown[] = [];
    rap.on('connect', () => seen.push('connect'));
    rap.on('connect', () => seen.push('connect too'));
    rap.on('disconnect', (reason) => seen.push(['disconnect', reason instanceof ConnectionLostError]));
    rap.on('reconnecting', (reason) => seen.push(['reconnecting', reason instanceof ConnectionLostError]));

    await rap.connect();
    rap.close();
    await rap.connect();
    await test.server.close();
    await eventually('reconnecting', () => seen.length >= 7);

    expect(seen.slice(0, 7)).toEqual([
      'connect',
      'connect too',
      ['disconnect', false],
      'connect',
      'connect too',
      ['disconnect', true],
      ['reconnecting', true],
    ]);
    rap.close();
  });

  it('on: a listener that throws breaks neither the connection nor the other listeners', async () => {
    const { client } = await serve();
    const rap = client();
    const seen: unknown[] = [];
    rap.on('connect', () => {
      throw new Error('broken listener');
    });
    rap.on('connect', () => seen.push('second'));

    expect(await rap.call('sum', { a: 1, b: 2 }, { timeoutMs: 1000 })).toBe(3);
    expect(seen).toEqual(['second']);
  });
});

describe('unwrap()', () => {
  it('is the socket of Node while connected, else an error', async () => {
    const { client, port } = await serve();
    const rap = client();
    expect(() => rap.unwrap()).toThrow('Not connected');

    await rap.connect();
    expect(rap.unwrap<net.Socket>()).toBeInstanceOf(net.Socket);
    expect(rap.unwrap<net.Socket>().remotePort).toBe(port);

    rap.close();
    expect(() => rap.unwrap()).toThrow('Not connected');
  });
});

describe('options of a call', () => {
  it('header: more headers, beside the target', async () => {
    const { client } = await serve();
    const header = await client().call('header', null, { header: { tenant: 'one', n: 1, target: '/x/y' } });
    expect(header).toEqual({ target: '/default/header', tenant: 'one', n: 1 });
  });

  it('header: keys of the protocol do not go along where a handler hands its own header on', async () => {
    const { client } = await serve();
    const handedOn = {
      target: '/x/y',
      one_way: true,
      accept_stream: true,
      timeout_ms: 1,
      status_code: 500,
      error: { name: 'x' },
      channel_life_cycle: 'DROP',
      'X-rap-deadline': 1,
      traceparent: '00-1',
    };
    const header = await client().call('header', null, { header: handedOn });
    expect(header).toEqual({ target: '/default/header', traceparent: '00-1' });
  });

  it('timeoutMs: CallTimeoutError that says what it waited for', async () => {
    const time = scope.stopTime();
    const { client } = await serve();
    const rap = client();
    const calling = rejection(rap.call('hold', 1, { timeoutMs: 30 }));
    await eventually('the call', () => calls.length);

    time.pass(29);
    expect(rap.stats().inFlight).toBe(1);
    time.pass(1);
    const error = await calling;

    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(error).toMatchObject({ phase: 'response', code: 'ERR_RAP_CALL_TIMEOUT', status: 1005 });
    expect(error.message).toContain('/default/hold timed out after 30 ms');
    expect(rap.stats().inFlight).toBe(0);
    finish.open();
  });

  it('says the time that the caller has given, also if part of it was spent before the call was sent', async () => {
    const time = scope.stopTime();
    const { client, port } = await serve();
    const connecting = {
      metadata: () => {
        time.pass(26);
        return {};
      },
    };
    const where = `127.0.0.1:${port}`;
    const rap = client(connecting);
    const calling = rejection(rap.call('hold', 1, { timeoutMs: 400 }));
    await eventually('the call', () => calls.length);
    expect(time.nextMs).toBe(374);
    time.pass(374);
    expect((await calling).message).toBe(
      `/default/hold timed out after 400 ms, waiting for the answer of ${where}`,
    );

    const crowded = client({ ...connecting, limits: { maxInFlight: 1 } });
    const first = rejection(crowded.call('hold', 2));
    const second = rejection(crowded.call('hold', 3, { timeoutMs: 400 }));
    await eventually('the first', () => calls.length === 2);
    time.pass(374);
    expect((await second).message).toBe(
      `/default/hold timed out after 400 ms, waiting for a free slot of ${where}`,
    );
    crowded.close();
    await first;
    finish.open();
  });

  it('timeoutMs of the client is the default, that of the call comes before it', async () => {
    const time = scope.stopTime();
    const { client } = await serve();
    const rap = client({ callTimeoutMs: 30 });
    await rap.connect();
    const longer = rap.call('hold', 1, { timeoutMs: 31 });
    const shorter = [rejection(rap.call('hold', 2)), rejection(firstValueFrom(rap.send('hold', 3)))];
    await eventually('the calls', () => calls.length === 3);

    time.pass(30);
    for (const error of shorter) expect(await error).toBeInstanceOf(CallTimeoutError);
    finish.open();
    expect(await longer).toBe(1);
  });

  it('timeoutMs also bounds the wait for a connection', async () => {
    const silent = net.createServer();
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const sockets: net.Socket[] = [];
    silent.on('connection', (socket) => sockets.push(socket));
    scope.defer(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const rap = clientOf(RapClient, { port: (silent.address() as net.AddressInfo).port });

    const error = await rejection(rap.call('sum', {}, { timeoutMs: 30 }));

    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(error).toMatchObject({ phase: 'connect' });
  });

  it.each([0, -1, NaN])('timeoutMs %s is refused', async (timeoutMs) => {
    const { client } = await serve();
    await expect(client().call('sum', { a: 1, b: 2 }, { timeoutMs })).rejects.toThrow(RangeError);
    expect(calls).toEqual([]);
  });

  it.each<[string, () => number | Date]>([
    ['a number', () => Date.now() + 5000],
    ['a Date', () => new Date(Date.now() + 5000)],
  ])('deadline as %s ends the call', async (_, deadline) => {
    const time = scope.stopTime();
    const { client } = await serve();
    const rap = client();
    await rap.connect();
    const error = rejection(rap.call('hold', 1, { deadline: deadline() }));
    await eventually('the call', () => calls.length);

    // before the default of either side
    time.pass(5000);
    expect(await error).toBeInstanceOf(CallTimeoutError);
    finish.open();
  });

  it('the earlier of deadline and timeoutMs holds', async () => {
    const time = scope.stopTime();
    const { client } = await serve();
    const rap = client();
    await rap.connect();
    const deadline = Date.now() + 5000;
    const byTimeout = rejection(rap.call('hold', 1, { deadline, timeoutMs: 30 }));
    const byDeadline = rejection(rap.call('hold', 2, { deadline, timeoutMs: 60_000 }));
    await eventually('the calls', () => calls.length === 2);

    time.pass(30);
    expect(await byTimeout).toBeInstanceOf(CallTimeoutError);
    expect(rap.stats().inFlight).toBe(1);
    time.pass(5000);
    expect(await byDeadline).toBeInstanceOf(CallTimeoutError);
    finish.open();
  });

  it('a deadline that is over: the call is not sent', async () => {
    const { client } = await serve();
    const rap = client();
    await rap.connect();

    const error = await rejection(rap.call('sum', { a: 1, b: 2 }, { deadline: Date.now() - 1000 }));
    await rap.call('sum', { a: 3, b: 4 });

    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(error).toMatchObject({
      message: expect.stringMatching(
        /^\/default\/sum was not called: its deadline was over 1\d\d\d ms before/,
      ),
    });
    expect(calls).toEqual([[3, 4]]);
  });

  it.each([NaN, new Date('no date')])('the deadline %s is refused', async (deadline) => {
    const { client } = await serve();
    const rap = client();
    await rap.connect();
    await expect(within('the refusal', rap.call('hold', 1, { deadline }))).rejects.toThrow(RangeError);
    finish.open();
  });

  it('signal: cancels the call, with the reason as cause', async () => {
    const { client } = await serve();
    const rap = client();
    const controller = new AbortController();
    const error = rejection(rap.call('hold', 1, { signal: controller.signal }));
    await eventually('the call', () => calls.length);

    controller.abort(new Error('changed my mind'));

    expect(await error).toBeInstanceOf(CallCancelledError);
    expect(await error).toMatchObject({
      code: 'ERR_RAP_CALL_CANCELLED',
      message: '/default/hold was cancelled',
      cause: new Error('changed my mind'),
    });
    expect(rap.stats().inFlight).toBe(0);
    finish.open();
    expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);
  });

  it('signal that is aborted already: the call is not sent', async () => {
    const { client, server } = await serve();
    const rap = client();

    expect(await rejection(rap.call('sum', {}, { signal: AbortSignal.abort() }))).toBeInstanceOf(
      CallCancelledError,
    );
    expect(calls).toEqual([]);
    expect(server.stats().connections).toBe(0);
  });

  it('signal that is aborted while the client connects: the call is not sent', async () => {
    const { client } = await serve();
    const rap = client();
    const controller = new AbortController();
    const error = rejection(rap.call('sum', { a: 1, b: 2 }, { signal: controller.signal }));

    controller.abort();

    expect(await error).toBeInstanceOf(CallCancelledError);
    expect(await rap.call('sum', { a: 3, b: 4 })).toBe(7);
    expect(calls).toEqual([[3, 4]]);
  });

  it('signal: one for many calls, and no listener is left on it', async () => {
    const { client } = await serve();
    const rap = client();
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 5 }, (_, a) => rap.call('sum', { a, b: 1 }, { signal })));
    await rejection(rap.call('fail', null, { signal }));

    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('signal: one for many calls at once, without a warning of Node about a leak', async () => {
    const { client } = await serve();
    const rap = client();
    await rap.connect();
    const { signal } = new AbortController();

    const sums = Promise.all(Array.from({ length: 20 }, (_, a) => rap.call('sum', { a, b: 1 }, { signal })));
    const warns = warnsOfLeak(signal);
    await sums;

    expect(warns).toBe(false);
  });
});

it('ping measures the way, and fails without a server', async () => {
  const { client } = await serve();
  expect(await client().ping()).toBeGreaterThan(0);
  const alone = clientOf(RapClient, { port: await closedPort() });
  expect(await rejection(alone.ping())).toBeInstanceOf(ConnectionLostError);
});

it('data that cannot be encoded fails its call with a rap error, and nothing else', async () => {
  const { client } = await serve();
  const rap = client();
  const ring: Record<string, unknown> = {};
  ring['ring'] = ring;

  const errors = [
    await rejection(rap.call('sum', ring, { timeoutMs: 1000 })),
    await rejection(rap.call('sum', ring, { timeoutMs: 1000 })),
    await rejection(firstValueFrom(rap.send('sum', ring))),
  ];

  for (const error of errors) {
    expect(error).toBeInstanceOf(RapError);
    expect(error).not.toBeInstanceOf(CallTimeoutError);
  }
  expect(await rap.call('sum', { a: 1, b: 2 })).toBe(3);
  expect(calls).toHaveLength(1);
});
