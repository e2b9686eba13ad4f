import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, CryptoProcessor, type RapChannel, RapContext } from '../../lib/index.js';
import { eventually, rejection, testScope, type ServedApp } from '../helpers/async.js';
import {
  PYTHON_KEY,
  pythonBody,
  pythonOpen,
  pythonSeal,
  RECORDED_AT,
} from '../helpers/python/python-crypto.js';
import { DECLARE, RawSocket, scriptedServer, answerDeclare, type RawFrame } from '../helpers/raw-socket.js';

const scope = testScope();
const OTHER_KEY = 'yyyyyyyyyyyyyyyy';

let calls: unknown[];
let nowMs: number;
let crypto: CryptoProcessor;
let app: ServedApp;

@Controller()
class Functions {
  @MessagePattern('echo')
  echo(body: unknown): unknown {
    calls.push(body);
    return body;
  }

  @EventPattern('event')
  event(body: unknown): void {
    calls.push(body);
  }

  @MessagePattern('bytes')
  bytes(): Buffer {
    return Buffer.alloc(3);
  }

  @ChannelPattern('room')
  async room(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    calls.push(ctx.channelMetadata);
    try {
      for await (const body of channel) await channel.write(body);
    } catch (error) {
      calls.push((error as Error).message);
    }
  }
}

beforeEach(async () => {
  calls = [];
  nowMs = RECORDED_AT * 1000;
  crypto = new CryptoProcessor({
    mode: 'rap-cbc',
    keys: { demo_id: PYTHON_KEY, other: OTHER_KEY },
    now: () => nowMs,
  });
  app = await scope.serve([Functions], { processors: [crypto] });
});

const declareWith = (more: object): RawFrame => [
  DECLARE[0],
  DECLARE[1],
  DECLARE[2],
  { ...(DECLARE[3] as object), ...more },
];
const declare = declareWith({ crypto_id: 'demo_id', check_body: pythonSeal('"demo_id"') });
const call = (id: number, body: unknown): RawFrame => [101, id, { target: '/default/echo' }, body];
const REFUSED = [{ status_code: 1007 }, 'crypto error'];

async function open(): Promise<RawSocket> {
  const raw = await RawSocket.open(app.port, declare);
  scope.defer(() => raw.destroy());
  return raw;
}

const bodyOf = (sealed: unknown): unknown =>
  (JSON.parse(pythonOpen(sealed).replace(/\0+$/, '')) as { body: unknown }).body;

it('says once at the start what it is worth', () => {
  expect(app.log.lines.filter((line) => line.includes('rap-cbc'))).toHaveLength(1);
});

const at = (timestamp: unknown): Buffer => pythonBody(1, { timestamp });

describe('a body that a server does not accept', () => {
  it.each<[string, unknown]>([
    ['in clear', { a: 1 }],
    ['nothing', null],
    ['text', 'hello'],
    ['no bytes', Buffer.alloc(0)],
    ['no hex', Buffer.from('zz'.repeat(16))],
    ['upper-case hex', Buffer.from(pythonBody(1).toString('latin1').toUpperCase())],
    ['half a block', pythonBody(1).subarray(0, -16)],
    ['of another key', pythonBody(1, { key: 'zzzzzzzzzzzzzzzz' })],
    [
      'tampered',
      Buffer.from(
        pythonBody(1)
          .toString('latin1')
          .replace(/^./, (c) => (c === '0' ? '1' : '0')),
      ),
    ],
    ['no JSON', pythonSeal('{"body": 1')],
    ['JSON with something behind it', pythonSeal(`{"body": 1, "timestamp": ${RECORDED_AT}, "nonce": "a"} 1`)],
    ['no envelope', pythonSeal('[1]')],
    ['without a body', pythonSeal(`{"timestamp": ${RECORDED_AT}, "nonce": "a"}`)],
    ['without a timestamp', pythonSeal('{"body": 1, "nonce": "a"}')],
    ['with a timestamp of text', at('1')],
    ['with a timestamp without end', pythonSeal('{"body": 1, "timestamp": Infinity, "nonce": "a"}')],
    ['stale', at(RECORDED_AT - 61)],
    ['of the future', at(RECORDED_AT + 61)],
    ['without a nonce', pythonSeal(`{"body": 1, "timestamp": ${RECORDED_AT}}`)],
    ['with an empty nonce', pythonBody(1, { nonce: '' })],
    ['with a nonce of null', pythonBody(1, { nonce: null })],
    ['with a nonce of parts', pythonBody(1, { nonce: [1] })],
    ['with a nonce that is not an integer', pythonBody(1, { nonce: 1.5 })],
    ['with a nonce of 65 characters', pythonBody(1, { nonce: 'n'.repeat(65) })],
    [
      'that is not UTF-8',
      pythonSeal(
        Buffer.concat([
          Buffer.from('{"body": "'),
          Buffer.from([0xff]),
          Buffer.from(`", "timestamp": ${RECORDED_AT}, "nonce": "u"}`),
        ]),
      ),
    ],
    ['nested without end', pythonSeal('['.repeat(5000))],
  ])('%s', async (_what, body) => {
    const raw = await open();
    raw.send(call(7, body));
    expect((await raw.answer(7)).slice(2)).toEqual(REFUSED);
    expect(calls).toEqual([]);
    expect(crypto.stats().failed).toBe(1);
    // the connection goes on
    raw.send(call(9, pythonBody('good')));
    expect(bodyOf((await raw.answer(9))[3])).toBe('good');
  });

  it('ends the connection when it is the third', async () => {
    const raw = await open();
    raw.send(call(7, 1), call(9, pythonBody('good')), call(11, 1), call(13, 1), call(15, pythonBody('late')));
    expect(await raw.closeReason()).toBe('crypto error');
    await raw.waitClosed();
    expect(calls).toEqual(['good']);
    expect(raw.frames.filter(([type]) => type === 101).map(([, id]) => id)).toEqual(
      expect.arrayContaining([7, 11, 13]),
    );
  });
});

