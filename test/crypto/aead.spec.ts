import net from 'node:net';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  ChannelPattern,
  CryptoProcessor,
  FuncNotFoundError,
  type RapChannel,
  type RapClient,
  type RapClientOptions,
  type RapContext,
  RapError,
} from '../../lib/index.js';
import { answerDeclare, scriptedServer } from '../helpers/raw-socket.js';
import { eventually, Gate, rejection, testScope, within, type ServedApp } from '../helpers/async.js';

const scope = testScope();
const key = CryptoProcessor.generateKey();
const otherKey = CryptoProcessor.generateKey();

let events: unknown[];
let gate: Gate<string>;

@Controller()
class Functions {
  @MessagePattern('echo')
  echo(body: unknown): unknown {
    return body;
  }

  @MessagePattern('wait')
  wait(): Promise<string> {
    return gate.opened;
  }

  @MessagePattern('fail')
  fail(): never {
    throw new RapError('as asked', { status: 1006, code: 'ERR_MINE', details: { why: 'test' } });
  }

  @MessagePattern('count')
  async *count({ n }: { n: number }): AsyncGenerator {
    for (let i = 0; i < n; i++) yield await Promise.resolve(i % 100 === 0 ? Buffer.alloc(70_000, i) : i);
  }

  @ChannelPattern('echo.channel')
  async channel(@Payload() channel: RapChannel<string, string>, @Ctx() ctx: RapContext): Promise<void> {
    const { room } = ctx.channelMetadata as { room: string };
    for await (const line of channel) await channel.write(`${room} ${line}`);
  }

  @MessagePattern('session')
  session(_body: unknown, @Ctx() ctx: RapContext): unknown {
    return ctx.session?.id;
  }

  @EventPattern('happened')
  happened(body: unknown): void {
    events.push(body);
  }
}

beforeEach(() => {
  events = [];
  gate = new Gate();
});

type Crypto = Partial<ConstructorParameters<typeof CryptoProcessor>[0]>;

async function start(crypto: Crypto = {}): Promise<{ app: ServedApp; processor: CryptoProcessor }> {
  const processor = new CryptoProcessor({ keys: { demo: key }, ...crypto });
  return { app: await scope.serve([Functions], { processors: [processor] }), processor };
}

function clientOf(app: ServedApp, crypto: Crypto = {}, options: RapClientOptions = {}): RapClient {
  return app.client({
    metadata: { app: 'demo' },
    processors: [new CryptoProcessor({ keyId: 'demo', key, ...crypto })],
    ...options,
  });
}

describe.each([['aes-128-gcm'], ['chacha20-poly1305']] as const)('over %s', (suite) => {
  let app: ServedApp;
  let client: RapClient;

  beforeEach(async () => {
    ({ app } = await start({ suites: [suite] }));
    client = clientOf(app);
  });

  it.each([
    ['text', 'hello'],
    ['nothing', null],
    ['bytes', Buffer.from([1, 2, 3])],
    ['a megabyte of bytes', Buffer.alloc(1024 * 1024, 7)],
    ['megabytes of text', 'héllo'.repeat(300_000)],
    ['a big integer', 2n ** 60n],
    ['a list', [1, [2, { a: [] }]]],
  ])('calls carry %s', async (_what, body) => {
    const answer = await client.call('echo', body);
    const same = Buffer.isBuffer(body) ? body.equals(answer as Buffer) : answer;
    expect(
      Buffer.isBuffer(body) ? same : same === body || JSON.stringify(same) === JSON.stringify(body),
    ).toBe(true);
  });

  it('many calls at once keep their answers apart', async () => {
    const answers = await Promise.all(Array.from({ length: 2000 }, (_, i) => client.call('echo', i)));
    expect(answers).toEqual(Array.from({ length: 2000 }, (_, i) => i));
  });

  it('errors arrive as they are', async () => {
    expect(await rejection(client.call('fail'))).toMatchObject({
      status: 1006,
      code: 'ERR_MINE',
      message: 'as asked',
      details: { why: 'test' },
    });
    await expect(client.call('nope')).rejects.toBeInstanceOf(FuncNotFoundError);
  });

  it('streams, channels, events, sessions and pings work', async () => {
    let items = 0;
    for await (const item of client.stream('count', { n: 500 })) {
      expect(items % 100 === 0 ? (item as Buffer).length : item).toBe(items % 100 === 0 ? 70_000 : items);
      items += 1;
    }
    expect(items).toBe(500);
    const channel = await client.channel<string, string>('echo.channel', { metadata: { room: 'lobby' } });
    await channel.write('hi');
    expect(await channel.read()).toBe('lobby hi');
    await channel.end();
    expect(await channel.read()).toBeUndefined();
    client.emit('happened', { id: 1 });
    await eventually('the event', () => events.length === 1);
    const ids = await client.withSession(async () => [
      await client.call('session', 1),
      await client.call('session', 2),
    ]);
    expect(ids[0]).toEqual(expect.any(String));
    expect(ids[1]).toBe(ids[0]);
    expect(await client.ping()).toBeGreaterThan(0);
  });

  it('a shutdown finishes what runs', async () => {
    const call = client.call('wait');
    await eventually('it runs', () => app.server.stats().inFlight === 1);
    const drained = app.server.drain();
    gate.open('finished');
    expect(await call).toBe('finished');
    await within('the drain', drained);
  });
});

