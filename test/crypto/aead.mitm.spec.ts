import net from 'node:net';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { CryptoProcessor, type RapClient } from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, type ServedApp } from '../helpers/async.js';

const scope = testScope();
const key = CryptoProcessor.generateKey();

let calls: unknown[];
let gate: Gate;

@Controller()
class Recorder {
  @MessagePattern('note')
  note(body: unknown): unknown {
    calls.push(body);
    return body;
  }

  @MessagePattern('wait')
  wait(): Promise<void> {
    return gate.opened;
  }
}

type Direction = 'up' | 'down';
/** What becomes of a chunk on its way: by default, nothing. */
type Attack = (chunk: Buffer) => Buffer[];
const pass: Attack = (chunk) => [chunk];

/** Somebody between client and server, who reads and writes as he likes. */
class Middle {
  readonly attack: Record<Direction, Attack> = { up: pass, down: pass };
  readonly seen: Record<Direction, Buffer[]> = { up: [], down: [] };
  #sockets: Record<Direction, net.Socket>[] = [];
  readonly #server: net.Server;

  constructor(port: number) {
    this.#server = net.createServer({ noDelay: true }, (client) => {
      const server = net.connect({ port, host: '127.0.0.1', noDelay: true });
      this.#sockets.push({ up: server, down: client });
      this.#carry(client, server, 'up');
      this.#carry(server, client, 'down');
    });
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => void this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** Puts bytes into the first connection. */
  inject(direction: Direction, bytes: Buffer): void {
    this.#sockets[0]?.[direction].write(bytes);
  }

  close(): Promise<void> {
    for (const { up, down } of this.#sockets) for (const socket of [up, down]) socket.destroy();
    return new Promise((resolve) => void this.#server.close(() => resolve()));
  }

  #carry(from: net.Socket, to: net.Socket, direction: Direction): void {
    from.on('error', () => {});
    from.on('close', () => to.destroy());
    from.on('data', (chunk) => {
      this.seen[direction].push(chunk);
      for (const piece of this.attack[direction](chunk)) to.write(piece);
    });
  }
}

let app: ServedApp;
let middle: Middle;
let client: RapClient;
let onServer: CryptoProcessor;
let onClient: CryptoProcessor;

beforeEach(async () => {
  calls = [];
  gate = new Gate();
  onServer = new CryptoProcessor({ keys: { demo: key } });
  onClient = new CryptoProcessor({ keyId: 'demo', key });
  app = await scope.serve([Recorder], { processors: [onServer] });
  middle = new Middle(app.port);
  const port = await middle.listen();
  scope.defer(() => middle.close());
  client = app.client({ port, metadata: { tenant: 'alice' }, processors: [onClient], reconnect: false });
});

const flipLast: Attack = (chunk) => {
  const changed = Buffer.from(chunk);
  changed[chunk.length - 1] = (changed.at(-1) as number) ^ 1;
  return [changed];
};

/** Both know each other, and everything of that has arrived. */
async function connected(): Promise<void> {
  expect(await client.call('note', 'first')).toBe('first');
  expect(await client.ping()).toBeGreaterThan(0);
}

it('may carry everything', async () => {
  await connected();
  expect(onServer.stats()).toMatchObject({ secured: 1, failed: 0 });
});

describe('of what a client sends', () => {
  it.each<[string, Attack]>([
    ['a changed bit', flipLast],
    ['a chunk twice', (chunk) => [chunk, chunk]],
    ['a chunk that lacks its first byte', (chunk) => [chunk.subarray(1)]],
    ['bytes before it', (chunk) => [Buffer.from([0xc0]), chunk]],
  ])('%s ends the connection, and the call fails', async (_what, attack) => {
    await connected();
    middle.attack.up = attack;
    expect(await rejection(client.call('note', 'second'))).toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST' });
    await eventually('it was counted', () => onServer.stats().failed === 1);
    expect(calls.filter((body) => body === 'second').length).toBeLessThanOrEqual(1);
  });

  it('what is kept back makes the next one fail', async () => {
    await connected();
    middle.attack.up = () => [];
    const before = middle.seen.up.length;
    const lost = rejection(client.call('note', 'kept back'));
    await eventually('it was sent', () => middle.seen.up.length > before);
    middle.attack.up = pass;
    expect(await rejection(client.call('note', 'next'))).toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST' });
    await lost;
    expect(calls).toEqual(['first']);
    expect(onServer.stats().failed).toBe(1);
  });
});