const envelope = (nonce: string): Buffer =>
  pythonSeal(`{"body": ${nonce}, "timestamp": ${RECORDED_AT}, "nonce": ${nonce}}`);

describe('a nonce', () => {
  it('is taken once, over all connections, while its message would be of this time', async () => {
    const [one, two] = [await open(), await open()];
    const body = pythonBody(1, { nonce: 5222157193420677121n });
    one.send(call(7, body));
    expect(bodyOf((await one.answer(7))[3])).toBe(1);
    two.send(call(7, body));
    expect((await two.answer(7)).slice(2)).toEqual(REFUSED);
    nowMs += 60_000;
    one.send(call(9, body));
    expect((await one.answer(9)).slice(2)).toEqual(REFUSED);
  });

  it('that is a large integer is not taken for its neighbour', async () => {
    const raw = await open();
    raw.send(call(7, envelope('5222157193420677121')), call(9, envelope('5222157193420677122')));
    await raw.answer(7);
    await raw.answer(9);
    expect(calls).toEqual([5222157193420677121n, 5222157193420677122n]);
  });

  it('of this side is refused when it comes back: an answer is no request', async () => {
    const raw = await open();
    raw.send(call(7, pythonBody({ a: 1 })));
    const [, , , answer] = await raw.answer(7);
    raw.send(call(9, answer));
    expect((await raw.answer(9)).slice(2)).toEqual(REFUSED);
    expect(calls).toEqual([{ a: 1 }]);
  });

  it('may come with a timestamp of 60 seconds before and after', async () => {
    const raw = await open();
    raw.send(
      call(7, pythonBody(1, { timestamp: RECORDED_AT - 60 })),
      call(9, pythonBody(2, { timestamp: RECORDED_AT + 60 })),
    );
    expect(bodyOf((await raw.answer(7))[3])).toBe(1);
    expect(bodyOf((await raw.answer(9))[3])).toBe(2);
  });
});

describe('DECLARE', () => {
  it.each([
    ['without a key', DECLARE],
    ['with an unknown key id', declareWith({ crypto_id: 'nobody', check_body: pythonSeal('"nobody"') })],
    [
      'with __proto__ for a key id',
      declareWith({ crypto_id: '__proto__', check_body: pythonSeal('"__proto__"') }),
    ],
    ['with the wrong key', declareWith({ crypto_id: 'other', check_body: pythonSeal('"other"') })],
    [
      'with the check of another id',
      declareWith({ crypto_id: 'demo_id', check_body: pythonSeal('"other"') }),
    ],
    ['without a check', declareWith({ crypto_id: 'demo_id' })],
    ['with a check in clear', declareWith({ crypto_id: 'demo_id', check_body: 'demo_id' })],
    ['with a key id that is not text', declareWith({ crypto_id: 5, check_body: pythonSeal('5') })],
  ])('%s is refused with the one text', async (_what, frame) => {
    const raw = await RawSocket.connect(app.port);
    raw.send(frame, call(7, { a: 1 }));
    expect((await raw.answer(3)).slice(2)).toEqual(REFUSED);
    expect(await raw.closeReason()).toBe('crypto error');
    await raw.waitClosed();
    expect(calls).toEqual([]);
    expect(crypto.stats()).toMatchObject({ secured: 0, refused: 1 });
  });
});

