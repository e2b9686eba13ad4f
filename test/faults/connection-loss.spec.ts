import { spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { firstValueFrom, retry } from 'rxjs';
import { ConnectionLostError } from '../../lib/index.js';
import { serve } from '../helpers/app.js';
import { answerDeclare, DECLARE, pack, type RawFrame, type RawSocket } from '../helpers/raw-socket.js';
import {
  atCleanUp,
  brokenOnce,
  call,
  Handlers,
  openRaw,
  release,
  seen,
  startApp,
  startBackgroundCalls,
  startClient,
  startScript,
  stopTime,
  until,
} from '../helpers/fault-scope.js';
import { pass } from '../helpers/async.js';

/** Ways in which a server goes, while a frame of its answer is under way or not. */
const WAYS: [name: string, leave: (peer: RawSocket) => void][] = [
  ['FIN', (peer) => peer.socket.end()],
  ['RST', (peer) => peer.socket.resetAndDestroy()],
  ['FIN half-way through a frame', (peer) => peer.socket.end(pack([101, 5, {}, 'half']).subarray(0, 6))],
  [
    'FIN half-way through a large frame',
    (peer) => peer.socket.end(pack([101, 5, {}, 'x'.repeat(90_000)]).subarray(0, 70_000)),
  ],
  ['CLOSE', (peer) => peer.socket.end(pack([203, 4, { target: '/_event/CLOSE' }, 'maintenance']))],
  [
    'CLOSE without a reason',
    (peer) => peer.socket.end(pack([203, 4, { target: '/_event/CLOSE' }, { odd: 1 }])),
  ],
];

/** Comes back at once. */
const reconnect = { baseDelayMs: 1, maxDelayMs: 5 };

function outcomeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => error);
}