describe('of what a server sends', () => {
  const CRYPTO = { status: 1007, code: 'ERR_RAP_CRYPTO' };

  it.each<[string, Attack]>([
    ['a changed bit', flipLast],
    ['a chunk that lacks its first byte', (chunk) => [chunk.subarray(1)]],
    ['bytes before it', (chunk) => [Buffer.from([0xc0]), chunk]],
  ])('%s ends the connection, and everything that waits fails', async (_what, attack) => {
    await connected();
    const waits = rejection(client.call('wait'));
    middle.attack.down = attack;
    expect(await rejection(client.call('note', 'second'))).toMatchObject(CRYPTO);
    expect(await waits).toMatchObject(CRYPTO);
    expect(onClient.stats().failed).toBe(1);
    gate.open();
  });

  it('a chunk twice does not answer twice', async () => {
    await connected();
    const waits = rejection(client.call('wait'));
    middle.attack.down = (chunk) => [chunk, chunk];
    expect(await client.call('note', 'second')).toBe('second');
    expect(await waits).toMatchObject(CRYPTO);
    gate.open();
  });

  it('a CLOSE in clear does not end it as the server would', async () => {
    await connected();
    const waits = rejection(client.call('wait'));
    // [203, 4, {target: "/_event/CLOSE"}, "bye"]
    middle.inject('down', Buffer.from('94cccb0481a6746172676574ad2f5f6576656e742f434c4f5345a3627965', 'hex'));
    expect(await waits).toMatchObject(CRYPTO);
    gate.open();
  });

  it('what came from the client, sent back to it', async () => {
    await connected();
    const before = middle.seen.up.length;
    const waits = rejection(client.call('wait'));
    await eventually('it was sent', () => middle.seen.up.length > before);
    middle.inject('down', middle.seen.up.at(-1) as Buffer);
    expect(await waits).toMatchObject(CRYPTO);
    gate.open();
  });
});

const replace = (from: string, to: string): Attack => {
  expect(to).toHaveLength(from.length);
  return (chunk) => {
    const at = chunk.indexOf(from);
    if (at < 0) return [chunk];
    const changed = Buffer.from(chunk);
    changed.write(to, at, 'latin1');
    return [changed];
  };
};

describe('of DECLARE and its answer', () => {
  it.each<[string, Direction, Attack]>([
    ['other metadata', 'up', replace('alice', 'mallo')],
    ['an extension less', 'up', replace('half_close', 'half_claus')],
    ['a suite less', 'up', replace('aes-128-gcm', 'aes-128-xxx')],
    ['another key id', 'up', replace('demo', 'dome')],
    ['no records', 'up', replace('records', 'recalls')],
    ['another name for the connection', 'down', replace('conn_id', 'conn_it')],
    ['an extension less in the answer', 'down', replace('half_close', 'half_claus')],
    ['no records in the answer', 'down', replace('records', 'recalls')],
    ['no encryption', 'up', replace('aead', 'none')],
    ['no encryption in the answer', 'down', replace('aead', 'none')],
    ['a changed bit at the end of the answer', 'down', flipLast],
  ])('%s: nothing runs', async (_what, direction, attack) => {
    middle.attack[direction] = attack;
    await rejection(client.call('note', 'never'));
    await eventually('no connection is left', () => app.server.stats().connections === 0);
    expect(calls).toEqual([]);
    expect(onServer.stats().secured).toBe(0);
  });
});
