import 'reflect-metadata';
import { getEventListeners } from 'node:events';
import net from 'node:net';
import { firstValueFrom } from 'rxjs';
import { CallCancelledError, CallTimeoutError, RapClient } from '../../../lib/index.js';
import { eventually, rejection, warnsOfLeak, within } from '../../helpers/async.js';
import { calls, clientOf, finish, scope, serve } from './served-client.js';

describe('options of a call', () => {
  it('header: more headers, beside the target', async () => {
    const { client } = await serve();
    const header = await client().call('header', null, { header: { tenant: 'one', n: 1, target: '/x/y' } });
    expect(header).toEqual({ target: '/default/header', tenant: 'one', n: 1 });
  });

  it('header: keys of the protocol do not go along if a handler hands its own header on', async () => {
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
    time.pass(373);
    expect(rap.stats().inFlight).toBe(1);
    time.pass(1);
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
