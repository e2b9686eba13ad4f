import 'reflect-metadata';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import net from 'node:net';
import { ClientProxy, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, retry, Subject, takeUntil, tap } from 'rxjs';
import { toArray } from 'rxjs/operators';
import {
  AuthError,
  CallTimeoutError,
  ConnectionLostError,
  RapClient,
  RapError,
  RegisteredError,
  type RapClientOptions,
} from '../../../lib/index.js';
import { eventually, rejection, within } from '../../helpers/async.js';
import { freePort } from '../../helpers/ports.js';
import { ClientController, calls, clientOf, finish, scope, serve } from './served-client.js';

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
    const rap = clientOf(Overriding, { port: await freePort() });
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

it('ping measures the way, and fails without a server', async () => {
  const { client } = await serve();
  expect(await client().ping()).toBeGreaterThan(0);
  const alone = clientOf(RapClient, { port: await freePort() });
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
