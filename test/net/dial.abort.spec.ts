import { once } from 'node:events';
import net from 'node:net';
import { dial, type DialOptions } from '../../lib/net/dial.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';

const server = net.createServer((socket) => socket.on('error', () => {}));
const host = '127.0.0.1';
let port: number;
beforeAll(async () => {
  server.listen(0, host);
  await once(server, 'listening');
  ({ port } = server.address() as net.AddressInfo);
});
afterAll(async () => {
  server.close();
  await once(server, 'close');
});

function dialling(options: Partial<DialOptions> = {}) {
  const aborting = new AbortController();
  const { signal } = aborting;
  const defaults = { limits: DEFAULT_LIMITS, clock: systemClock, connectTimeoutMs: 60_000 };
  return { aborting, link: dial({ host, port }, { ...defaults, signal, ...options }) };
}

it('an attempt that nobody waits for gives its socket up while it connects', async () => {
  const { aborting, link } = dialling();
  aborting.abort();
  await expect(link).rejects.toThrow(`nobody waits for ${host}:${port} any more`);
});

it('so does one in a TLS handshake', async () => {
  const accepted = once(server, 'connection') as Promise<[net.Socket]>;
  const { aborting, link } = dialling({ tls: true });
  const [socket] = await accepted;
  await once(socket, 'readable'); // the handshake has begun
  aborting.abort();
  await expect(link).rejects.toThrow(`nobody waits for ${host}:${port} any more`);
  socket.resume();
  await once(socket, 'close');
});

it('a connection that is open stays open', async () => {
  const accepted = once(server, 'connection') as Promise<[net.Socket]>;
  const { aborting, link } = dialling();
  const open = await link;
  const [socket] = await accepted;
  aborting.abort();
  open.send(101, 3, { target: '/default/x' }, 'hello');
  await once(socket, 'readable');
  open.destroy();
  socket.resume();
  await once(socket, 'close');
});
