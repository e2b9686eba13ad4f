import net from 'node:net';
import tls from 'node:tls';
import { within } from '../helpers/async.js';
import { TestAuthority } from '../helpers/certificates.js';
import { DECLARE, pack } from '../helpers/raw-socket.js';
import { listen, type LoggedServer } from './socket-servers.js';

const authority = new TestAuthority();
const identity = authority.issue({ commonName: 'server', names: ['localhost', '127.0.0.1'] });
const alice = authority.issue({ commonName: 'alice' });
const stranger = new TestAuthority('another authority').issue({ commonName: 'mallory' });

let server: LoggedServer;

afterEach(() => server.close());

const secure = (options: tls.TlsOptions = {}): Promise<LoggedServer> =>
  listen({ tls: { ...identity, ...options } });

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** A socket that speaks no TLS. */
async function plainSocket(port: number): Promise<net.Socket> {
  const socket = net.connect({ host: '127.0.0.1', port }).on('error', () => {});
  await new Promise((resolve) => void socket.once('connect', resolve));
  return socket;
}

it('carries frames, for a client that knows the authority', async () => {
  server = await secure();
  const client = await server.dial({ tls: { ca: authority.cert } });
  const remote = await server.connection();
  client.link.send(101, 3, { target: '/default/x' }, Buffer.alloc(300_000, 1));
  await remote.until(() => remote.frames.length > 0);
  expect(remote.frames.map(([, , , body]) => Buffer.alloc(300_000, 1).equals(body as Buffer))).toEqual([
    true,
  ]);
  expect((client.link.unwrap() as tls.TLSSocket).getProtocol()).toMatch(/^TLSv1\.[23]$/);
});

it('verifies the name, for a client that dials one', async () => {
  server = await secure();
  const client = await server.dial({ host: 'localhost', tls: { ca: authority.cert } });
  expect((client.link.unwrap() as tls.TLSSocket).authorized).toBe(true);
});

it('refuses a certificate of an authority that it does not know', async () => {
  server = await secure();
  await expect(server.dial({ tls: true })).rejects.toMatchObject({
    code: expect.stringMatching(/UNABLE_TO|SELF_SIGNED/) as string,
  });
});

it('refuses a certificate for another name', async () => {
  const other = authority.issue({ commonName: 'other', names: ['other.example'] });
  server = await listen({ tls: { ...other } });
  await expect(server.dial({ tls: { ca: authority.cert } })).rejects.toMatchObject({
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  });
});

it('takes no TLS older than 1.2', async () => {
  server = await secure();
  await expect(
    server.dial({ tls: { ca: authority.cert, minVersion: 'TLSv1', maxVersion: 'TLSv1.1' } }),
  ).rejects.toThrow(/./);
  await pause(20);
  expect(server.logs).toEqual([]);
});

describe('client certificates', () => {
  it('name the client, if they were verified', async () => {
    server = await secure({ requestCert: true, ca: authority.cert });
    await server.dial({ tls: { ca: authority.cert, ...alice } });
    expect((await server.connection()).link.remote.tlsSubject).toMatchObject({ CN: 'alice' });
  });

  it('name nobody if they were not, though the server lets them in', async () => {
    server = await secure({ requestCert: true, rejectUnauthorized: false, ca: authority.cert });
    await server.dial({ tls: { ca: authority.cert, ...stranger } });
    expect((await server.connection()).link.remote.tlsSubject).toBeUndefined();
  });

  it('are not asked for unless the server does', async () => {
    server = await secure();
    await server.dial({ tls: { ca: authority.cert, ...alice } });
    expect((await server.connection()).link.remote.tlsSubject).toBeUndefined();
  });

  it('that are missing or of a stranger keep the client out', async () => {
    server = await secure({ requestCert: true, ca: authority.cert });
    for (const own of [{}, stranger]) {
      // with TLS 1.3 the client learns of it after its own half of the handshake
      const client = await server.dial({ tls: { ca: authority.cert, ...own } }).catch(() => undefined);
      await client?.until(() => client.closed, 'the end');
    }
    expect(server.logs).toEqual([]);
  });
});

describe('a peer that speaks no TLS', () => {
  it('is dropped when it says DECLARE in plain text, and the others are served', async () => {
    server = await secure();
    const socket = await plainSocket(server.port);
    const closed = new Promise((resolve) => void socket.once('close', resolve));
    socket.write(pack(DECLARE));
    await closed;
    expect(server.logs).toEqual([]);
    const client = await server.dial({ tls: { ca: authority.cert } });
    const remote = await server.connection();
    client.link.send(101, 3, null, 1);
    await remote.until(() => remote.frames.length === 1);
  });

  it('is dropped in the middle of its handshake by a reset, too', async () => {
    server = await secure();
    const socket = await plainSocket(server.port);
    socket.write(Buffer.from('160301020001', 'hex')); // the head of a ClientHello
    await pause(10);
    socket.resetAndDestroy();
    await pause(10);
    await server.dial({ tls: { ca: authority.cert } });
    expect(await server.connection()).toBeDefined();
  });

  it('does not keep the server from closing while it says nothing', async () => {
    server = await secure();
    const socket = await plainSocket(server.port);
    await pause(20);
    await within('the server is closed', server.close());
    socket.destroy();
  });
});

it('a TLS client on a plain port is an error of the client, and a fault for the server', async () => {
  server = await listen();
  await expect(server.dial({ tls: { ca: authority.cert } })).rejects.toThrow(/./);
  const remote = await server.connection();
  await remote.until(() => remote.closed, 'the end');
  expect(remote.frames).toEqual([]);
  expect(remote.faults).toHaveLength(1);
});
