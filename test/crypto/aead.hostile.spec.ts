import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern } from '@nestjs/microservices';
import { ConnectionMiddleware, CryptoProcessor, type RapConnection } from '../../lib/index.js';
import { AeadPeer, boundOf, RawDirection, sealedFrame } from '../helpers/python/aead-peer.js';
import { eventually, testScope, type ServedApp } from '../helpers/async.js';
import { DECLARE, pack, type RawFrame } from '../helpers/raw-socket.js';
import { WirePeer } from '../helpers/wire-peer.js';

const scope = testScope();
const key = Buffer.from(CryptoProcessor.generateKey(), 'base64url');
const otherKey = Buffer.from(CryptoProcessor.generateKey(), 'base64url');

let calls: unknown[];

@Controller()
class Recorder {
  @MessagePattern('note')
  note(body: unknown): string {
    calls.push(body);
    return 'noted';
  }

  @MessagePattern('large')
  large(): string {
    return 'x'.repeat(400);
  }

  @EventPattern('note.event')
  event(body: unknown): void {
    calls.push(body);
  }
}

const PING: RawFrame = [103, 5, { target: '/_event/ping' }, {}];
const note = (id: number, body: unknown = id): RawFrame => [101, id, { target: '/default/note' }, body];

let crypto: CryptoProcessor;
let app: ServedApp;

beforeEach(async () => {
  calls = [];
  crypto = new CryptoProcessor({ keys: { demo: key, next: otherKey } });
  app = await scope.serve([Recorder], { processors: [crypto] });
});

async function open(): Promise<AeadPeer> {
  const peer = await AeadPeer.connect(app.port, key);
  scope.defer(() => peer.socket.destroy());
  return peer;
}

/** Nothing came back but the end, nothing ran, and one thing was counted. */
async function expectSilentEnd(
  peer: AeadPeer,
  count: 'failed' | 'refused',
  ran: unknown[] = [],
): Promise<void> {
  await peer.wire.untilEnded();
  for (const frame of peer.wire.frames) {
    // what the server said before is sealed, and no reason for the end
    expect(peer.open(frame)[2]['target']).not.toBe('/_event/CLOSE');
  }
  await eventually('the connection is gone', () => app.server.stats().connections === 0);
  expect(calls).toEqual(ran);
  expect(crypto.stats()[count]).toBe(1);
}

it('serves a client that another implementation would be', async () => {
  const peer = await open();
  peer.say(PING, note(7, { a: 1 }));
  expect((await peer.next('the answer', ([, id]) => id === 7)).slice(0, 3)).toEqual([101, 7, {}]);
  expect(calls).toEqual([{ a: 1 }]);
  expect(crypto.stats()).toEqual({ secured: 1, refused: 0, failed: 0, retired: 0 });
});

it.each([
  ['sends', (id: number): RawFrame => note(id, 'x'.repeat(60))],
  ['is sent', (id: number): RawFrame => [101, id, { target: '/default/large' }, null]],
])('is cut off if it goes on with keys that are used up twice over by what it %s', async (_what, frame) => {
  crypto = new CryptoProcessor({ keys: { demo: key }, rekeyAfterBytes: 2000 });
  app = await scope.serve([Recorder], { processors: [crypto] });
  const peer = await open();
  for (let i = 0; i < 100; i++) peer.say(frame(9 + 2 * i));
  await peer.wire.untilEnded();
  await eventually('the connection is gone', () => app.server.stats().connections === 0);
  expect(crypto.stats().retired).toBe(1);
});

it('takes frames that follow each other in one piece, DECLARE among them', async () => {
  const peer = await open();
  peer.wire.send(Buffer.concat([peer.seal(PING), peer.seal(note(7)), peer.seal(note(9))]));
  await peer.next('the last answer', ([, id]) => id === 9);
  expect(calls).toEqual([7, 9]);
});