it('shows on the wire nothing of bodies, nor of targets between peers of this project', async () => {
  const { app } = await start();
  const seen: Buffer[] = [];
  const spy = net.createServer((socket) => {
    const server = net.connect(app.port, '127.0.0.1');
    socket
      .on('data', (chunk) => void seen.push(chunk))
      .pipe(server)
      .on('error', () => {});
    server
      .on('data', (chunk) => void seen.push(chunk))
      .pipe(socket)
      .on('error', () => {});
  });
  await new Promise<void>((resolve) => void spy.listen(0, '127.0.0.1', resolve));
  scope.defer(() => new Promise((resolve) => void spy.close(resolve)));
  const client = clientOf(app, {}, { port: (spy.address() as net.AddressInfo).port });
  await client.call('echo', 'attack at dawn');
  client.close();
  const wire = Buffer.concat(seen).toString('latin1');
  expect(wire).toContain('/_event/DECLARE');
  expect(wire).not.toContain('dawn');
  expect(wire).not.toContain('/default/echo');
});

it('a client that comes back makes new keys', async () => {
  const { app, processor } = await start();
  const declared: unknown[] = [];
  app.server.on('connection', ({ id }) => void declared.push(id));
  const client = clientOf(app);
  expect(await client.call('echo', 1)).toBe(1);
  const socket = client.unwrap<net.Socket>();
  const gone = new Promise((resolve) => void socket.once('close', resolve));
  socket.destroy();
  await gone;
  expect(await client.call('echo', 2)).toBe(2);
  expect(processor.stats()).toMatchObject({ secured: 2, refused: 0, failed: 0 });
  expect(new Set(declared).size).toBe(2);
});

