import 'reflect-metadata';
import { request } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { startProbes } from '../../lib/health.js';
import { RapClient, RapServer, type RapServerOptions } from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';

const scope = testScope();
let gate: Gate;
let running = 0;
beforeEach(() => {
  gate = new Gate();
  running = 0;
});

@Controller()
class Handlers {
  @MessagePattern('hold') async hold(): Promise<number> {
    running += 1;
    await gate.opened;
    return 1;
  }
}

interface Answer {
  readonly status: number | undefined;
  readonly body: unknown;
  readonly text: string;
}

function ask(port: number, path: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, path, method, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () =>
        resolve({ status: response.statusCode, text, body: text === '' ? undefined : JSON.parse(text) }),
      );
    });
    req.on('error', reject);
    req.end();
  });
}

const OK = { status: 200, body: { status: 'ok' } };
const notReady = (...reasons: string[]): object => ({ status: 503, body: { status: 'not ready', reasons } });
const serveProbed = (options: RapServerOptions = {}): ReturnType<typeof scope.serve> =>
  scope.serve([Handlers], { probes: { port: 0, host: '127.0.0.1' }, ...options });

/** A port that something else listens on. */
async function takenPort(): Promise<number> {
  const other = net.createServer().listen(0, '127.0.0.1');
  scope.defer(() => other.close());
  await within('it listens', new Promise((resolve) => other.once('listening', resolve)));
  return (other.address() as AddressInfo).port;
}

describe('the option probes', () => {
  it('serves /livez and /readyz, and nothing else', async () => {
    const { server } = await serveProbed();
    const port = server.probesAddress()?.port ?? 0;

    expect(await ask(port, '/livez')).toMatchObject(OK);
    expect(await ask(port, '/readyz')).toMatchObject(OK);
    expect(await ask(port, '/readyz?verbose=1')).toMatchObject(OK);
    expect(await ask(port, '/readyz', 'HEAD')).toEqual({ status: 200, text: '', body: undefined });
    expect(await ask(port, '/readyz', 'POST')).toMatchObject({ status: 405 });
    expect(await ask(port, '/metrics')).toMatchObject({ status: 404 });
  });

  it('is not ready from the first moment of the drain, and answers until the server is closed', async () => {
    const { server, client } = await serveProbed({ closeTimeoutMs: 10_000 });
    const port = server.probesAddress()?.port ?? 0;
    const call = client().call('hold');
    await eventually('it runs', () => running === 1);

    const closed = server.close();
    expect(await ask(port, '/readyz')).toMatchObject(notReady('the server shuts down'));
    expect(await ask(port, '/readyz', 'HEAD')).toMatchObject({ status: 503 });
    expect(await ask(port, '/livez')).toMatchObject(OK);
    gate.open();
    expect(await call).toBe(1);
    await closed;

    expect(await rejection(ask(port, '/livez'))).toMatchObject({ code: 'ECONNREFUSED' });
    expect(server.probesAddress()).toBe(null);
  });

  it('a server that only drains answers on, and one that listens again is ready', async () => {
    const { server } = await serveProbed();
    await server.drain();
    expect(await ask(server.probesAddress()?.port ?? 0, '/readyz')).toMatchObject(
      notReady('the server shuts down'),
    );

    await server.close();
    await listen(server);

    expect(await ask(server.probesAddress()?.port ?? 0, '/readyz')).toMatchObject(OK);
  });

  it('is alive, and not ready, while the server starts, and gone if that fails', async () => {
    const starting = new Gate();
    let fails = false;
    const server = new RapServer({
      host: '127.0.0.1',
      port: 0,
      probes: { port: 0, host: '127.0.0.1' },
      events: {
        beforeStart: async () => {
          await starting.opened;
          if (fails) throw new Error('no database');
        },
      },
    });
    scope.defer(() => server.close());
    const listening = listen(server);
    await eventually('the probes', () => server.probesAddress());
    const port = server.probesAddress()?.port ?? 0;
    expect(await ask(port, '/livez')).toMatchObject(OK);
    expect(await ask(port, '/readyz')).toMatchObject(notReady('the server does not listen'));
    starting.open();
    await listening;
    expect(await ask(port, '/readyz')).toMatchObject(OK);
    await server.close();

    fails = true;
    expect((await rejection(listen(server))).message).toBe('no database');
    expect(server.probesAddress()).toBe(null);
  });

  it('follows what the application sets', async () => {
    const { server } = await serveProbed();
    server.health.set('', 'NOT_SERVING');
    expect(await ask(server.probesAddress()?.port ?? 0, '/readyz')).toMatchObject(
      notReady('the application has set NOT_SERVING'),
    );
  });

  it('of a port in use fails the start by its name, and leaves nothing open', async () => {
    const port = await takenPort();
    const server = new RapServer({ host: '127.0.0.1', port: 0, probes: { port, host: '127.0.0.1' } });
    scope.defer(() => server.close());

    const error = await rejection(listen(server));

    expect(error.message).toContain(`probes: port ${port} cannot be listened on`);
    expect(error.message).toContain('EADDRINUSE');
    expect(server.address()).toBe(null);
    expect(server.health.status()).toBe('NOT_SERVING');
  });

  it('is closed if the server cannot listen itself', async () => {
    const port = await takenPort();
    const server = new RapServer({ host: '127.0.0.1', port, probes: { port: 0, host: '127.0.0.1' } });
    expect(await rejection(listen(server))).toMatchObject({ code: 'EADDRINUSE' });
    expect(server.probesAddress()).toBe(null);
  });

  it.each<[string, object]>([
    ['probes: port is missing', {}],
    ['port must be a whole number from 0 to 65535', { port: 70_000 }],
    ['host must be text', { port: 0, host: 5 }],
    ['probes.prot is not an option; did you mean probes.port?', { prot: 1 }],
    ['probes must be an object', 8080 as never],
  ])('says what is wrong: %s', (message, probes) => {
    expect(() => new RapServer({ probes: probes as never })).toThrow(RangeError);
    expect(() => new RapServer({ probes: probes as never })).toThrow(message);
  });
});

