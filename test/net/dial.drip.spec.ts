import { once } from 'node:events';
import net from 'node:net';
import { dial } from '../../lib/net/dial.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';

it('the time to connect is not prolonged by a server that drips its TLS handshake', async () => {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.write(Buffer.from([0x16, 0x03, 0x03, 0x40, 0x00, 0x02, 0x00, 0x3f, 0xfc])); // a long record begins
    const timer = setInterval(() => socket.write(Buffer.alloc(1)), 5);
    socket.once('close', () => clearInterval(timer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const options = { limits: DEFAULT_LIMITS, clock: systemClock, connectTimeoutMs: 300, tls: true } as const;
  await expect(dial({ host: '127.0.0.1', port }, options)).rejects.toMatchObject({
    code: 'ETIMEDOUT',
    message: `no connection to 127.0.0.1:${port} within 300 ms`,
  });
  server.close();
  await once(server, 'close');
});