describe('keys that are used up', () => {
  it.each([
    // calls go on meanwhile: there must be time to connect before the keys are used up twice
    ['on the server', { rekeyAfterFrames: 300 }, {}],
    ['on the client', {}, { rekeyAfterFrames: 300 }],
    ['by bytes', { rekeyAfterBytes: 15_000 }, {}],
  ])('%s move calls to a new connection and lose none', async (_what, onServer, onClient) => {
    const { app, processor } = await start(onServer);
    const client = clientOf(app, onClient);
    const slow = client.call('wait');
    for (let i = 0; i < 900; i++) expect(await client.call('echo', i)).toBe(i);
    await eventually('another connection', () => processor.stats().secured > 1);
    gate.open('not lost');
    expect(await slow).toBe('not lost');
    await eventually('the old ones are gone', () => app.server.stats().connections === 1);
  });

  it.each([
    ['by the server', { rekeyAfterBytes: 3000 }, {}],
    ['by the client', {}, { rekeyAfterFrames: 15 }],
  ])('twice over %s end their connection, and nothing else', async (_what, onServer, onClient) => {
    const { app, processor } = await start(onServer);
    const client = clientOf(app, onClient);
    const channel = await client.channel<string, string>('echo.channel', { metadata: { room: 'a' } });
    const talk = async (): Promise<void> => {
      for (;;) {
        await channel.write('x'.repeat(200));
        await channel.read();
      }
    };
    expect(await rejection(within('the end', talk()))).toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST' });
    expect(await client.call('echo', 1)).toBe(1);
    await eventually('the old one is gone', () => app.server.stats().connections === 1);
    expect(processor.stats()).toMatchObject({ secured: 2, refused: 0 });
  });

  it('twice over by what a client receives end its connection as those of what it sends', async () => {
    const { app } = await start();
    const client = clientOf(app, { rekeyAfterBytes: 3000 });
    const read = async (): Promise<void> => {
      for await (const item of client.stream('count', { n: 5 })) expect(item).toBeDefined();
    };
    expect(await rejection(within('the end', read()))).toMatchObject({
      code: 'ERR_RAP_CONNECTION_LOST',
      message: expect.stringContaining('used up') as string,
    });
  });

  it('do not keep a server from its end', async () => {
    const { app, processor } = await start({ rekeyAfterFrames: 10 });
    const client = clientOf(app);
    const slow = rejection(client.call('wait'));
    while (processor.stats().retired === 0) await client.call('echo', 1);
    await eventually('another connection', () => processor.stats().secured > 1);
    await within('the end', app.server.close());
    expect(await slow).toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST' });
    gate.open('too late');
  });
});

describe('required means required', () => {
  it('a client without a key is refused, and the log says why', async () => {
    const { app } = await start();
    await expect(app.client().connect()).rejects.toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST' });
    await eventually('a line', () => app.log.lines.some((line) => line.includes('does not encrypt')));
  });

  it('where it is not, both are served', async () => {
    const { app } = await start({ required: false });
    expect(await app.client().call('echo', 'plain')).toBe('plain');
    expect(await clientOf(app).call('echo', 'sealed')).toBe('sealed');
  });

  it('a client with a key does not speak to a server without', async () => {
    const app = await scope.serve([Functions]);
    const error = await rejection(clientOf(app).connect());
    expect(error['message']).toContain('the server does not encrypt');
    expect(error['cause']).toMatchObject({ status: 1007, code: 'ERR_RAP_CRYPTO' });
    expect(app.server.stats().inFlight).toBe(0);
  });

  it('nor to one that speaks as Python does', async () => {
    const server = await scriptedServer(async (peer) => void (await answerDeclare(peer)));
    scope.defer(() => server.close());
    const processor = new CryptoProcessor({ keyId: 'demo', key });
    const client = (await start()).app.client({ port: server.port, processors: [processor] });
    expect((await rejection(client.connect()))['message']).toContain('the server does not encrypt');
    await server.peers[0]?.waitClosed();
    // DECLARE, and not one frame of a call
    expect(server.peers[0]?.frames).toEqual([]);
    expect(processor.stats().refused).toBe(1);
  });

  it('nor to one that has another key under that id', async () => {
    const { app } = await start({ keys: { demo: otherKey } });
    const error = await rejection(clientOf(app).call('echo', 1));
    expect(error['message']).toContain("did not prove that it has the key 'demo'");
  });
});

it('keys change while the server runs: old and new side by side, then the new one only', async () => {
  const { app, processor } = await start();
  const old = clientOf(app);
  await old.call('echo', 1);
  processor.addKey('next', otherKey);
  const next = clientOf(app, { keyId: 'next', key: otherKey });
  expect(await next.call('echo', 2)).toBe(2);
  expect(processor.removeKey('demo')).toBe(true);
  expect(processor.keyIds).toEqual(['next']);
  expect(await old.call('echo', 3)).toBe(3); // it is open
  await expect(clientOf(app).connect()).rejects.toThrow('did not prove');
});

it('a client changes its key for the connections to come', async () => {
  const { app } = await start({ keys: { next: otherKey } });
  const processor = new CryptoProcessor({ keyId: 'demo', key });
  const client = app.client({ processors: [processor] });
  await expect(client.connect()).rejects.toThrow('did not prove');
  processor.addKey('next', otherKey);
  expect(await client.call('echo', 1)).toBe(1);
  expect(() => processor.removeKey('next')).toThrow('add another first');
});
