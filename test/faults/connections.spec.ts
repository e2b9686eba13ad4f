import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { ConnectionLostError } from '../../lib/index.js';
import { CloseReason } from '../../lib/protocol/event.js';
import { TestAuthority } from '../helpers/certificates.js';
import { answerDeclare, DECLARE, pack, type RawFrame } from '../helpers/raw-socket.js';
import {
  app,
  atCleanUp,
  background,
  call,
  connectRaw,
  expectAnswers,
  openRaw,
  seen,
  start,
  startApp,
  startClient,
  startScript,
  stopTime,
  until,
} from '../helpers/fault-scope.js';
import { pass } from '../helpers/async.js';

/** Connections that the server holds, those included that it has refused. */
function sockets(): Promise<number> {
  return new Promise((resolve, reject) => {
    app.server.unwrap().getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });
}

describe('a server', () => {
  describe('before DECLARE has come', () => {
    it('destroys a connection that stays silent, without a word in the log', async () => {
      await start({ limits: { declareTimeoutMs: 150 } });
      const silent = await connectRaw(app);
      await silent.waitClosed();
      expect(silent.frames).toEqual([]);
      expect(app.log.lines).toEqual([]);
    });

    it('destroys a connection whose DECLARE drips', async () => {
      const time = stopTime();
      await start({ limits: { declareTimeoutMs: 150 } });
      const drip = await connectRaw(app);
      drip.socket.setNoDelay(true);
      const bytes = pack([103, 3, { target: '/_event/DECLARE' }, { metadata: { blob: 'x'.repeat(8000) } }]);
      for (let i = 0; i < 29; i++) {
        drip.bytes(bytes.subarray(i, i + 1));
        await background.goesOn(); // whose words come through the same loop: the byte is read
        time.pass(5);
      }
      expect(drip.closed).toBe(false);
      time.pass(5);
      await drip.waitClosed();
      expect(drip.frames).toEqual([]);
    });

    it('lets a slow client say DECLARE in time, and is patient with it afterwards', async () => {
      const time = stopTime();
      await start({ limits: { declareTimeoutMs: 500 } });
      const slow = await connectRaw(app);
      const bytes = pack(DECLARE);
      for (let i = 0; i < 3; i++) {
        time.pass(160);
        slow.bytes(bytes.subarray(i * 40, i === 2 ? undefined : i * 40 + 40));
        await background.goesOn();
      }
      await slow.answer(3);
      time.pass(700); // longer than the time for DECLARE
      await expectAnswers(slow);
    });
  });

  describe('DECLARE and other events', () => {
    const DECLARE_FIRST = 'the first frame must be DECLARE';

    it.each<[string, RawFrame]>([
      ['a call', call(5, 'hold', null)],
      ['a channel', [102, 5, { channel_life_cycle: 'DECLARE', target: '/default/hold' }, null]],
      ['a ping', [103, 5, { target: '/_event/ping' }, {}]],
      ['DROP', [103, 5, { target: '/_event/DROP' }, null]],
      ['an event of servers', [203, 4, { target: '/_event/DECLARE' }, {}]],
      ['DECLARE as a call', [101, 3, { target: '/_event/DECLARE' }, {}]],
    ])('refuses %s before DECLARE', async (_name, frame) => {
      await start({});
      const raw = await connectRaw(app);
      raw.send(frame, DECLARE, call(7, 'hold', null));
      expect(await raw.closeReason()).toBe(DECLARE_FIRST);
      await raw.waitClosed();
      expect(raw.frames).toEqual([]);
      expect(seen.started).toBe(0);
      expect(app.log.lines).toEqual([expect.stringContaining(DECLARE_FIRST)]);
    });

    it('takes calls in the same write as DECLARE', async () => {
      await start({});
      const raw = await connectRaw(app);
      raw.send(DECLARE, call(5, 'echo', 1), call(7, 'echo', 2));
      expect((await raw.next())[1]).toBe(3);
      expect(await raw.answer(5)).toEqual([101, 5, {}, 1]);
      expect(await raw.answer(7)).toEqual([101, 7, {}, 2]);
    });

    it('refuses a second DECLARE', async () => {
      await start({});
      const raw = await openRaw(app);
      raw.send(call(5, 'hold', null));
      await until(() => seen.started === 1, 'the call to run');
      raw.send([103, 7, { target: '/_event/DECLARE' }, {}]);
      expect(await raw.closeReason()).toBe('a second DECLARE');
      await raw.waitClosed();
      expect(seen.signals[0]?.aborted).toBe(true);
    });

    it.each([
      [null],
      [[]],
      ['text'],
      [7],
      [{ metadata: 'text' }],
      [{ metadata: [1] }],
      [{ extensions: 'all' }],
    ])('makes nothing of a DECLARE with the body %j', async (body) => {
      await start({});
      const raw = await openRaw(app, [103, 3, { target: '/_event/DECLARE' }, body]);
      await expectAnswers(raw);
    });

    it('answers DROP, also twice, and goes on', async () => {
      await start({});
      const raw = await openRaw(app);
      raw.send([103, 5, { target: '/_event/DROP' }, null], [103, 7, { target: '/_event/DROP' }, null]);
      expect(await raw.answer(5)).toEqual([103, 5, {}, 'success']);
      expect(await raw.answer(7)).toEqual([103, 7, {}, 'success']);
      await expectAnswers(raw);
    });

    it('answers an unknown event with 1003, ignores unknown answers, and goes on', async () => {
      await start({});
      const raw = await openRaw(app);
      raw.send([203, 4444, {}, null], [203, 4446, { target: '/_event/ping' }, '']);
      raw.send([103, 5, { target: '/_event/nonsense' }, null]);
      expect(await raw.next()).toEqual([103, 5, { status_code: 1003 }, 'unknown event']);
      await expectAnswers(raw);
    });
  });

  describe('the limit of connections', () => {
    it('refuses connections beyond the limit with the text of rap, and serves the others', async () => {
      await start({ limits: { maxConnections: 3 } });
      const admitted = [await openRaw(app), await openRaw(app)];
      for (let i = 1; i <= 5; i++) {
        const refused = await connectRaw(app);
        expect(await refused.closeReason()).toBe(CloseReason.TooManyConnections);
        await refused.waitClosed();
        expect(app.server.stats()).toMatchObject({ connections: 3, refusedConnections: i });
      }
      for (const raw of admitted) await expectAnswers(raw);
      expect(app.log.lines).toEqual([]);

      admitted[0]?.destroy();
      await until(() => app.server.stats().connections === 2, 'room for one more');
      await expectAnswers(await openRaw(app));
    });

    it('refuses connections of one address only, if that address has too many', async () => {
      await start({ limits: { maxConnectionsPerAddress: 3 } });
      const admitted = [await openRaw(app), await openRaw(app)];
      const refused = await connectRaw(app);
      expect(await refused.closeReason()).toBe(CloseReason.TooManyConnectionsOfAddress);
      const other = await connectRaw(app, '127.0.0.2');
      other.send(DECLARE);
      await other.answer(3);
      for (const raw of [...admitted, other]) await expectAnswers(raw);

      admitted[0]?.destroy();
      await until(() => app.server.stats().connections === 3, 'room for one more of the address');
      await expectAnswers(await openRaw(app));
      expect(await (await connectRaw(app)).closeReason()).toBe(CloseReason.TooManyConnectionsOfAddress);
    });

    it('counts the clients of a Unix socket as no address: they have none', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'rap-'));
      atCleanUp(() => rm(folder, { recursive: true, force: true }));
      const path = join(folder, 'socket');
      await startApp({ path, limits: { maxConnections: 3, maxConnectionsPerAddress: 1 } });
      const clients = [1, 2, 3, 4].map(() => app.client({ path, reconnect: false }));
      for (const client of clients.slice(0, 3)) expect(await client.call('echo', 1)).toBe(1);
      await expect(clients[3]?.call('echo', 1)).rejects.toThrow(CloseReason.TooManyConnections);
    });

    it('gets rid of a client over TLS that it refuses as soon as of any other', async () => {
      const authority = new TestAuthority();
      const tlsOptions = authority.issue({ commonName: 'server', names: ['127.0.0.1'] });
      await startApp({
        tls: tlsOptions,
        limits: { maxConnections: 1, writeStallTimeoutMs: 3_600_000 },
      });
      const admitted = app.client({ tls: { ca: authority.cert } });
      expect(await admitted.call('echo', 1)).toBe(1);
      const { port } = app;
      // reads nothing, and does not close
      const refused = tls.connect({
        port,
        host: '127.0.0.1',
        ca: authority.cert,
        allowHalfOpen: true,
      } as object);
      atCleanUp(() => refused.destroy());
      await once(refused, 'secureConnect');
      refused.pause();
      await until(() => app.server.stats().refusedConnections === 1, 'the refusal');
      const since = performance.now();
      while ((await sockets()) > 1) {
        if (performance.now() - since > 15_000) throw new Error('a refused connection is held');
        await pass(10);
      }
    });

    it('gets rid of a flood: of those who do not read, and of those who go on sending', async () => {
      const time = stopTime();
      await start({ limits: { maxConnections: 10 } });
      const refused = [];
      for (let i = 0; i < 9; i++) await openRaw(app);
      for (let i = 0; i < 200; i++) {
        const raw = await connectRaw(app);
        if (i % 3 === 0) raw.socket.pause();
        if (i % 3 === 1) raw.bytes(Buffer.alloc(20_000, 0x91));
        if (i % 3 === 2) raw.send(DECLARE, call(5, 'hold', null));
        refused.push(raw);
      }
      await until(() => app.server.stats().refusedConnections === 200, 'all to be refused');
      await background.goesOn();
      // those who do not read have a moment for the words that say why, and no more
      time.pass(50);
      expect(await sockets()).toBeGreaterThan(10);
      time.pass(50);
      while ((await sockets()) > 10) await background.goesOn();
      expect(app.server.stats()).toMatchObject({ connections: 10, refusedConnections: 200 });
      expect(seen.started).toBe(0);
      expect(app.log.lines).toEqual([]);
      await Promise.all(refused.filter((_, i) => i % 3 !== 0).map((raw) => raw.waitClosed()));
    });

    it('bounds the connections that have not said DECLARE: the oldest goes', async () => {
      await start({ limits: { maxPendingHandshakes: 2 } });
      const pending = [await connectRaw(app), await connectRaw(app)];
      await until(() => app.server.stats().connections === 3, 'two handshakes to wait');
      const third = await connectRaw(app);
      // the oldest makes room for the next one
      await pending[0]?.waitClosed();
      expect(app.server.stats().refusedConnections).toBe(1);

      // both ways out of a handshake make room
      third.send(DECLARE);
      await third.answer(3);
      pending[1]?.destroy();
      await until(() => app.server.stats().connections === 2, 'one to be gone');
      const [next, last] = [await openRaw(app), await openRaw(app)];
      await expectAnswers(next);
      await expectAnswers(last);
      expect(app.server.stats().refusedConnections).toBe(1);
    });
  });

  describe('the log', () => {
    it('says nothing of health probes that connect and go', async () => {
      await start({});
      const events: string[] = [];
      app.server.on('connection', () => events.push('connection'));
      app.server.on('disconnect', () => events.push('disconnect'));
      for (let i = 0; i < 20; i++) {
        const probe = await connectRaw(app);
        if (i % 2 === 0) probe.socket.end();
        else probe.socket.resetAndDestroy();
        await probe.waitClosed();
      }
      await until(() => app.server.stats().connections === 1, 'the probes to be gone');
      expect(app.log.lines).toEqual([]);
      expect(events).toEqual([]);
    });

    it('writes one line for a target that is not there and one for the end of a connection', async () => {
      await start({});
      const raw = await openRaw(app);
      for (let id = 5; id < 2005; id += 2) raw.send(call(id, 'nothing', null));
      await raw.answer(2003);
      raw.bytes('c1');
      await raw.waitClosed();
      await until(() => app.server.stats().connections === 1, 'the connection to be gone');
      expect(app.log.lines).toHaveLength(2);
    });

    it('lets no peer write lines of its own', async () => {
      await start({});
      const raw = await openRaw(app);
      raw.send(call(5, '\nerror Forged: \u001b[31mthe database is gone\r\n', null));
      expect((await raw.answer(5))[2]['status_code']).toBe(404);
      expect(app.log.lines).toHaveLength(1);
      // oxlint-disable-next-line no-control-regex -- that is what must not be there
      expect(app.log.lines[0]).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
    });

    it('bounds a line', async () => {
      await start({});
      const raw = await openRaw(app);
      raw.send(call(5, 'x'.repeat(7000), null));
      const answer = await raw.answer(5);
      expect((answer[3] as string).length).toBeLessThan(1024);
      expect(app.log.lines).toHaveLength(1);
      expect(app.log.lines[0]?.length).toBeLessThan(1024);
    });
  });
});

