import 'reflect-metadata';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { ConnectionLostError, RapClient, RapStatus } from '../../../lib/index.js';
import { eventually, rejection } from '../../helpers/async.js';
import { freePort } from '../../helpers/ports.js';
import { ClientController, calls, clientOf, finish, scope, serve } from './served-client.js';

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
    const port = await freePort();
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
    const rap = clientOf(RapClient, { port: await freePort() });
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
