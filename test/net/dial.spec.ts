import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dial } from '../../lib/net/dial.js';
import type { SocketLink } from '../../lib/net/socket-link.js';
import type { Endpoint } from '../../lib/net/address.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { FakeClock } from '../helpers/fake-clock.js';
import { listen, type LoggedServer } from './socket-servers.js';

const OPTIONS = { limits: DEFAULT_LIMITS, clock: systemClock, connectTimeoutMs: 5_000 };

let server: LoggedServer | undefined;

afterEach(async () => {
  await server?.close();
  server = undefined;
});

function connect(endpoint: Endpoint, connectTimeoutMs = 5_000): Promise<SocketLink> {
  return dial(endpoint, { ...OPTIONS, connectTimeoutMs });
}

it('connects, and knows both ends', async () => {
  server = await listen();
  const { link } = await server.dial();
  const remote = await server.connection();
  expect(link.remote).toEqual({ address: '127.0.0.1', port: server.port, family: 'IPv4' });
  expect(remote.link.remote).toEqual({ address: '127.0.0.1', port: link.local.port, family: 'IPv4' });
  link.send(101, 3, { target: '/default/x' }, 'hello');
  await remote.until(() => remote.frames.length > 0);
  expect(remote.frames).toEqual([[101, 3, { target: '/default/x' }, 'hello']]);
});

it('connects to a name', async () => {
  server = await listen({ endpoint: { host: 'localhost', port: 0 } });
  const { link } = await server.dial({ host: 'localhost' });
  expect(link.remote.port).toBe(server.port);
});

