import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import { MsgType, type Frame } from '../../../lib/protocol/frame.js';
import { Extension, offeredExtensions } from '../../../lib/protocol/extension.js';
import { advertisedLimits } from '../../../lib/rpc/connection/peer-limits.js';
import { DEFAULT_LIMITS } from '../../../lib/rpc/limits.js';
import { PeerPair, type PairOptions } from '../../helpers/peer-pair.js';

const DECLARE = { target: '/_event/DECLARE' };

const info = (port: number): object => ({
  host: ['127.0.0.1', port],
  version: '0.1',
  user_agent: expect.stringMatching(/^nestjs-rap\//) as string,
});

let pair: PeerPair;

function fresh(options?: PairOptions): PeerPair {
  pair = new PeerPair(options);
  return pair;
}

afterEach(() => pair.end());

/** A server whose client is played by the test. */
function serverOnly(options?: PairOptions): PeerPair {
  fresh({ ...options, scripted: 'client' }).server.start();
  return pair;
}

/** A client whose server is played by the test. */
function clientOnly(options?: PairOptions): PeerPair {
  fresh({ ...options, scripted: 'server' }).client.start();
  return pair;
}

const closeReasons = (): unknown[] => pair.links.toClient.to('/_event/CLOSE').map(([, , , body]) => body);

it('brings both sides to open, with the metadata and the name of the connection', () => {
  fresh({ metadata: { app: 'demo', n: 1 } }).open();
  expect(pair.server.metadata).toEqual({ app: 'demo', n: 1 });
  expect(Object.isFrozen(pair.server.metadata)).toBe(true);
  expect([pair.client.id, pair.server.id]).toEqual(['conn-1', 'conn-1']);
  expect([pair.clientOwner.events, pair.serverOwner.events]).toEqual([['open'], ['open']]);
});

it("speaks rap's frames: ids 3 and 3, info of the own end, an empty header in the answer", () => {
  fresh({ metadata: { app: 'demo' } }).open();
  const ofClient = offeredExtensions(
    DEFAULT_LIMITS.channelWindowBytes,
    advertisedLimits(DEFAULT_LIMITS, false),
  );
  const ofServer = offeredExtensions(
    DEFAULT_LIMITS.channelWindowBytes,
    advertisedLimits(DEFAULT_LIMITS, true),
  );
  expect(pair.links.toServer.frames).toEqual([
    [103, 3, DECLARE, { client_info: info(1), metadata: { app: 'demo' }, extensions: ofClient }],
  ]);
  expect(pair.links.toClient.frames).toEqual([
    [103, 3, {}, { conn_id: 'conn-1', server_info: info(2), extensions: ofServer }],
  ]);
});

it('works however the bytes are cut up', () => {
  fresh({ metadata: { app: 'demo' } });
  pair.links.toServer.release(1);
  pair.links.toClient.release(1);
  pair.open();
  expect(pair.links.server.chunks).toBeGreaterThan(100);
});

describe('a server', () => {
  it('gives a silent connection its time, and then ends it without a word', () => {
    serverOnly();
    pair.clock.advance(9_999);
    expect(pair.server.state).toBe('opening');
    pair.clock.advance(1);
    expect(pair.serverOwner.reason).toMatchObject({
      code: LocalCode.ConnectionLost,
      message: 'no DECLARE in time',
    });
    expect(pair.serverOwner.events).toEqual(['close']);
    expect(pair.links.toClient.frames).toEqual([]);
  });

  it('is not kept waiting by bytes that make no DECLARE', () => {
    serverOnly();
    for (let i = 0; i < 20; i++) {
      pair.links.toServer.inject(Buffer.from([[0x94, 0x67, 0x03, 0x81][i] ?? 0xa1]));
      pair.pass(500);
    }
    expect(pair.server.state).toBe('closed');
  });

  it('stops the wait with DECLARE', () => {
    serverOnly();
    pair.clock.advance(9_999);
    pair.links.toServer.inject([103, 3, DECLARE, {}]);
    pair.flow();
    pair.clock.advance(15_000);
    expect(pair.server.state).toBe('open');
  });

  it.each([
    ['a call', [101, 3, { target: '/default/x' }, {}]],
    ['a channel', [102, 3, { channel_life_cycle: 'DECLARE', target: '/default/x' }, {}]],
    ['another event', [103, 3, { target: '/_event/ping' }, {}]],
    ['an event without a target', [103, 3, {}, {}]],
    ['an answer of a client', [203, 4, { target: '/_event/ping' }, '']],
    ['DECLARE as a call', [101, 3, DECLARE, {}]],
  ] as unknown as [string, Frame][])('takes nothing but DECLARE first, not %s', (_, frame) => {
    serverOnly().links.toServer.inject(frame, [103, 5, DECLARE, {}]);
    pair.flow();
    expect(pair.serverOwner.events).toEqual(['close']);
    expect(pair.serverOwner.reason).toMatchObject({
      status: 1003,
      message: 'the first frame must be DECLARE',
    });
    expect(pair.serverOwner.calls).toEqual([]);
    expect(closeReasons()).toEqual(['the first frame must be DECLARE']);
  });

  it('takes no second DECLARE', () => {
    fresh().open();
    pair.links.toServer.inject([103, 5, DECLARE, { metadata: { app: 'other' } }]);
    pair.flow();
    expect(pair.serverOwner.reason).toMatchObject({ status: 1003, message: 'a second DECLARE' });
    expect(closeReasons()).toEqual(['a second DECLARE']);
    expect(pair.server.metadata).toEqual({});
    expect(pair.clientOwner.reason?.message).toContain('a second DECLARE');
  });

  it('takes no large frame before DECLARE is done, and large ones after', () => {
    serverOnly({ limits: { maxFrameBytesBeforeDeclare: 1024 } });
    pair.links.toServer.inject([103, 3, DECLARE, { metadata: { x: 'x'.repeat(2000) } }]);
    pair.flow();
    expect(closeReasons()).toEqual(['frame too large']);
    pair.end();
    fresh({ limits: { maxFrameBytesBeforeDeclare: 1024 } }).open();
    pair.call('x'.repeat(2000));
    pair.flow();
    expect(pair.serverOwner.calls).toHaveLength(1);
  });

  it.each([
    ['nil', null],
    ['text', 'DECLARE'],
    ['a number', 7],
    ['bytes', Buffer.from('DECLARE')],
    ['an array', [{ metadata: { a: 1 } }]],
    ['metadata that is nil', { metadata: null }],
    ['metadata that is a list', { metadata: [1, 2, 3] }],
    ['metadata that is text', { metadata: 'admin' }],
    ['extensions that are nil', { extensions: null }],
    ['extensions that are a list', { extensions: ['one_way'] }],
    ['extensions that are text', { extensions: 'one_way' }],
    ['an extension without parameters', { extensions: { one_way: null } }],
    ['an extension that is true', { extensions: { one_way: true } }],
    ['an extension with a list', { extensions: { one_way: [] } }],
    ['extensions that nobody knows', { extensions: { toString: {}, constructor: {}, x: {} } }],
    ['client_info that is none', { client_info: 7 }],
  ])('opens with nothing agreed if the body of DECLARE is or holds %s', (_, body: unknown) => {
    serverOnly().links.toServer.inject([103, 3, DECLARE, body]);
    pair.flow();
    expect(pair.server.state).toBe('open');
    expect(pair.server.metadata).toEqual({});
    expect(pair.server.has(Extension.OneWay)).toBe(false);
    expect(pair.links.toClient.frames).toEqual([
      [103, 3, {}, { conn_id: 'conn-1', server_info: expect.any(Object) as object }],
    ]);
  });

  it('keeps metadata with a key of the prototype as data', () => {
    serverOnly();
    const metadata = JSON.parse('{"__proto__": {"admin": true}, "constructor": 1}') as object;
    pair.links.toServer.inject([103, 3, DECLARE, { metadata }]);
    pair.flow();
    expect((pair.server.metadata as { admin?: unknown }).admin).toBeUndefined();
    expect(Object.getPrototypeOf(pair.server.metadata)).toBe(Object.prototype);
    expect(Object.hasOwn(pair.server.metadata, '__proto__')).toBe(true);
  });

  it('serves calls that follow DECLARE in the same bytes', () => {
    serverOnly().links.toServer.inject([103, 3, DECLARE, {}], [101, 5, { target: '/default/x' }, 'body']);
    pair.flow();
    expect(pair.serverOwner.events).toEqual(['open']);
    expect(pair.serverOwner.call().body).toBe('body');
  });
});

describe('a client', () => {
  it('waits for the answer so long, and no longer', () => {
    clientOnly();
    pair.links.toServer.lose();
    pair.clock.advance(8_999);
    expect(pair.client.state).toBe('opening');
    pair.clock.advance(1);
    expect(pair.clientOwner.reason).toMatchObject({
      code: LocalCode.ConnectionLost,
      message: 'the server did not answer DECLARE in time',
    });
    expect(pair.clientOwner.events).toEqual(['close']);
  });

  it.each([
    ['a call', [101, 3, {}, 1]],
    ['a channel', [102, 3, { channel_life_cycle: 'DECLARE' }, null]],
  ] as unknown as [string, Frame][])('takes no %s before the answer', (_, frame) => {
    clientOnly().links.toClient.inject(frame);
    pair.flow();
    expect(pair.clientOwner.reason).toMatchObject({
      status: 1003,
      message: 'the first frame must answer DECLARE',
    });
  });

  it('answers pings of the server before its answer to DECLARE', () => {
    clientOnly().links.toClient.inject([203, 4, { target: '/_event/ping' }, '']);
    pair.flow();
    expect(pair.links.toServer.frames.at(-1)).toEqual([203, 4, { target: '/_event/ping' }, '']);
    expect(pair.client.state).toBe('opening');
    pair.links.toClient.inject([103, 3, {}, { conn_id: 'x' }]);
    pair.flow();
    expect(pair.client.state).toBe('open');
  });

  it('fails with what the server says when it closes', () => {
    clientOnly().links.toClient.inject([203, 4, { target: '/_event/CLOSE' }, 'no room']);
    pair.flow();
    expect(pair.clientOwner.reason).toMatchObject({
      code: LocalCode.ConnectionLost,
      message: 'the server closed the connection: no room',
    });
  });

  it.each([[7], [null], [{ a: 1 }], [Buffer.from('x')]])(
    'takes a reason that is not text: %p',
    (body: unknown) => {
      clientOnly().links.toClient.inject([203, 4, { target: '/_event/CLOSE' }, body]);
      pair.flow();
      expect(pair.clientOwner.reason?.message).toBe('the server closed the connection: no reason given');
    },
  );

  it('fails with the error of a DECLARE that was refused', () => {
    clientOnly().links.toClient.inject([103, 3, { status_code: 401 }, 'who are you']);
    pair.flow();
    expect(pair.clientOwner.reason).toMatchObject({ status: 401, message: 'who are you' });
    expect(pair.clientOwner.events).toEqual(['close']);
  });

  it.each([[null], ['x'], [[]], [{}], [{ conn_id: 7, extensions: 7 }], [{ extensions: { one_way: [] } }]])(
    'opens with a hostile answer, and agrees on nothing: %p',
    (body: unknown) => {
      clientOnly().links.toClient.inject([103, 3, {}, body]);
      pair.flow();
      expect(pair.client.state).toBe('open');
      expect(pair.client.id).toBe('');
      expect(pair.client.has(Extension.OneWay)).toBe(false);
    },
  );

  it('ignores a second answer', () => {
    clientOnly().links.toClient.inject([103, 3, {}, { conn_id: 'a' }], [103, 3, {}, { conn_id: 'b' }]);
    pair.flow();
    expect(pair.client.id).toBe('a');
    expect(pair.clientOwner.events).toEqual(['open']);
  });

  it('takes for the answer only what answers its DECLARE', () => {
    clientOnly().links.toClient.inject([103, 5, {}, { conn_id: 'x' }]);
    pair.flow();
    expect(pair.client.state).not.toBe('open');
  });

  it('leaves nothing behind if its own DECLARE cannot be sent', () => {
    fresh({ metadata: { big: 2n ** 70n } });
    expect(() => pair.client.start()).toThrow(Fault);
  });
});

/** Whether `one_way` holds for a client that offers this. */
function declared(extensions: unknown): boolean {
  serverOnly().links.toServer.inject([103, 3, DECLARE, { extensions }]);
  pair.flow();
  return pair.server.has(Extension.OneWay);
}

describe('extensions', () => {
  it('hold if both sides name them', () => {
    fresh().open();
    expect([pair.client.has(Extension.OneWay), pair.server.has(Extension.OneWay)]).toEqual([true, true]);
  });

  it('do not hold if the client does not name them; the answer then has no such key', () => {
    expect(declared(undefined)).toBe(false);
    const [, , , body] = pair.links.toClient.frames[0] as Frame;
    expect(Object.keys(body as object)).toEqual(['conn_id', 'server_info']);
  });

  it('do not hold if the server does not name them', () => {
    clientOnly().links.toClient.inject([103, 3, {}, { conn_id: 'x', server_info: {} }]);
    pair.flow();
    expect(pair.client.has(Extension.OneWay)).toBe(false);
  });

  it('are answered only as far as both know them', () => {
    expect(declared({ one_way: {}, teleport: { speed: 9 } })).toBe(true);
    const [, , , body] = pair.links.toClient.frames[0] as Frame;
    expect((body as { extensions: unknown }).extensions).toEqual({ one_way: {} });
  });

  it('change nothing for a peer that did not offer them: one_way is a header like any other', () => {
    declared(undefined);
    pair.links.toServer.inject([101, 5, { target: '/default/x', one_way: true }, 1]);
    pair.flow();
    const call = pair.serverOwner.call();
    expect(call.oneWay).toBe(false);
    call.reply('answered');
    expect(pair.links.toClient.frames.at(-1)).toEqual([MsgType.Msg, 5, {}, 'answered']);
  });
});

describe.each([['0.1'], ['0.2'], ['9.9'], [''], [7], [null], [undefined]])('the version %p', (version) => {
  const told = { host: ['127.0.0.1', 1], version, user_agent: 'x' };

  it('of a client changes nothing', () => {
    serverOnly();
    pair.links.toServer.inject([103, 3, DECLARE, { client_info: told }]);
    pair.flow();
    expect(pair.server.state).toBe('open');
  });

  it('of a server changes nothing', () => {
    fresh({ scripted: 'server' });
    pair.client.start();
    pair.links.toClient.inject([103, 3, {}, { conn_id: '1', server_info: told }]);
    pair.flow();
    expect(pair.client.state).toBe('open');
  });
});