it('accepts no frame of a client with any bit flipped', async () => {
  const bits = (await open()).seal(note(7)).length * 8;
  // a connection each: the first wrong bit is the last of it
  for (let bit = 0; bit < bits; bit += 1) {
    const peer = await AeadPeer.connect(app.port, key);
    peer.say(PING);
    const bytes = peer.seal(note(7));
    bytes[bit >>> 3] = (bytes[bit >>> 3] as number) ^ (1 << (bit & 7));
    // one that became longer waits for more, which is wrong as well
    peer.wire.send(Buffer.concat([bytes, Buffer.alloc(70_000, 0xc1)]));
    await peer.wire.untilEnded();
    peer.socket.destroy();
  }
  expect(calls).toEqual([]);
  expect(crypto.stats().failed).toBe(bits);
}, 120_000);

describe('ends without a word if a frame is', () => {
  it.each<[string, (peer: AeadPeer) => Buffer[], unknown[]]>([
    ['replayed', (peer) => ((bytes) => [bytes, bytes])(peer.seal(note(7))), [7]],
    ['reordered', (peer) => ((first, second) => [second, first])(peer.seal(note(7)), peer.seal(note(9))), []],
    ['left out', (peer) => (peer.seal(note(7)), [peer.seal(note(9))]), []],
    ['in clear', () => [pack(note(7))], []],
    ['an event in clear', () => [pack([101, 7, { target: '/default/note.event', one_way: true }, 1])], []],
    ['in clear and bytes', () => [pack(note(7, Buffer.alloc(100)))], []],
    ['too short for a tag', () => [sealedFrame(boundOf(note(7)), Buffer.alloc(15))], []],
    [
      'sealed for another target',
      (peer) => [
        sealedFrame(
          boundOf([101, 7, { target: '/default/note' }, 0]),
          peer.send.seal(boundOf([101, 7, { target: '/default/none' }, 0]), pack(1)),
        ),
      ],
      [],
    ],
    [
      'sealed with the keys of the server',
      (peer) => [
        sealedFrame(
          boundOf(note(7)),
          new RawDirection(peer.receive.key, peer.receive.iv).seal(boundOf(note(7)), pack(1)),
        ),
      ],
      [],
    ],
    ['garbage', () => [Buffer.alloc(500, 0xc1)], []],
  ])('%s', async (_what, wire, ran) => {
    const peer = await open();
    peer.say(PING);
    await eventually('the key is proven', () => crypto.stats().secured === 1);
    peer.wire.send(Buffer.concat(wire(peer)));
    await expectSilentEnd(peer, 'failed', ran);
  });

  it('spliced from another connection', async () => {
    const [one, two] = [await open(), await open()];
    one.say(PING);
    two.say(PING);
    await eventually('both are proven', () => crypto.stats().secured === 2);
    one.wire.send(two.seal(note(7)));
    await one.wire.untilEnded();
    expect(calls).toEqual([]);
    expect(crypto.stats().failed).toBe(1);
    two.say(note(9)); // too late for its counter: the spliced one was number 7's
    await two.wire.untilEnded();
    expect(calls).toEqual([]);
  });

  it('reflected', async () => {
    const peer = await open();
    peer.say(PING);
    const { bytes } = await peer.wire.next('the answer to the ping');
    peer.wire.send(bytes);
    await peer.wire.untilEnded();
    expect(crypto.stats().failed).toBe(1);
  });
});

async function expectRefused(peer: AeadPeer): Promise<void> {
  await peer.wire.untilEnded();
  expect(peer.wire.frames).toEqual([]);
  expect(calls).toEqual([]);
  await eventually('it was counted', () => crypto.stats().refused === 1);
}

