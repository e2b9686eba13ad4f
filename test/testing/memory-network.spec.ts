import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { MemoryNetwork } from '../../lib/testing/memory-network.js';
import { turn } from '../helpers/async.js';
import { FakeClock } from '../helpers/fake-clock.js';

interface Pair {
  readonly clock: FakeClock;
  readonly network: MemoryNetwork;
  readonly near: Socket;
  readonly far: Socket;
  readonly server: Server;
}

async function pair(): Promise<Pair> {
  const clock = new FakeClock();
  const network = new MemoryNetwork({ clock, address: '203.0.113.7' });
  const server = createServer();
  network.listen(server);
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const near = network.connect();
  const [far] = await accepted;
  return { clock, network, near, far, server };
}

/** What arrives at a socket, as it comes. */
function received(socket: Socket): string[] {
  const chunks: string[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
  return chunks;
}

async function turns(count = 10): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

it('shows both ends their addresses', async () => {
  const { near, far } = await pair();
  expect([near.localAddress, near.remoteAddress, near.remotePort]).toEqual([
    '203.0.113.7',
    '127.0.0.1',
    9000,
  ]);
  expect([far.remoteAddress, far.remotePort]).toEqual([near.localAddress, near.localPort]);
});

it('does not deliver while it is written to, and delivers what was written then', async () => {
  const { near, far } = await pair();
  const chunks = received(far);
  const memory = Buffer.from('before');
  near.write(memory);
  memory.write('after!');
  expect(chunks).toEqual([]);
  await turns();
  expect(chunks).toEqual(['before']);
});

it('takes 256 KiB that nobody reads; the rest waits for the reader', async () => {
  const { near, far } = await pair();
  let taken = 0;
  for (let i = 0; i < 8; i++) near.write(Buffer.alloc(64 * 1024), () => (taken += 1));
  await turns();
  expect(taken).toBeLessThan(8);
  expect(near.writableLength).toBeGreaterThan(0);
  far.resume();
  await turns();
  expect([taken, near.writableLength]).toEqual([8, 0]);
});

it('keeps the order if the latency becomes less', async () => {
  const { clock, network, near, far } = await pair();
  const chunks = received(far);
  network.latencyMs = 100;
  near.write('first');
  await turns();
  network.latencyMs = 0;
  near.write('second');
  await turns();
  expect(chunks).toEqual([]);
  clock.advance(100);
  await turns();
  expect(chunks.join(' ')).toBe('first second');
});

it('delivers what was sent before the end', async () => {
  const { near, far, network } = await pair();
  const chunks = received(near);
  far.resume();
  const closed = once(near, 'close');
  far.end('goodbye');
  await closed;
  expect(chunks).toEqual(['goodbye']);
  await turns();
  expect(network.size).toBe(0);
});

it('ends both sides if one is destroyed, and takes what is written to it', async () => {
  const { near, far, network } = await pair();
  far.resume();
  const closed = Promise.all([once(near, 'close'), once(far, 'close')]);
  near.destroy();
  far.write(Buffer.alloc(1024 * 1024));
  await closed;
  expect(network.size).toBe(0);
});

it('breaks both sides with an error', async () => {
  const { near, far, network } = await pair();
  const errors: unknown[] = [];
  near.on('error', (error) => errors.push(error));
  far.on('error', (error) => errors.push(error));
  network.breakAll();
  await turns();
  expect(errors).toMatchObject([{ code: 'ECONNRESET' }, { code: 'ECONNRESET' }]);
});

it('refuses if the server has stopped', async () => {
  const { network } = await pair();
  network.stop();
  const [error] = (await once(network.connect(), 'error')) as [Error];
  expect(error).toMatchObject({ code: 'ECONNREFUSED' });
});

it('accepts nobody who has given up', async () => {
  const { network, server } = await pair();
  let accepted = 0;
  server.on('connection', () => (accepted += 1));
  network.connect().destroy();
  await turns();
  expect(accepted).toBe(0);
});
