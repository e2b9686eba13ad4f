import { OverloadError, TooManyRequestsError } from '../../lib/index.js';
import { CloseReason } from '../../lib/protocol/event.js';
import { fenceClient } from '../helpers/channel/channel-frames.js';
import { answerDeclare, DECLARE, pack, RawSocket, type RawFrame } from '../helpers/raw-socket.js';
import {
  app,
  background,
  call,
  expectAnswers,
  openRaw,
  release,
  seen,
  start,
  startApp,
  startClient,
  startScript,
  stopTime,
  until,
} from '../helpers/fault-scope.js';

const BUSY = [{ status_code: 429 }, 'Too many calls in flight'];

function ping(id: number): RawFrame {
  return [103, id, { target: '/_event/ping' }, {}];
}

describe('a server', () => {
  describe('a flood of calls', () => {
    it('answers calls beyond the limit of a connection with 429 at once, and does not run them', async () => {
      await start({ limits: { maxInFlight: 4 } });
      const raw = await openRaw(app);
      const ids = Array.from({ length: 10 }, (_, i) => 5 + 2 * i);
      raw.send(...ids.map((id) => call(id, 'hold', id)));
      for (const id of ids.slice(4)) expect((await raw.answer(id)).slice(2)).toMatchObject(BUSY);
      expect(seen).toMatchObject({ started: 4, ended: 0 });
      expect(app.server.stats().refusedCalls).toBe(6);
      expect(raw.frames).toEqual([]);

      release();
      for (const id of ids.slice(0, 4)) expect(await raw.answer(id)).toEqual([101, id, {}, id]);
      expect(seen.started).toBe(4);
      await expectAnswers(raw);
    });

    it('counts a call until its handler has ended, however early it was answered', async () => {
      const time = stopTime();
      await startApp({ limits: { maxInFlight: 2 }, runTimeoutMs: 50 });
      const raw = await openRaw(app);
      raw.send(call(5, 'hold', null), call(7, 'hold', null));
      await until(() => seen.started === 2, 'the calls to run');
      time.pass(50);
      for (const id of [5, 7]) expect((await raw.answer(id))[2]['status_code']).toBe(301);
      raw.send(call(9, 'echo', null));
      expect((await raw.answer(9)).slice(2)).toMatchObject(BUSY);
      release();
      await until(() => seen.ended === 2, 'the handlers to end');
      await expectAnswers(raw);
    });

    it('counts the calls of all connections, those of lost ones too', async () => {
      await startApp({ limits: { maxInFlightTotal: 4, maxInFlightPerAddress: 4 } });
      const gone = await openRaw(app);
      gone.send(...[5, 7, 9].map((id) => call(id, 'hold', null)));
      await until(() => seen.started === 3, 'the calls to run');
      gone.destroy();
      await until(() => app.server.stats().connections === 0, 'the connection to be gone');
      expect(app.server.stats().inFlight).toBe(3);

      const raw = await openRaw(app);
      raw.send(call(5, 'hold', 'last'), call(7, 'echo', null));
      expect((await raw.answer(7)).slice(2)).toMatchObject(BUSY);
      release();
      expect((await raw.answer(5))[3]).toBe('last');
      await expectAnswers(raw);
    });

    it('does not answer events beyond the limit, nor runs them', async () => {
      await start({ limits: { maxInFlight: 4 } });
      const [type, id, header, body] = DECLARE;
      const declare = { ...(body as object), extensions: { one_way: {} } };
      const raw = await openRaw(app, [type, id, header, declare]);
      for (let n = 5; n < 25; n += 2) raw.send([101, n, { target: '/default/hold', one_way: true }, null]);
      await until(() => app.server.stats().refusedCalls === 6, 'six events to be refused');
      expect(seen.started).toBe(4);
      release();
      await expectAnswers(raw);
      expect(raw.frames).toEqual([]);
    });

    it('gives others their turn while one connection floods it', async () => {
      await start({});
      const raw = await openRaw(app);
      const total = 30_000;
      const frames = Array.from({ length: total }, (_, i) => pack(call(5 + 2 * i, 'echo', i)));
      raw.bytes(Buffer.concat(frames));
      await until(() => raw.frames.length > 0, 'the first answer');
      await background.goesOn(20);
      expect(raw.frames.length).toBeLessThan(total);
      await until(() => raw.frames.length === total, 'all answers');
      expect(raw.frames.filter(([, , header]) => 'status_code' in header)).toEqual([]);
    });

    it('takes as many connections full of calls as there are', async () => {
      await start({ limits: { maxInFlight: 50 } });
      const raws = await Promise.all(Array.from({ length: 20 }, () => openRaw(app)));
      for (const raw of raws) for (let i = 0; i < 60; i++) raw.send(call(5 + 2 * i, 'hold', i));
      await until(() => app.server.stats().refusedCalls === 200, 'the excess to be refused');
      expect(seen.started).toBe(1000);
      await background.goesOn();
      release();
      for (const raw of raws) await until(() => raw.frames.length === 60, 'all answers');
    });
  });

  describe('a flood of pings', () => {
    it('closes a connection that floods it with pings', async () => {
      stopTime();
      await start({});
      const raw = await openRaw(app);
      for (let id = 5; id < 405; id += 2) raw.send(ping(id));
      expect(await raw.closeReason()).toBe(CloseReason.TooManyPings);
      await raw.waitClosed();
      // the burst was answered
      expect(raw.frames).toEqual(Array.from({ length: 60 }, (_, i) => [103, 5 + 2 * i, {}, {}]));
    });

    it('answers the pings of a Python client for ever', async () => {
      const time = stopTime();
      await start({ limits: { pingBurst: 3, pingsPerSecond: 50 } });
      const raw = await openRaw(app);
      for (let round = 0; round < 10; round++) {
        const ids = [0, 2, 4].map((n) => 5 + 6 * round + n);
        raw.send(...ids.map(ping));
        for (const id of ids) expect(await raw.answer(id)).toEqual([103, id, {}, {}]);
        time.pass(60); // time for three more
      }
      await expectAnswers(raw);
    });
  });
});