it.each([
  ['a call', { target: '/default/echo', status_code: 500 }, 101],
  ['a channel', { target: '/default/room', status_code: 500, channel_life_cycle: 'DECLARE' }, 102],
])('%s in clear does not pass as an error', async (_what, header, type) => {
  const raw = await open();
  raw.send([type, 7, header, { a: 1 }]);
  expect((await raw.answer(7))[3]).toBe('crypto error');
  expect(calls).toEqual([]);
});

it('a channel ends on both sides with the message that is not accepted', async () => {
  const raw = await open();
  raw.send([
    102,
    7,
    { target: '/default/room', channel_life_cycle: 'DECLARE' },
    pythonBody({ room: 'lobby' }),
  ]);
  await raw.answer(7);
  raw.send([102, 7, { channel_life_cycle: 'MSG' }, pythonBody('hi')]);
  expect(bodyOf((await raw.answer(7))[3])).toBe('hi');
  raw.send([102, 7, { channel_life_cycle: 'MSG' }, 'in clear']);
  expect((await raw.answer(7)).slice(2)).toEqual([
    { channel_life_cycle: 'DROP', status_code: 1007 },
    'crypto error',
  ]);
  await eventually('the handler knows', () => calls.length === 2);
  expect(calls).toEqual([{ room: 'lobby' }, 'crypto error']);
});

it('a __proto__ key of a body is a property', async () => {
  const raw = await open();
  raw.send(
    call(7, pythonSeal(`{"body": {"__proto__": {"a": 1}}, "timestamp": ${RECORDED_AT}, "nonce": "p"}`)),
  );
  await raw.answer(7);
  expect(Object.keys(calls[0] as object)).toEqual(['__proto__']);
  expect((calls[0] as { a?: unknown }).a).toBeUndefined();
});

const clientCrypto = (): CryptoProcessor =>
  new CryptoProcessor({ mode: 'rap-cbc', keyId: 'demo_id', key: PYTHON_KEY, now: () => nowMs });

describe('a client', () => {
  it('speaks with a server of this project, events and bytes that JSON has not included', async () => {
    const client = app.client({ processors: [clientCrypto()] });
    expect(await client.call('echo', { x: 'héllo', n: 2n ** 60n })).toEqual({ x: 'héllo', n: 2n ** 60n });
    client.emit('event', { id: 1 });
    await eventually('the event', () => calls.length === 2);
    expect((await rejection(client.call('echo', Buffer.alloc(1))))['message']).toContain('JSON has no bytes');
    expect((await rejection(client.call('bytes')))['message']).toContain('JSON has no bytes');
  });

  it.each<[string, (answer: { nonce: unknown; request: Buffer }) => unknown]>([
    ['in clear', () => 3],
    ['stale', () => pythonBody(3, { timestamp: RECORDED_AT - 61 })],
    ['of the future', () => pythonBody(3, { timestamp: RECORDED_AT + 61 })],
    ['its own request', ({ request }) => request],
    ['garbage', () => Buffer.from('00'.repeat(32))],
  ])('does not take an answer that is %s', async (_what, answer) => {
    const server = await scriptedServer(async (peer) => {
      await answerDeclare(peer);
      const request = await peer.next(([type]) => type === 101);
      peer.send([101, request[1], {}, answer({ nonce: 1, request: request[3] as Buffer })]);
    });
    scope.defer(() => server.close());
    const client = app.client({ port: server.port, processors: [clientCrypto()] });
    expect(await rejection(client.call('echo', 1))).toMatchObject({
      status: 1007,
      code: 'ERR_RAP_CRYPTO',
      message: 'crypto error',
    });
  });

  it('goes after the third', async () => {
    const server = await scriptedServer(async (peer) => {
      await answerDeclare(peer);
      for (;;) {
        const request = await peer.next(([type]) => type === 101);
        peer.send([101, request[1], {}, 3]);
      }
    });
    scope.defer(() => server.close());
    const client = app.client({ port: server.port, processors: [clientCrypto()], reconnect: false });
    for (let i = 0; i < 3; i++)
      expect(await rejection(client.call('echo', i))).toMatchObject({ status: 1007 });
    await server.peers[0]?.waitClosed();
  });
});