describe('startProbes', () => {
  it('is ready when all servers listen and all clients are connected, and says what is not', async () => {
    const { server, client } = await scope.serve([Handlers]);
    const [first, second] = [client(), client()];
    const probes = await startProbes({ port: 0, host: '127.0.0.1', server, client: [first, second] });
    scope.defer(() => probes.close());
    const { port } = probes.address() ?? { port: 0 };
    expect(await ask(port, '/readyz')).toMatchObject(
      notReady('client 1: not connected: disconnected', 'client 2: not connected: disconnected'),
    );

    await Promise.all([first.connect(), second.connect()]);
    expect(await ask(port, '/readyz')).toMatchObject(OK);

    second.close();
    expect(await ask(port, '/readyz')).toMatchObject(notReady('client 2: not connected: disconnected'));
    first.close();
    await server.close();
    expect(await ask(port, '/readyz')).toMatchObject(
      notReady(
        'server: the server does not listen',
        'client 1: not connected: disconnected',
        'client 2: not connected: disconnected',
      ),
    );
    expect(await ask(port, '/livez')).toMatchObject(OK);
  });

  it('opens no connection, and calls nothing', async () => {
    const { server, client } = await scope.serve([Handlers]);
    const probes = await startProbes({ port: 0, host: '127.0.0.1', server, client: client() });
    scope.defer(() => probes.close());
    for (let i = 0; i < 5; i++) {
      // oxlint-disable-next-line no-await-in-loop
      await ask(probes.address()?.port ?? 0, '/readyz');
    }
    expect(server.stats().connections).toBe(0);
  });

  it('closes, twice, whatever a prober does', async () => {
    const probes = await startProbes({ port: 0, host: '127.0.0.1' });
    const { port } = probes.address() ?? { port: 0 };
    const silent = net.connect(port, '127.0.0.1');
    const broken = net.connect(port, '127.0.0.1', () => broken.write('rubbish\r\n\r\n'));
    const answer = await within('the answer', new Promise<Buffer>((resolve) => broken.once('data', resolve)));
    expect(answer.toString()).toContain('400');
    const gone = new Promise((resolve) => silent.once('close', resolve));
    silent.on('error', () => {});

    await within('both', Promise.all([probes.close(), probes.close()]));

    await gone;
    expect(probes.address()).toBe(null);
  });

  it('drops a prober that sends half a request, after a while', async () => {
    const probes = await startProbes({ port: 0, host: '127.0.0.1' });
    scope.defer(() => probes.close());
    const slow = net.connect(probes.address()?.port ?? 0, '127.0.0.1', () => slow.write('GET /livez HT'));
    slow.on('error', () => {});
    await within('it is dropped', new Promise((resolve) => slow.resume().once('close', resolve)));
  });

  it('of a port in use fails by its name', async () => {
    const port = await takenPort();
    const error = await rejection(startProbes({ port, host: '127.0.0.1' }));
    expect(error.message).toContain(`startProbes: port ${port} cannot be listened on`);
    expect(error.cause).toMatchObject({ code: 'EADDRINUSE' });
  });

  it.each<[string, object]>([
    ['startProbes: port is missing', {}],
    ['startProbes.serve is not an option; did you mean startProbes.server?', { port: 0, serve: 1 }],
    ['startProbes: server must be a RapServer', { port: 0, server: {} }],
    ['startProbes: client 2 must be a RapClient', { port: 0, client: [new RapClient(), undefined] }],
    ['startProbes: client must be a RapClient', { port: 0, client: new RapServer() }],
  ])('says what is wrong: %s', async (message, options) => {
    const error = await rejection(startProbes(options as never));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toContain(message);
  });
});

async function listen(server: RapServer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.listen((error) => (error ? reject(error) : resolve()));
  });
}
