import net from 'node:net';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { RapClient, type RapClientOptions, type RapServerOptions } from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';
import { TestAuthority } from '../helpers/certificates.js';

const authority = new TestAuthority();
const names = ['localhost', '127.0.0.1'];
const identity = authority.issue({ commonName: 'server', names });
const stranger = new TestAuthority('another authority').issue({ commonName: 'mallory', names });
const { cert: ca } = authority;
const scope = testScope();

@Controller()
class Echo {
  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }
}

/** A server that answers the first bytes with these, and leaves. */
async function answers(bytes: string | Buffer): Promise<number> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(bytes));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  scope.defer(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

/** What the first call to a port fails with, behind "cannot connect to 127.0.0.1:<port>: ". */
async function why(port: number, options: RapClientOptions = {}): Promise<string> {
  const client = new RapClient({ host: '127.0.0.1', port, ...options });
  scope.defer(() => client.close());
  const error = await rejection(client.call('echo', 1));
  expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
  const prefix = `cannot connect to 127.0.0.1:${port}: `;
  expect(error.message.slice(0, prefix.length)).toBe(prefix);
  return error.message.slice(prefix.length);
}

const served = async (tls: RapServerOptions['tls']): Promise<number> =>
  (await scope.serve([Echo], { tls })).port;

describe('a connection that ends before the server has answered tells why', () => {
  it('a client without TLS at a server with TLS', async () => {
    const silent = 'the server closed the connection without an answer; it may speak TLS (option tls)';
    expect(await why(await served(identity))).toBe(silent);
    // other servers say a word
    const alert = await answers(Buffer.from('15030100020246', 'hex'));
    expect(await why(alert)).toBe('the server speaks TLS (option tls)');
  });

  it('a client with TLS at a server without', async () => {
    const port = await served(undefined);
    expect(await why(port, { tls: { ca } })).toBe(`127.0.0.1:${port} speaks no TLS`);
  });

  it('a server of HTTP', async () => {
    const port = await answers('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    expect(await why(port)).toBe('the server speaks HTTP, not rap');
  });

  it('bytes of anything else are no frame', async () => {
    expect(await why(await answers('220 ready'))).toBe('a frame is an array of four');
  });

  it('a server that wants a certificate, in the handshake of TLS 1.2 and behind that of 1.3', async () => {
    const port = await served({ ...identity, requestCert: true, ca });
    const none = { ca };
    const foreign = { ca, ...stranger };
    expect(await why(port, { tls: none })).toBe('the server refused TLS: certificate required');
    expect(await why(port, { tls: { ...none, maxVersion: 'TLSv1.2' } })).toBe(
      'the server refused TLS: handshake failure',
    );
    expect(await why(port, { tls: foreign })).toBe(
      'the server closed the connection without an answer; it may not accept the certificate of this client',
    );
  });

  it('a server that wants another version of TLS', async () => {
    const port = await served({ ...identity, minVersion: 'TLSv1.3' });
    expect(await why(port, { tls: { ca, maxVersion: 'TLSv1.2' } })).toBe(
      'the server refused TLS: protocol version',
    );
  });
});

it('a connection that ends later is lost', async () => {
  const { client } = await scope.serve([Echo]);
  const rap = client({ reconnect: false });
  expect(await rap.call('echo', 1)).toBe(1);
  const closed = new Promise((resolve) => rap.on('disconnect', resolve));
  rap.unwrap<net.Socket>().destroy();
  expect(await closed).toMatchObject({ message: 'the connection to the server was lost' });
});