describe('a client whose connection is lost', () => {
  it.each(WAYS)(
    'fails what was sent with "unknown", what was not with "no", and comes back: %s',
    async (_name, leave) => {
      let asked = 0;
      const server = await brokenOnce((peer) => {
        asked += 1;
        if (asked === 2) leave(peer);
      });
      const client = startClient(server.port, { reconnect, limits: { maxInFlight: 2 } });
      await client.connect();
      const calls = [1, 2, 3, 4].map((i) => outcomeOf(client.call('echo', i)));
      const outcomes = await Promise.all(calls);
      for (const [i, error] of outcomes.entries()) {
        expect(error).toBeInstanceOf(ConnectionLostError);
        expect(error).toMatchObject({
          sent: i < 2 ? 'unknown' : 'no',
          code: 'ERR_RAP_CONNECTION_LOST',
          status: 1006,
        });
      }
      expect(await client.call('echo', 'again')).toBe('again');
      expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0 });
      expect(server.peers).toHaveLength(2);
    },
  );

  it('names the reason that CLOSE gives', async () => {
    const server = await brokenOnce((peer) => WAYS[4]?.[1](peer));
    await expect(startClient(server.port, { reconnect }).call('echo')).rejects.toThrow(
      'the server closed the connection: maintenance',
    );
  });

  it('gets the answers that came before the end', async () => {
    const server = await brokenOnce((peer, [, id, , body]) => {
      peer.send([101, id, {}, body]);
      if (body === 3) peer.socket.end();
    });
    const client = startClient(server.port, { reconnect });
    const lost = new Promise<void>((resolve) => client.on('reconnecting', () => resolve()));
    expect(await Promise.all([1, 2, 3].map((i) => client.call('echo', i)))).toEqual([1, 2, 3]);
    await lost;
    expect(await client.call('echo', 4)).toBe(4);
  });

  it('fails its pings as well', async () => {
    const server = await startScript(async (peer) => {
      await answerDeclare(peer);
      await peer.next((frame) => frame[2]['target'] === '/_event/ping');
      peer.socket.resetAndDestroy();
    });
    const client = startClient(server.port, { reconnect });
    await expect(client.ping()).rejects.toMatchObject({ name: 'ConnectionLostError', sent: 'unknown' });
  });

  it('puts a call that is repeated in the moment of the loss on the next connection', async () => {
    const server = await brokenOnce((peer) => peer.socket.resetAndDestroy());
    const client = startClient(server.port, { reconnect, callTimeoutMs: 3000 });
    await client.connect();
    expect(await firstValueFrom(client.send('echo', 'repeated').pipe(retry(1)))).toBe('repeated');
  });

  it('lets calls wait through an outage, as long as they have time', async () => {
    const first = await startApp();
    const client = startClient(first.port, { reconnect });
    expect(await client.call('echo', 1)).toBe(1);
    await first.app.close();

    await expect(client.call('echo', 2, { timeoutMs: 60 })).rejects.toMatchObject({
      name: 'CallTimeoutError',
      phase: 'connect',
      cause: { name: expect.any(String) as string },
    });
    const waiting = client.call('echo', 3);
    const second = await serve([Handlers], { port: first.port });
    atCleanUp(() => second.close());
    expect(await waiting).toBe(3);
    expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  });

  it('with reconnect: false comes back with the next call only', async () => {
    const server = await brokenOnce((peer) => peer.socket.end());
    const client = startClient(server.port, { reconnect: false });
    await expect(client.call('echo', 1)).rejects.toBeInstanceOf(ConnectionLostError);
    await server.peers[0]?.waitClosed();
    expect(server.peers).toHaveLength(1);
    expect(await client.call('echo', 2)).toBe(2);
  });

  it('says at once if nobody listens, that nothing was sent', async () => {
    const listener = createServer().listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address() as { port: number };
    await new Promise((resolve) => listener.close(resolve));
    const client = startClient(port);
    const outcomes = [
      client.call('echo', 1),
      client.connect(),
      firstValueFrom(client.send('echo', 1)),
      client.ping(),
    ];
    for (const error of await Promise.all(outcomes.map(outcomeOf))) {
      expect(error).toMatchObject({
        name: 'ConnectionLostError',
        sent: 'no',
        message: expect.stringContaining(`127.0.0.1:${port}`) as string,
        cause: { code: 'ECONNREFUSED' },
      });
    }
    await expect(firstValueFrom(client.emit('event', 1))).rejects.toMatchObject({ sent: 'no' });
  });

  it('fails events that nobody asks about without a word: no rejection is left over', async () => {
    const server = await startScript((peer) => peer.destroy());
    const client = startClient(server.port);
    client.emit('event', 1);
    client.emit('event', { circular: BigInt(2) ** 80n });
    await expect(client.call('echo')).rejects.toBeInstanceOf(ConnectionLostError);
  });

  it('fails if its metadata cannot be sent', async () => {
    const app = await startApp();
    const metadata: Record<string, unknown> = {};
    metadata['self'] = metadata;
    const client = startClient(app.port, { metadata });
    for (const error of await Promise.all([client.call('echo', 1), client.connect()].map(outcomeOf))) {
      expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
    }
    await until(() => app.server.stats().connections === 0, 'nothing to be left');
  });

  it('that is closed fails what it had, and can be used again', async () => {
    const app = await startApp();
    const client = startClient(app.port, { limits: { maxInFlight: 1 } });
    await client.connect();
    const [sent, queued] = [outcomeOf(client.call('hold', 1)), outcomeOf(client.call('hold', 2))];
    await until(() => seen.started === 1, 'the call to run');
    client.close();
    expect(await sent).toMatchObject({ name: 'ConnectionLostError', sent: 'unknown' });
    expect(await queued).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
    await until(() => seen.signals[0]?.aborted === true, 'the handler to be told');
    expect(await client.call('echo', 3)).toBe(3);
    expect(seen.started).toBe(1);
  });

  it('that is closed while it connects or waits leaves nothing behind', async () => {
    const app = await startApp();
    for (let i = 0; i < 10; i++) {
      const client = startClient(app.port);
      const waiting = outcomeOf(client.call('echo', i));
      if (i % 2 === 1) await new Promise((resolve) => setImmediate(resolve));
      client.close();
      const outcome = await waiting;
      if (outcome !== i) expect(outcome).toMatchObject({ name: 'ConnectionLostError' });
    }
    await until(() => app.server.stats().connections === 0, 'the connections to go');
  });

  it('tells its listeners, and one that throws breaks nothing', async () => {
    const server = await brokenOnce((peer) => peer.socket.end());
    const client = startClient(server.port, { reconnect });
    const told: string[] = [];
    client.on('connect', () => {
      told.push('connect');
      throw new Error('a listener throws');
    });
    client.on('reconnecting', (reason) => {
      told.push(`reconnecting: ${reason?.name}`);
      throw new Error('a listener throws');
    });
    await expect(client.call('echo', 1)).rejects.toBeInstanceOf(ConnectionLostError);
    expect(await client.call('echo', 2)).toBe(2);
    expect(told).toEqual(['connect', 'reconnecting: ConnectionLostError', 'connect']);
  });

  it('spreads over time when a server takes all its clients along', async () => {
    const time = stopTime();
    let passedMs = 0;
    let times: number[] = [];
    const server = await startScript(async (peer) => {
      times.push(passedMs);
      await answerDeclare(peer);
    });
    const clients = Array.from({ length: 30 }, () =>
      startClient(server.port, { reconnect: { baseDelayMs: 600, maxDelayMs: 600 } }),
    );
    await Promise.all(clients.map((client) => client.connect()));
    let lost = 0;
    for (const client of clients) client.on('reconnecting', () => (lost += 1));
    times = [];
    for (const peer of server.peers) peer.socket.resetAndDestroy();
    await until(() => lost === 30, 'all clients to notice');
    for (; times.length < 30; passedMs += 5) {
      expect(passedMs).toBeLessThan(30_000);
      time.pass(5);
      await pass(1);
    }
    // full jitter: the first and the last of thirty are far apart
    expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(200);
  });

  it('never loses count: whatever a server does, each call has one outcome', async () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    const server = await startScript(async (peer) => {
      await answerDeclare(peer);
      for (;;) {
        const [, id, , body] = await peer.next((frame) => frame[0] === 101, 60_000);
        const answer: RawFrame = [101, id, {}, body];
        const way = random(40);
        if (way === 0) peer.socket.resetAndDestroy();
        else if (way === 1) peer.socket.end(pack(answer).subarray(0, 4));
        else if (way === 2) peer.send(answer, answer);
        else if (way === 3) peer.send([101, id + 1000, {}, 'foreign'], answer);
        else if (way === 4) peer.bytes('c1');
        else if (way === 5) peer.send([101, id, { status_code: 429 }, 'busy']);
        else peer.send(answer);
      }
    });
    const client = startClient(server.port, { reconnect, limits: { maxInFlight: 8 } });
    await client.connect();
    const counts: Record<string, number> = {};
    const lanes = Array.from({ length: 20 }, async (_, lane) => {
      for (let i = 0; i < 50; i++) {
        const asked = `${lane}/${i}`;
        const outcome = await outcomeOf(client.call('echo', asked));
        const name = outcome instanceof Error ? outcome.name : outcome === asked ? 'right' : 'wrong';
        counts[name] = (counts[name] ?? 0) + 1;
      }
    });
    await Promise.all(lanes);
    expect(Object.keys(counts).toSorted()).toEqual([
      'ConnectionLostError',
      'ProtocolError',
      'TooManyRequestsError',
      'right',
    ]);
    expect(counts['right']).toBeGreaterThan(300);
    expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  });
});