describe('before the client has proved its key', () => {
  it('is no connection: nothing is told of it, and it ends with the time for DECLARE', async () => {
    const opened: unknown[] = [];
    const impatient = await scope.serve([Recorder], {
      processors: [new CryptoProcessor({ keys: { demo: key } })],
      limits: { declareTimeoutMs: 150 },
    });
    impatient.server.on('connection', (info) => void opened.push(info));
    const peer = await AeadPeer.connect(impatient.port, key);
    await peer.wire.untilEnded();
    expect(opened).toEqual([]);
  });

  it('what it says of itself is kept from the application until then', async () => {
    const met: RapConnection[] = [];
    class Door extends ConnectionMiddleware {
      use(connection: RapConnection, next: () => Promise<void>): Promise<void> {
        met.push(connection);
        return next();
      }
    }
    const guarded = await scope.serve([Recorder], {
      processors: [new CryptoProcessor({ keys: { demo: key } })],
      middleware: [new Door()],
    });
    const liar = await AeadPeer.connect(guarded.port, otherKey);
    liar.say(PING);
    await liar.wire.untilEnded();
    const peer = await AeadPeer.connect(guarded.port, key);
    expect(met.map(({ metadata }) => metadata)).toEqual([{}, {}]);

    peer.say(PING);
    await peer.next('the answer to the ping', ([, id]) => id === PING[1]);
    expect(met.map(({ metadata }) => metadata)).toEqual([{}, { app: 'demo' }]);
    peer.socket.destroy();
  });

  it('a replayed DECLARE is dead', async () => {
    const first = await open();
    first.say(PING);
    const call = first.seal(note(7));
    const replay = await AeadPeer.connect(app.port, key, { declare: first.declare });
    expect(replay.agreed['random']).not.toEqual(first.agreed['random']);
    replay.wire.send(Buffer.concat([call]));
    await expectRefused(replay);
  });

  it.each([
    ['an unknown key id', { keyId: 'nobody' }, key, 'not among those'],
    ['a wrong key', { keyId: 'next' }, key, 'did not prove'],
    ['__proto__ for a key id', { keyId: '__proto__' }, key, 'not among those'],
  ])('%s looks like any other, and dies by its first frame', async (_what, options, secret, line) => {
    const peer = await AeadPeer.connect(app.port, secret, options);
    expect(Object.keys(peer.agreed)).toEqual(['v', 'random', 'suite', 'confirm']);
    expect((peer.agreed['confirm'] as Buffer).length).toBe(32);
    peer.say(PING);
    await expectRefused(peer);
    expect(app.log.lines.filter((text) => text.includes(line))).toHaveLength(1);
  });

  it('takes no more than 16 KiB', async () => {
    const peer = await open();
    peer.wire.send(peer.seal(note(7, Buffer.alloc(20_000))));
    await expectRefused(peer);
  });
});

const declareWith = (aead: unknown): Buffer => {
  const [type, id, header, body] = DECLARE;
  return pack([type, id, header, { ...(body as object), ...(aead === undefined ? {} : { aead }) }]);
};

describe('a DECLARE that a server with encryption does not take', () => {
  const offer = { v: 1, key_id: 'demo', random: Buffer.alloc(32, 7), suites: ['aes-128-gcm'] };

  it.each([
    ['in clear', undefined],
    ['null', null],
    ['a text', 'aead'],
    ['an array', [1]],
    ['another version', { ...offer, v: 2 }],
    ['no key id', { ...offer, key_id: null }],
    ['a key id that is a number', { ...offer, key_id: 5 }],
    ['a short random', { ...offer, random: Buffer.alloc(31) }],
    ['a long random', { ...offer, random: Buffer.alloc(33) }],
    ['a random of text', { ...offer, random: 'x'.repeat(32) }],
    ['no suites', { ...offer, suites: [] }],
    ['unknown suites', { ...offer, suites: ['none', 'aes-128-ecb', null, {}] }],
    ['suites of text', { ...offer, suites: 'aes-128-gcm' }],
  ])('%s: it gets no answer', async (_what, aead) => {
    const wire = await WirePeer.connect(app.port);
    wire.send(Buffer.concat([declareWith(aead), pack(note(7))]));
    await wire.untilEnded();
    expect(wire.frames).toEqual([]);
    expect(calls).toEqual([]);
    await eventually(
      'it was counted and logged',
      () => crypto.stats().refused === 1 && app.log.lines.length === 1,
    );
    expect(app.log.lines[0]).toContain('crypto error');
  });
});

it('never shows a key in its log', async () => {
  const peer = await AeadPeer.connect(app.port, otherKey);
  peer.say(PING);
  await peer.wire.untilEnded();
  await eventually('a line', () => app.log.lines.length === 1);
  for (const secret of [key, otherKey]) {
    for (const form of ['hex', 'base64', 'base64url', 'latin1'] as const) {
      expect(app.log.lines[0]).not.toContain(secret.toString(form));
    }
  }
});
