import { once } from 'node:events';
import type net from 'node:net';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import { RapClient, type RapClientOptions, type RapContext } from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope } from '../../helpers/async.js';
import { TestAuthority } from '../../helpers/certificates.js';

const authority = new TestAuthority();
const identity = authority.issue({ commonName: 'server', names: ['localhost', '127.0.0.1'] });
const { cert: ca } = authority;
const scope = testScope();

@Controller()
class Who {
  /** What the server knows of its caller. */
  @MessagePattern('who')
  who(@Ctx() { metadata, peer }: RapContext): unknown {
    return { metadata, name: peer.tlsSubject?.['CN'] };
  }
}

/** Loses the connection as a broken network would. */
async function cut(client: RapClient): Promise<void> {
  const socket = client.unwrap<net.Socket>();
  const closed = once(socket, 'close');
  socket.destroy();
  await closed;
}

const reconnect = { baseDelayMs: 1, maxDelayMs: 1 };

/** Timers that keep this process alive. */
const timers = (): number =>
  process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;

describe('options that are functions', () => {
  it('are asked for each connection, sync or async', async () => {
    const test = await scope.serve([Who], { tls: { ...identity, requestCert: true, ca } });
    let turn = 0;
    const client = test.client({
      reconnect,
      metadata: () => ({ token: `t${++turn}` }),
      tls: async () => Promise.resolve({ ca, ...authority.issue({ commonName: `client ${turn}` }) }),
    });
    for (const n of [1, 2, 3]) {
      for (let i = 0; i < 2; i++) {
        expect(await client.call('who')).toEqual({ metadata: { token: `t${n}` }, name: `client ${n}` });
      }
      await cut(client);
    }
  });

  it('may give true for TLS with the defaults, and no metadata', async () => {
    const test = await scope.serve([Who], { tls: identity });
    const error = await rejection(test.client({ reconnect: false, tls: () => true }).call('who'));
    expect((error.cause as { code?: string }).code).toMatch(/UNABLE_TO|SELF_SIGNED/);
    const client = test.client({ tls: () => ({ ca }), metadata: () => undefined });
    expect(await client.call('who')).toEqual({ metadata: {} });
  });

  it.each<[string, RapClientOptions, RegExp, string | undefined]>([
    [
      'metadata throws',
      {
        metadata: () => {
          throw new Error('no token');
        },
      },
      /: metadata\(\) failed: no token$/,
      'no token',
    ],
    [
      'metadata rejects',
      { metadata: () => Promise.reject(new Error('no token')) },
      /: metadata\(\) failed: no token$/,
      'no token',
    ],
    [
      'tls rejects',
      { tls: () => Promise.reject(new Error('no file')) },
      /: tls\(\) failed: no file$/,
      'no file',
    ],
    [
      'tls forgets its value',
      { tls: (() => undefined) as never },
      /: tls\(\) gave undefined, not an object or true$/,
      undefined,
    ],
    [
      'metadata is no object',
      { metadata: (() => 'token') as never },
      /: metadata\(\) gave text, not an object$/,
      undefined,
    ],
  ])('fail the attempt by name: %s', async (_name, options, message, cause) => {
    const { client, server } = await scope.serve([Who]);
    const error = await rejection(client({ ...options, reconnect: false }).call('who'));
    expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^cannot connect to 127\.0\.0\.1:\d+: /);
    expect(((error.cause as Error).cause as Error | undefined)?.message).toBe(cause);
    expect(server.stats().connections).toBe(0);
  });

  it('are asked again with the next attempt after one that failed', async () => {
    const { client } = await scope.serve([Who]);
    let turn = 0;
    const rap = client({
      reconnect,
      metadata: () => {
        turn += 1;
        if (turn === 2 || turn === 3) throw new Error('not yet');
        return { turn };
      },
    });
    expect(await rap.call('who')).toEqual({ metadata: { turn: 1 } });
    await cut(rap);
    expect(await rap.call('who')).toEqual({ metadata: { turn: 4 } });
  });

  it('have the time of a connection', async () => {
    const { client } = await scope.serve([Who]);
    const time = scope.stopTime();
    let asked = 0;
    const rap = client({
      reconnect: false,
      limits: { connectTimeoutMs: 1_000 },
      metadata: () => (asked++ === 0 ? new Promise<never>(() => {}) : {}),
    });
    const call = rejection(rap.call('who'));
    await eventually('the question', () => asked === 1);
    time.pass(1_000);
    expect((await call).message).toMatch(/: metadata\(\) failed: no answer within 1000 ms$/);
    expect(await rap.call('who')).toEqual({ metadata: {} });
  });

  it.each(
    (['metadata', 'tls'] as const).flatMap((option) =>
      [false, true].map((isFleet) => [option, isFleet] as const),
    ),
  )('keep no process alive after the client is closed: %s, of a fleet: %j', async (option, isFleet) => {
    const { client, port } = await scope.serve([Who]);
    const asked = new Gate();
    const hangs = (): Promise<never> => {
      asked.open();
      return new Promise(() => {});
    };
    const servers = isFleet
      ? { host: undefined, port: undefined, servers: [{ host: '127.0.0.1', port }] }
      : {};
    const rap = client({ ...servers, [option]: hangs });
    const before = timers();
    const call = rejection(rap.call('who'));
    await asked.opened;
    expect(timers()).toBeGreaterThan(before);
    rap.close();
    expect((await call).name).toBe('ConnectionLostError');
    await new Promise((resolve) => setImmediate(resolve));
    expect(timers()).toBe(before);
  });

  it('open no socket if the client was closed meanwhile', async () => {
    const { client, server } = await scope.serve([Who]);
    let accepted = 0;
    server.unwrap().on('connection', () => accepted++);
    const [asked, gate] = [new Gate(), new Gate<Record<string, unknown>>()];
    let count = 0;
    const rap = client({
      metadata: () => {
        count += 1;
        asked.open();
        return count === 1 ? gate.opened : { count };
      },
    });
    const first = rejection(rap.call('who'));
    await asked.opened;
    rap.close();
    expect((await first).name).toBe('ConnectionLostError');
    expect(await rap.call('who')).toEqual({ metadata: { count: 2 } });
    gate.open({ count: 1 });
    expect(await rap.call('who')).toEqual({ metadata: { count: 2 } });
    expect(accepted).toBe(1);
  });
});