describe('a client', () => {
  it('holds calls back while as many as allowed are at the server, and sends them in their order', async () => {
    const arrived: unknown[] = [];
    const open: RawFrame[] = [];
    let most = 0;
    const server = await startScript(async (peer) => {
      await answerDeclare(peer);
      for (;;) {
        const frame = await peer.next((it) => it[0] === 101, 60_000);
        arrived.push(frame[3]);
        open.push(frame);
        most = Math.max(most, open.length);
        // answers the newest, and only when nothing more is on its way
        if (open.length < 4 && arrived.length < 20) continue;
        await fenceClient(peer);
        if (peer.frames.some((it) => it[0] === 101)) continue;
        for (const [, id, , body] of open.splice(0).toReversed()) peer.send([101, id, {}, body]);
      }
    });
    const client = startClient(server.port, { limits: { maxInFlight: 4 } });
    await client.connect();
    const asked = Array.from({ length: 20 }, (_, i) => i);
    const answers = asked.map((i) => client.call('echo', i));
    expect(client.stats()).toMatchObject({ inFlight: 4, queued: 16 });
    expect(await Promise.all(answers)).toEqual(asked);
    expect(arrived).toEqual(asked);
    expect(most).toBe(4);
    expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0, lateAnswers: 0 });
  });

  it('refuses calls beyond its queue at once with OverloadError', async () => {
    await startApp();
    const client = app.client({ limits: { maxInFlight: 2, maxQueuedCalls: 3 } });
    await client.connect();
    const taken = Array.from({ length: 5 }, (_, i) => client.call('hold', i));
    const refused = await client.call('hold', 5).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(OverloadError);
    expect(refused).toMatchObject({ status: 429, code: 'ERR_RAP_OVERLOAD' });
    await until(() => seen.started === 2, 'two calls to run');
    release();
    await until(() => seen.started === 4, 'the next two');
    release();
    await until(() => seen.started === 5, 'the last');
    release();
    expect(await Promise.all(taken)).toEqual([0, 1, 2, 3, 4]);
    expect(await client.call('echo', 'again')).toBe('again');
  });

  it('bounds the calls that wait for a connection', async () => {
    const server = await startScript(() => {});
    const client = startClient(server.port, { limits: { maxQueuedCalls: 3 } });
    const waiting = Array.from({ length: 3 }, () => client.call('echo', 1).catch((error: unknown) => error));
    await expect(client.call('echo', 1)).rejects.toBeInstanceOf(OverloadError);
    client.close();
    for (const error of await Promise.all(waiting)) {
      expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
    }
  });

  it('never sends a queued call whose time ran out, or that was given up', async () => {
    await startApp();
    const client = app.client({ limits: { maxInFlight: 1 } });
    await client.connect();
    const first = client.call('hold', 'first');
    const controller = new AbortController();
    const cancelled = client.call('hold', 'cancelled', { signal: controller.signal });
    const subscription = client.send('hold', 'unsubscribed').subscribe();
    await expect(client.call('hold', 'late', { timeoutMs: 30 })).rejects.toMatchObject({
      name: 'CallTimeoutError',
      phase: 'queue',
    });
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ name: 'CallCancelledError' });
    subscription.unsubscribe();
    release();
    expect(await first).toBe('first');
    expect(await client.call('echo', 'next')).toBe('next');
    expect(seen.started).toBe(1);
    expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0, lateAnswers: 0 });
  });

  it('tells a refusal of the server from one of its own', async () => {
    await startApp({ limits: { maxInFlightTotal: 1 } });
    const client = app.client();
    const first = client.call('hold', 1);
    await until(() => seen.started === 1, 'the call to run');
    const refused = await client.call('echo', 2).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(TooManyRequestsError);
    expect(refused).not.toBeInstanceOf(OverloadError);
    release();
    expect(await first).toBe(1);
  });

  it('leaves a server that floods it with pings, and comes back', async () => {
    const time = stopTime();
    let connections = 0;
    const server = await startScript(async (peer) => {
      connections += 1;
      const isFirst = connections === 1;
      await answerDeclare(peer);
      const [, id, , body] = await peer.next((frame) => frame[0] === 101);
      if (isFirst) for (let n = 4; n < 404; n += 2) peer.send([203, n, { target: '/_event/ping' }, '']);
      else peer.send([101, id, {}, body]);
    });
    const client = startClient(server.port, { reconnect: { baseDelayMs: 5 } });
    await expect(client.call('echo', 1)).rejects.toMatchObject({
      name: 'ConnectionLostError',
      sent: 'unknown',
      message: expect.stringContaining(CloseReason.TooManyPings) as string,
    });
    time.resume();
    expect(await client.call('echo', 2)).toBe(2);
    const [flooder] = server.peers as [RawSocket];
    await flooder.waitClosed();
    const pongs = flooder.frames.filter((frame) => frame[0] === 203);
    expect(pongs).toHaveLength(60); // the burst
    expect(pongs[0]).toEqual([203, 4, { target: '/_event/ping' }, '']);
  });
});
