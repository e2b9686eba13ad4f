import type { AddressInfo } from 'node:net';
import { SocketServer } from '../../lib/net/socket-server.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { listen } from './socket-servers.js';

const OPTIONS = { limits: DEFAULT_LIMITS, clock: systemClock, onLink: () => {}, onError: () => {} };

it('takes a free port and says which', async () => {
  const server = new SocketServer({ ...OPTIONS, endpoint: { host: '127.0.0.1', port: 0 } });
  const address = (await server.listen()) as AddressInfo;
  expect(address).toMatchObject({ address: '127.0.0.1', family: 'IPv4' });
  expect(address.port).toBeGreaterThan(0);
  await server.close();
});

it('fails with the code of Node if the address is taken, and can be closed then', async () => {
  const first = await listen();
  const second = new SocketServer({ ...OPTIONS, endpoint: { host: '127.0.0.1', port: first.port } });
  await expect(second.listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });
  await second.close();
  await first.close();
});

it('closes before it listened, and twice', async () => {
  const never = new SocketServer({ ...OPTIONS, endpoint: { host: '127.0.0.1', port: 0 } });
  await never.close();
  const server = await listen();
  await Promise.all([server.close(), server.close()]);
  await server.close();
});

it('destroys what is open when it closes', async () => {
  const server = await listen();
  const clients = [await server.dial(), await server.dial()];
  await server.connection(1);
  await server.server.close();
  for (const client of clients) await client.until(() => client.closed, 'the end');
  for (const log of server.logs) expect(log.closed).toBe(true);
  await server.close();
});

it('accepts nothing more after stopListening, while what is open goes on', async () => {
  const server = await listen();
  const client = await server.dial();
  const remote = await server.connection();
  server.server.stopListening();
  await expect(server.dial()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  client.link.send(101, 3, null, 'still here');
  await remote.until(() => remote.frames.length === 1);
  await server.close();
});

it('is closed only when every connection is gone, also after stopListening', async () => {
  const server = await listen();
  await server.dial();
  const remote = await server.connection();
  server.server.stopListening();
  await server.server.close();
  expect(remote.closed).toBe(true);
  await server.close();
});

it('reports faults of the listening socket and lives on', async () => {
  const errors: Error[] = [];
  const server = await listen({ onError: (error) => errors.push(error) });
  const fault = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' });
  server.server.server.emit('error', fault);
  expect(errors).toEqual([fault]);
  await server.dial();
  await server.connection();
  await server.close();
});