describe('a client', () => {
  it('gives up a server that accepts and says nothing', async () => {
    const server = await startScript(() => {});
    const client = startClient(server.port, { limits: { openTimeoutMs: 150 } });
    const [connected, called] = await Promise.allSettled([client.connect(), client.call('echo', 1)]);
    for (const outcome of [connected, called]) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: {
          name: 'ConnectionLostError',
          sent: 'no',
          message: expect.stringContaining('DECLARE') as string,
        },
      });
    }
    await server.peers[0]?.waitClosed();
    expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  });

  it('gives up a TLS handshake that does not come', async () => {
    const held: net.Socket[] = [];
    const server = net.createServer((socket) => void held.push(socket.resume())).listen(0, '127.0.0.1');
    atCleanUp(() => {
      for (const socket of held) socket.destroy();
      server.close();
    });
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    const client = startClient(port, { tls: true, limits: { connectTimeoutMs: 150 } });
    await expect(client.connect()).rejects.toMatchObject({
      name: 'ConnectionLostError',
      sent: 'no',
      cause: { code: 'ETIMEDOUT' },
    });
  });

  it('lets a call end before the server does', async () => {
    const server = await startScript(() => {});
    const client = startClient(server.port, { callTimeoutMs: 100 });
    await expect(client.call('echo', 1)).rejects.toMatchObject({
      name: 'CallTimeoutError',
      phase: 'connect',
    });
  });

  it('tells the text of rap, and comes back when there is room', async () => {
    await startApp({ limits: { maxConnections: 1 } });
    const holder = await openRaw(app);
    const client = app.client({ reconnect: { baseDelayMs: 5, maxDelayMs: 20 } });
    await expect(client.call('echo', 1)).rejects.toMatchObject({
      name: 'ConnectionLostError',
      sent: 'no',
      message: expect.stringContaining(CloseReason.TooManyConnections) as string,
    });
    holder.destroy();
    await until(() => app.server.stats().connections === 0, 'room');
    expect(await client.call('echo', 2)).toBe(2);
  });

  it('waits with its calls when it is refused after it was connected', async () => {
    let connections = 0;
    const server = await startScript(async (peer) => {
      connections += 1;
      if (connections > 1 && connections < 4) {
        peer.send([203, 4, { target: '/_event/CLOSE' }, CloseReason.TooManyConnections]);
        peer.socket.end();
        return;
      }
      await answerDeclare(peer);
      const [, id, , body] = await peer.next((frame) => frame[0] === 101);
      peer.send([101, id, {}, body]);
      if (connections === 1) peer.socket.end();
    });
    const client = startClient(server.port, { reconnect: { baseDelayMs: 5, maxDelayMs: 20 } });
    const lost = new Promise<void>((resolve) => client.on('reconnecting', () => resolve()));
    expect(await client.call('echo', 1)).toBe(1);
    await lost;
    expect(await client.call('echo', 2)).toBe(2);
    expect(connections).toBe(4);
  });

  it.each<[string, RawFrame]>([
    ['an answer to a call', [101, 3, {}, 1]],
    ['a channel', [102, 3, { channel_life_cycle: 'DECLARE' }, null]],
  ])('refuses %s before the answer to DECLARE', async (_name, frame) => {
    const server = await startScript((peer) => peer.send(frame));
    const client = startClient(server.port);
    const error = await client.connect().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ConnectionLostError);
    expect(error).toMatchObject({
      sent: 'no',
      message: `cannot connect to 127.0.0.1:${server.port}: the first frame must answer DECLARE`,
    });
    await server.peers[0]?.waitClosed();
  });

  it('takes no for an answer to DECLARE', async () => {
    const server = await startScript(async (peer) => {
      const [, id] = await peer.next();
      peer.send([103, id, { status_code: 401 }, 'who are you?']);
    });
    const client = startClient(server.port);
    await expect(client.connect()).rejects.toMatchObject({
      name: 'ConnectionLostError',
      sent: 'no',
      message: `cannot connect to 127.0.0.1:${server.port}: who are you?`,
    });
  });

  it('makes nothing of odd answers to DECLARE, unknown events and answers to nothing', async () => {
    const server = await startScript(async (peer) => {
      const [, declareId] = await peer.next();
      peer.send([103, declareId, {}, ['odd']]);
      peer.send([103, declareId, {}, { conn_id: 'again' }], [103, 77, {}, null]);
      peer.send([203, 4, { target: '/_event/nonsense' }, null], [203, 6, { target: 7 }, null]);
      peer.send([203, 8, { target: '/_event/Server Error' }, 'oops'], [203, 10, {}, null]);
      const [, id, , body] = await peer.next((frame) => frame[0] === 101);
      peer.send([101, id, {}, body]);
    });
    const client = startClient(server.port);
    expect(await client.call('echo', 5)).toBe(5);
  });
});
