import 'reflect-metadata';
import net from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { ConnectionMiddleware, type RapClient, type RapConnection, RapServer } from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope, turn, within } from '../../helpers/async.js';
import { TestAuthority } from '../../helpers/certificates.js';
import { DECLARE, RawSocket } from '../../helpers/raw-socket.js';
import { collect } from '../../helpers/streams.js';

const scope = testScope();

let finish = new Gate();
const ran: unknown[] = [];
beforeEach(() => {
  finish = new Gate();
  ran.splice(0);
});

@Controller()
class Handlers {
  @MessagePattern('wait') async wait(@Payload() n: unknown): Promise<unknown> {
    ran.push(n);
    await finish.opened;
    return n;
  }
  @MessagePattern('feed') async *feed(@Payload() n: number): AsyncGenerator<number> {
    ran.push(n);
    yield 0;
    await finish.opened;
    for (let i = 1; i < n; i++) yield i;
  }
}

it('1,000 calls in flight of ten clients, and streams, are answered exactly once', async () => {
  const { server, client } = await scope.serve([Handlers], { closeTimeoutMs: 10_000 });
  const clients = Array.from({ length: 10 }, () => client());
  const calls = Array.from({ length: 1_000 }, (_, i) => (clients[i % 10] as RapClient).call('wait', i));
  const feeds = clients.map((rap) => collect(rap.stream('feed', 5)));
  await eventually('all run', () => ran.length === 1_010);

  const drained = Promise.all([server.drain(), server.drain(), server.close(), server.close()]);
  await eventually('all know', () => server.stats().draining && server.address() === null);
  finish.open();

  expect(await Promise.all(calls)).toEqual(calls.map((_, i) => i));
  expect(await Promise.all(feeds)).toEqual(feeds.map(() => [0, 1, 2, 3, 4]));
  await within('the drain', drained);
  expect(ran).toHaveLength(1_010);
  expect(server.stats()).toMatchObject({ connections: 0, inFlight: 0, refusedCalls: 0 });
});

it('calls that are sent while it begins are answered, or were not sent', async () => {
  const { server, client } = await scope.serve([Handlers], { closeTimeoutMs: 10_000 });
  finish.open();
  const clients = Array.from({ length: 5 }, () => client({ reconnect: false }));
  await Promise.all(clients.map((rap) => rap.connect()));
  const outcomes: unknown[] = [];
  let n = 0;
  const load = clients.map(async (rap) => {
    for (;;) {
      const id = (n += 1);
      const outcome = await rap.call('wait', id).catch((error: unknown) => error);
      outcomes.push(outcome);
      if (outcome !== id) return;
    }
  });
  await eventually('load', () => outcomes.length > 100);

  await server.drain();
  await Promise.all(load);

  const failed = outcomes.filter((outcome) => typeof outcome !== 'number');
  for (const error of failed) expect(error).toMatchObject({ sent: 'no' });
  expect(ran).toHaveLength(outcomes.length - failed.length);
});

it('a client that ignores it is refused, and may repeat; what it had sent is answered', async () => {
  const { server, port } = await scope.serve([Handlers], { closeTimeoutMs: 10_000 });
  const raw = await RawSocket.open(port);
  scope.defer(() => raw.socket.destroy());
  raw.send([101, 5, { target: '/default/wait' }, 'sent before']);
  await eventually('it runs', () => ran.length === 1);

  const drained = server.drain();
  const [, fence] = await raw.next((frame) => frame[0] === 203 && frame[2]['target'] === '/_event/ping');
  raw.send([101, 7, { target: '/default/wait' }, 'before the fence']);
  raw.send([203, fence, { target: '/_event/ping' }, '']);
  raw.send([101, 9, { target: '/default/wait' }, 'after it']);

  const [, , header] = await raw.next((frame) => frame[0] === 101 && frame[1] === 9);
  expect(header).toMatchObject({ status_code: 429, error: { code: 'ERR_RAP_DRAINING', refused: true } });
  finish.open();
  expect(await raw.next((frame) => frame[1] === 5)).toEqual([101, 5, {}, 'sent before']);
  expect(await raw.next((frame) => frame[1] === 7)).toEqual([101, 7, {}, 'before the fence']);
  await within('the drain', drained);
  expect(ran).toEqual(['sent before', 'before the fence']);
  expect(server.stats().refusedCalls).toBe(1);
});

it('a call that waits for its connection to be admitted is not run, and was not sent', async () => {
  const admit = new Gate();
  class Slow extends ConnectionMiddleware {
    override async use(_connection: RapConnection, next: () => Promise<void>): Promise<void> {
      await admit.opened;
      return next();
    }
  }
  const { server, client } = await scope.serve([Handlers], { middleware: [new Slow()] });
  const call = rejection(client({ reconnect: false }).call('wait', 1));
  await eventually('the connection', () => server.stats().connections === 1);

  await within('the drain', server.drain());
  admit.open();

  expect(await call).toMatchObject({ sent: 'no' });
  expect(ran).toEqual([]);
});

it('a connection that is in its TLS handshake then is refused', async () => {
  const authority = new TestAuthority();
  const identity = authority.issue({ commonName: 'server', names: ['127.0.0.1'] });
  const { server, port } = await scope.serve([Handlers], { tls: identity });
  const opened: unknown[] = [];
  server.on('connection', (connection) => opened.push(connection));
  const arrived = new Promise((resolve) => server.unwrap().once('connection', resolve));
  const socket = net.connect({ port, host: '127.0.0.1' });
  scope.defer(() => socket.destroy());
  await arrived;

  await server.drain();
  const raw = new RawSocket(connectTls({ socket, ca: authority.cert, host: '127.0.0.1' }));
  raw.send(DECLARE);

  const [, , , reason] = await raw.next((frame) => frame[2]['target'] === '/_event/CLOSE');
  expect(reason).toBe('server shutdown');
  expect(opened).toEqual([]);
  expect(server.stats()).toMatchObject({ draining: true, refusedConnections: 1 });
});

it('stats() says that it drains, from the first moment until it listens again', async () => {
  const server = new RapServer({ host: '127.0.0.1', port: 0 });
  const listen = (): Promise<unknown> => new Promise((resolve) => server.listen(resolve));
  expect(server.stats().draining).toBe(false);
  await listen();
  expect(server.stats().draining).toBe(false);
  const drained = server.drain();
  expect(server.stats().draining).toBe(true);
  await within('a drain without a connection', drained);
  await server.close();
  expect(server.stats().draining).toBe(true);
  await listen();
  expect(server.stats().draining).toBe(false);
  await server.close();
});

it('close() waits for what its end is said to wait for, however that ends', async () => {
  const server = new RapServer({ host: '127.0.0.1', port: 0 });
  const leaving = new Gate();
  server.on('draining', () => {
    server.closesAfter(leaving.opened.then(() => Promise.reject(new Error('the registry is gone'))));
  });
  await new Promise((resolve) => server.listen(resolve));
  let isClosed = false;
  const closing = server.close().then(() => (isClosed = true));
  await new Promise<void>((resolve) => server.on('close', resolve));
  await turn();
  expect(isClosed).toBe(false);
  leaving.open();
  await closing;
  await server.close();
});
