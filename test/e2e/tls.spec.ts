import { readFileSync } from 'node:fs';
import net from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { RapServer, type RapClientOptions, type RapContext, type RapServerOptions } from '../../lib/index.js';
import { eventually, type ServedApp, rejection, testScope } from '../helpers/async.js';
import { TestAuthority } from '../helpers/certificates.js';

const authority = new TestAuthority();
const identity = authority.issue({ commonName: 'server', names: ['localhost', '127.0.0.1'] });
const alice = authority.issue({ commonName: 'alice' });
const stranger = new TestAuthority('another authority').issue({
  commonName: 'mallory',
  names: ['localhost', '127.0.0.1'],
});
const { cert: ca } = authority;

@Controller()
class Who {
  @MessagePattern('who')
  who(@Ctx() { peer }: RapContext): unknown {
    return { subject: peer.tlsSubject, tls: peer.tls };
  }

  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }
}

const scope = testScope();
const secure = (tls: RapServerOptions['tls'] = {}, more: RapServerOptions = {}): Promise<ServedApp> =>
  scope.serve([Who], { ...more, tls: { ...identity, ...tls } });

/** What a client of this test's server fails with. */
async function failure(test: ServedApp, options: RapClientOptions): Promise<Error & Record<string, unknown>> {
  const error = await rejection(test.client({ reconnect: false, ...options }).call('echo', 1));
  expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
  return error;
}

it('carries calls to a client that knows the authority, and names nobody without a certificate', async () => {
  const test = await secure();
  const client = test.client({ tls: { ca } });
  expect(await client.call('echo', 'x'.repeat(300_000))).toHaveLength(300_000);
  expect(await client.call('who')).toEqual({
    tls: expect.objectContaining({
      authorized: false,
      protocol: expect.stringMatching(/^TLSv1\.[23]$/) as string,
    }) as object,
  });
  const plain = await scope.serve([Who]);
  expect(await plain.client().call('who')).toEqual({});
});

it('names a client whose certificate was verified: ctx.peer.tls', async () => {
  const test = await secure({ requestCert: true, ca });
  const verified = await test.client({ tls: { ca, ...alice } }).call('who');
  expect(verified).not.toHaveProperty('tls.authorizationError');
  expect(verified).toMatchObject({
    subject: { CN: 'alice' },
    tls: {
      authorized: true,
      subject: { CN: 'alice' },
      issuer: { CN: 'test authority' },
      fingerprint256: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/) as string,
      serialNumber: expect.stringMatching(/^[0-9A-F]+$/) as string,
    },
  });
});

it('shows what a client claims that was let in unverified, and says so', async () => {
  const test = await secure({ requestCert: true, rejectUnauthorized: false, ca });
  const claimed = await test.client({ tls: { ca, ...stranger } }).call('who');
  expect(claimed).not.toHaveProperty('subject');
  expect(claimed).toMatchObject({
    tls: {
      authorized: false,
      authorizationError: expect.stringMatching(/UNABLE|SELF/) as string,
      subject: { CN: 'mallory' },
    },
  });
});

it('keeps out clients without a certificate that the server knows', async () => {
  const test = await secure({ requestCert: true, ca });
  for (const own of [{}, stranger]) await failure(test, { tls: { ca, ...own } });
  await eventually('nobody is connected', () => test.server.stats().connections === 0);
  expect(await test.client({ tls: { ca, ...alice } }).call('echo', 1)).toBe(1);
});

describe('a client verifies by default', () => {
  it.each([
    ['the authority', stranger, true, /UNABLE_TO|SELF_SIGNED/],
    ['the authority', stranger, { ca }, /UNABLE_TO|SELF_SIGNED/],
    [
      'the name',
      authority.issue({ commonName: 'x', names: ['other.example'] }),
      { ca },
      /ERR_TLS_CERT_ALTNAME_INVALID/,
    ],
    [
      'the time',
      authority.issue({ commonName: 'x', names: ['127.0.0.1'], expired: true }),
      { ca },
      /CERT_HAS_EXPIRED/,
    ],
  ] as const)('%s', async (_what, own, tls, code) => {
    const test = await secure(own);
    const { cause, message } = await failure(test, { tls });
    expect((cause as { code: string }).code).toMatch(code);
    expect(message).toContain('cannot connect to 127.0.0.1');
  });

  it('and the certificate that it got is there to see', async () => {
    const test = await secure();
    const seen: unknown[] = [];
    const client = test.client({
      tls: { ca },
      processors: [{ processRequest: (_request, { peer }) => void seen.push(peer.tls) }],
    });
    await client.call('echo', 1);
    expect(seen).toMatchObject([{ authorized: true, subject: { CN: 'server' } }]);
  });
});

/** The name in the certificate that a new client gets. */
const nameOf = async (test: ServedApp, options: RapClientOptions = {}): Promise<unknown> => {
  let name: unknown;
  const client = test.client({
    tls: { ca },
    ...options,
    processors: [{ processRequest: (_request, { peer }) => void (name = peer.tls?.subject?.['CN']) }],
  });
  await client.call('echo', 1);
  return name;
};