describe('a server whose peers disconnect', () => {
  it('outlives clients that go in every way, and forgets them without a word in the log', async () => {
    const app = await startApp();
    const background = await startBackgroundCalls(app);
    const ends: string[] = [];
    app.server.on('disconnect', (_connection, reason) => ends.push(reason.name));
    for (const leave of [
      (raw: RawSocket) => raw.socket.end(),
      (raw: RawSocket) => raw.socket.resetAndDestroy(),
      (raw: RawSocket) => raw.socket.end(pack(call(9, 'echo', 'x'.repeat(100))).subarray(0, 50)),
      (raw: RawSocket) => (raw.send(call(9, 'produce', 4_000_000)), raw.socket.resetAndDestroy()),
      (raw: RawSocket) => (raw.socket.pause(), raw.send(call(9, 'produce', 4_000_000)), raw.socket.end()),
    ]) {
      const raw = await openRaw(app);
      raw.send(call(5, 'hold', null), call(7, 'hold', null));
      const started = seen.started + 2;
      await until(() => seen.started === started, 'the calls to run');
      leave(raw);
      await background.goesOn();
      raw.socket.resume();
      await until(() => app.server.stats().connections === 1, 'the connection to be gone');
    }
    expect(seen.signals.every((signal) => signal.aborted)).toBe(true);
    release();
    await background.stop();
    await until(() => app.server.stats().inFlight === 0, 'all slots to be free');
    expect(ends).toEqual(Array(5).fill('ConnectionLostError'));
    expect(app.log.lines).toEqual([]);
  });

  it('does not take a peer for local that was gone before it was accepted', async () => {
    let called = 0;
    @Controller()
    class Private {
      @MessagePattern('secret', { private: true })
      secret(): void {
        called += 1;
      }
    }
    const app = await startApp({}, [Private]);
    const families: string[] = [];
    app.server.on('connection', ({ peer }) => families.push(peer.family));
    // another process connects, calls and resets the connection, while this one cannot accept it
    const bytes = Buffer.concat([DECLARE, call(5, 'secret', null)].map(pack)).toString('hex');
    const script = `
      const socket = require('node:net').connect(${app.port}, '127.0.0.1', () =>
        socket.write(Buffer.from('${bytes}', 'hex'), () => setTimeout(() => socket.resetAndDestroy(), 50)));
      socket.on('error', () => {});
    `;
    spawnSync(process.execPath, ['-e', script], { timeout: 20_000 });
    await startClient(app.port).ping(); // who came later was served: those before have been accepted
    // nobody knows its address any more; a Unix socket is local, and may call what is private
    expect(families).not.toContain('unix');
    expect(called).toBe(0);
  });
});