it('refuses with the code of Node if nobody listens', async () => {
  const gone = await listen();
  const { port } = gone;
  await gone.close();
  await expect(connect({ host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

it('refuses a port that is none', async () => {
  await expect(connect({ host: '127.0.0.1', port: 70_000 })).rejects.toMatchObject({
    code: 'ERR_SOCKET_BAD_PORT',
  });
});

describe('a Unix socket', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'rap-'));
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  it('is reached by its path', async () => {
    const path = join(folder, 's');
    server = await listen({ endpoint: { path } });
    const client = await server.dial();
    const remote = await server.connection();
    expect(client.link.remote).toEqual({ address: path, port: 0, family: 'unix' });
    expect(remote.link.remote).toEqual({ address: path, port: 0, family: 'unix' });
    remote.link.send(203, 4, { target: '/_event/ping' }, '');
    await client.until(() => client.frames.length > 0);
    expect(client.frames).toEqual([[203, 4, { target: '/_event/ping' }, '']]);
  });

  it('that is not there is refused with the code of Node', async () => {
    await expect(connect({ path: join(folder, 'nobody') })).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('a listener that accepts nothing', () => {
  let child: ChildProcess;
  let port: number;

  beforeEach(async () => {
    // its event loop stands still, so its backlog fills up and stays full
    const script = `
      const server = require('node:net').createServer();
      server.listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => {
        require('node:fs').writeSync(1, String(server.address().port) + '\\n');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20_000);
      });`;
    child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    port = await new Promise((resolve) => {
      child.stdout?.once('data', (line: Buffer) => resolve(Number(String(line))));
    });
  });

  afterEach(async () => {
    const gone = new Promise((resolve) => void child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  });

  /** Opens connections until the kernel answers no more. */
  async function fill(): Promise<net.Socket[]> {
    const sockets: net.Socket[] = [];
    for (let i = 0; i < 20; i++) {
      const socket = net.connect({ host: '127.0.0.1', port });
      socket.on('error', () => {});
      sockets.push(socket);
      for (let waited = 0; socket.connecting && waited < 15; waited++) {
        await new Promise((resolve) => void setTimeout(resolve, 20));
      }
      if (socket.connecting) return sockets;
    }
    return sockets;
  }

  it('is given up after connectTimeoutMs, with the place in the message', async () => {
    const sockets = await fill();
    try {
      await expect(connect({ host: '127.0.0.1', port }, 300)).rejects.toMatchObject({
        code: 'ETIMEDOUT',
        message: `no connection to 127.0.0.1:${port} within 300 ms`,
      });
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });
});

it('speaks no TLS if that is switched off, whatever switches it off', async () => {
  server = await listen();
  for (const tls of [false, null]) await server.dial({ tls: tls as never });
  expect(await server.connection(1)).toBeDefined();
});

it('gives up a server that takes the connection and never shakes hands', async () => {
  const silent = net.createServer();
  const sockets: net.Socket[] = [];
  silent.on('connection', (socket) => sockets.push(socket.on('error', () => {})));
  await new Promise<void>((resolve) => void silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as net.AddressInfo;
  const clock = new FakeClock();
  const result = dial({ host: '127.0.0.1', port }, { ...OPTIONS, clock, connectTimeoutMs: 5_000, tls: true });
  while (sockets.length === 0) await new Promise((resolve) => void setTimeout(resolve, 2));
  clock.advance(5_000);
  await expect(result).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  expect(clock.pending).toBe(0);
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => void silent.close(resolve));
});

it('leaves no timer behind, whether it connects or not', async () => {
  server = await listen();
  const clock = new FakeClock();
  const link = await dial({ host: '127.0.0.1', port: server.port }, { ...OPTIONS, clock });
  expect(clock.pending).toBe(0);
  link.destroy();
  const { port } = server;
  await server.close();
  await expect(dial({ host: '127.0.0.1', port }, { ...OPTIONS, clock })).rejects.toThrow('ECONNREFUSED');
  expect(clock.pending).toBe(0);
});

describe('over a real socket', () => {
  it('frames of one tick leave in one write', async () => {
    server = await listen();
    const client = await server.dial();
    const remote = await server.connection();
    const socket = client.link.unwrap();
    let writes = 0;
    const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
    socket.write = (...args: unknown[]) => {
      writes += 1;
      return write(...args);
    };
    for (let i = 0; i < 200; i++) client.link.send(101, 3 + 2 * i, null, i);
    await remote.until(() => remote.frames.length === 200);
    expect(writes).toBeLessThanOrEqual(2); // two if the slab of the encoder ends in between
    expect(remote.frames.map(([, , , body]) => body)).toEqual(Array.from({ length: 200 }, (_, i) => i));
  });

  it('keeps the order and every byte, both ways at once, with bodies from nothing to 3 MiB', async () => {
    server = await listen();
    const client = await server.dial();
    const remote = await server.connection();
    const sizes = [0, 1, 100, 5_000, 70_000, 3_000_000, 10, 65_536, 65_535, 1_000_000, 2];
    const bodies = sizes.map((size, i) => Buffer.alloc(size, i));
    for (const [i, body] of bodies.entries()) {
      client.link.send(101, 3 + i, null, body);
      remote.link.send(101, 3 + i, null, body);
      if (i % 3 === 0) await new Promise((resolve) => void setImmediate(resolve));
    }
    for (const { frames, until } of [client, remote].map((log) => ({
      frames: log.frames,
      until: log.until.bind(log),
    }))) {
      await until(() => frames.length === bodies.length);
      expect(frames.map(([, id]) => id)).toEqual(sizes.map((_, i) => 3 + i));
      expect(frames.every(([, , , body], i) => (bodies[i] as Buffer).equals(body as Buffer))).toBe(true);
    }
  });

  it('drops a peer that takes nothing for writeStallTimeoutMs', async () => {
    server = await listen({ limits: { ...DEFAULT_LIMITS, writeStallTimeoutMs: 200 } });
    const client = await server.dial();
    const remote = await server.connection();
    client.link.unwrap().pause();
    for (let i = 0; i < 8; i++) remote.link.send(101, 3, null, Buffer.alloc(4_000_000));
    await remote.until(() => remote.closed, 'the end');
    expect(remote.error?.message).toContain('writeStallTimeoutMs');
  });

  it('writes the last words before the end, and the other side learns of the end', async () => {
    server = await listen();
    const client = await server.dial();
    const remote = await server.connection();
    remote.link.send(101, 3, null, Buffer.alloc(2_000_000));
    remote.link.send(203, 4, { target: '/_event/CLOSE' }, 'bye');
    remote.link.end();
    await client.until(() => client.closed, 'the end');
    expect(client.frames.map(([, id]) => id)).toEqual([3, 4]);
    expect(client.error).toBeUndefined();
    await remote.until(() => remote.closed, 'the end');
  });
});