describe('a certificate that is changed while the server runs', () => {
  const next = authority.issue({ commonName: 'next', names: ['127.0.0.1'] });

  it('is for new connections, and the open ones go on', async () => {
    const test = await secure();
    const old = test.client({ tls: { ca } });
    await old.connect();
    const socket = old.unwrap();
    test.server.setSecureContext(next);
    expect(await nameOf(test)).toBe('next');
    expect(await old.call('echo', 1)).toBe(1);
    expect(old.unwrap()).toBe(socket);
  });

  it('keeps what was not given: the authority of the clients, and the oldest version', async () => {
    const test = await secure({ requestCert: true, ca });
    test.server.setSecureContext(next);
    expect(await nameOf(test, { tls: { ca, ...alice } })).toBe('next');
    await failure(test, { tls: { ca, ...stranger } });
    await failure(test, { tls: { ca, ...alice, minVersion: 'TLSv1', maxVersion: 'TLSv1.1' } });
  });

  it('takes the place of one that was given as pfx, and the other way round', async () => {
    const bundle = {
      pfx: readFileSync(new URL('../fixtures/bundled.pfx', import.meta.url)),
      passphrase: 'bundle',
    };
    const test = await scope.serve([Who], { tls: bundle });
    const any = { tls: { rejectUnauthorized: false } };
    expect(await nameOf(test, any)).toBe('bundled');
    expect(() => test.server.setSecureContext({ cert: next.cert })).toThrow('tls needs key and cert, or pfx');
    expect(await nameOf(test, any)).toBe('bundled');
    test.server.setSecureContext(next);
    expect(await nameOf(test, any)).toBe('next');
    test.server.setSecureContext(bundle);
    expect(await nameOf(test, any)).toBe('bundled');
  });

  it('must be there when the server starts', async () => {
    for (const tls of [{}, { cert: next.cert }, { ca, requestCert: true }]) {
      const server = new RapServer({ host: '127.0.0.1', port: 0, tls });
      const error = await new Promise((resolve) => server.listen(resolve));
      expect(error).toMatchObject({ message: 'tls needs key and cert, or pfx' });
      server.setSecureContext(next);
      expect(await new Promise((resolve) => server.listen(resolve))).toBeNull();
      await server.close();
    }
  });

  it('holds before listen and after a restart', async () => {
    const server = new RapServer({ host: '127.0.0.1', port: 0, tls: identity });
    server.addHandler('echo', (body: unknown) => Promise.resolve(body as never));
    server.setSecureContext(next);
    for (let i = 0; i < 2; i++) {
      await new Promise((resolve) => server.listen(resolve));
      const { port } = server.address() as net.AddressInfo;
      const test = await secure();
      expect(await nameOf(test, { port })).toBe('next');
      await test.close();
      await server.close();
    }
  });

  it('that is none changes nothing, and neither does a server without TLS', async () => {
    const test = await secure();
    expect(() => test.server.setSecureContext({ cert: next.cert })).toThrow(/key/i);
    expect(() => test.server.setSecureContext({ cert: 'no certificate' })).toThrow(/./);
    expect(await nameOf(test)).toBe('server');
    const plain = await scope.serve([Who]);
    expect(() => plain.server.setSecureContext(next)).toThrow(
      'the server speaks no TLS: give it the option tls',
    );
  });
});

const gone = (socket: net.Socket): Promise<unknown> =>
  new Promise((resolve) => socket.resume().once('close', resolve));

describe('a peer that speaks no TLS', () => {
  it('is dropped when it says nothing, after the time for a handshake, and others are served', async () => {
    const test = await secure({}, { limits: { tlsHandshakeTimeoutMs: 500 } });
    const socket = net.connect(test.port, '127.0.0.1').on('error', () => {});
    await new Promise((resolve) => socket.once('close', resolve));
    expect(await test.client({ tls: { ca } }).call('echo', 1)).toBe(1);
  });

  it('cannot keep others out: the oldest handshake goes, and what has ended makes room', async () => {
    const test = await secure({}, { limits: { maxPendingHandshakes: 5 } });
    const open = (): Promise<net.Socket> =>
      new Promise((resolve) => {
        const socket = net.connect(test.port, '127.0.0.1', () => resolve(socket)).on('error', () => {});
        scope.defer(() => socket.destroy());
      });
    // ended handshakes of every kind hold nothing
    for (let i = 0; i < 10; i++) {
      const socket = await open();
      socket.write('this is no TLS');
      await gone(socket);
      await test.client({ tls: { ca } }).call('echo', i);
    }
    const silent: net.Socket[] = [];
    for (let i = 0; i < 25; i++) silent.push(await open());
    await eventually('the oldest are gone', () => silent.slice(0, 20).every(({ closed }) => closed));
    expect(silent.slice(20).map((socket) => socket.closed)).toEqual(Array(5).fill(false));
    // others get in meanwhile
    expect(await test.client({ tls: { ca } }).call('echo', 1)).toBe(1);
    for (const socket of silent) socket.destroy();
    let left = Infinity;
    await eventually('they are gone', () => {
      test.server.unwrap().getConnections((_error, count) => (left = count));
      return left === 11; // the clients
    });
    expect(await test.client({ tls: { ca } }).call('echo', 1)).toBe(1);
  });

  it('cannot shake hands again and again', async () => {
    const test = await secure({ maxVersion: 'TLSv1.2' });
    const socket = connectTls({ port: test.port, host: '127.0.0.1', ca });
    scope.defer(() => socket.destroy());
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('secureConnect', resolve));
    const outcome = await new Promise((resolve) => {
      socket.once('close', () => resolve('closed'));
      socket.renegotiate({}, (error) => resolve(error ? 'refused' : 'renegotiated'));
    });
    expect(['closed', 'refused']).toContain(outcome);
  });

  it('as a client of rap loses its connection at once', async () => {
    const test = await secure();
    await failure(test, {});
    expect(test.server.stats().connections).toBe(0);
    expect(test.log.lines).toEqual([]);
  });

  it('as a server is named in the error of the client', async () => {
    const test = await scope.serve([Who]);
    const error = await failure(test, { tls: { ca } });
    expect(error.message).toBe(
      `cannot connect to 127.0.0.1:${test.port}: 127.0.0.1:${test.port} speaks no TLS`,
    );
  });
});
