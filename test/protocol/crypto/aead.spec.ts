import { confirmation, connectionKeys } from '../../../lib/protocol/crypto/aead-keys.js';
import { AeadSeal, type WearLimits } from '../../../lib/protocol/crypto/aead-seal.js';
import { bytesOf } from '../../../lib/protocol/bytes/encoded-frame.js';
import { encodeFrame } from '../../../lib/protocol/encoder.js';
import { FrameDecoder } from '../../../lib/protocol/frame-decoder.js';
import type { Frame, MsgType } from '../../../lib/protocol/frame.js';
import { DEFAULT_FRAME_LIMITS, type FrameLimits } from '../../../lib/protocol/limits.js';
import { RecordDecoder, RecordWriter } from '../../../lib/protocol/record.js';
import { UnreadableBody } from '../../../lib/protocol/values/values.js';
import { aeadVectors, type AeadVector } from '../../helpers/python/aead-vectors.js';

const vectors = aeadVectors();
const ENDLESS: WearLimits = { frames: 2 ** 31, bytes: 2 ** 36 };

const secretsOf = ({ key, suite, declare, answer }: AeadVector) => ({
  key,
  suite,
  clientRandom: Buffer.from(declare.subarray(declare.indexOf('random') + 8).subarray(0, 32)),
  serverRandom: Buffer.from(answer.subarray(answer.indexOf('random') + 8).subarray(0, 32)),
});

function sealOf(
  { suite, keys, records }: AeadVector,
  side: 'client' | 'server',
  limits = ENDLESS,
  onWorn = (): void => {},
): AeadSeal {
  const other = side === 'client' ? 'server' : 'client';
  return new AeadSeal({ suite, records, send: keys[side], receive: keys[other], limits, onWorn });
}

type Decoder = FrameDecoder | RecordDecoder;

/** Reads what a side of the vector says, as the other one. */
function readerOf(
  vector: AeadVector,
  speaker: 'client' | 'server',
  limits: FrameLimits = DEFAULT_FRAME_LIMITS,
): Decoder {
  const seal = sealOf(vector, speaker === 'client' ? 'server' : 'client');
  const frames = new FrameDecoder(limits);
  if (!vector.records) frames.secure(seal);
  const decoder = vector.records ? new RecordDecoder(frames, seal) : frames;
  decoder.admit(limits.maxFrameBytes);
  return decoder;
}

function read(decoder: Decoder, bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  decoder.push(bytes);
  for (let frame = decoder.next(); frame; frame = decoder.next()) frames.push(frame);
  return frames;
}

function plainFrames(bytes: Buffer[]): Frame[] {
  const decoder = new FrameDecoder(DEFAULT_FRAME_LIMITS);
  decoder.admit(DEFAULT_FRAME_LIMITS.maxFrameBytes);
  return read(decoder, Buffer.concat(bytes));
}

const frameOf = ([type, id, header, body]: Frame): [MsgType, number, Frame[2], unknown] => [
  type,
  id,
  header,
  body,
];

describe.each(vectors)('$name', (vector) => {
  it('derives the confirmation and the keys of an independent implementation', () => {
    const secrets = secretsOf(vector);
    expect(confirmation(secrets, vector.declare)).toEqual(vector.confirm);
    expect(connectionKeys(secrets, vector.declare, vector.answer)).toEqual(vector.keys);
  });

  it.each(['client', 'server'] as const)('opens what the %s has sealed', (side) => {
    const all = Buffer.concat(vector.sealed[side]);
    expect(read(readerOf(vector, side), all)).toEqual(plainFrames(vector.plain[side]));
  });

  it.each(['client', 'server'] as const)('opens it in pieces of every size, from the %s', (side) => {
    const all = Buffer.concat(vector.sealed[side]);
    for (let size = 1; size <= all.length; size++) {
      const reader = readerOf(vector, side);
      const frames: Frame[] = [];
      for (let at = 0; at < all.length; at += size) frames.push(...read(reader, all.subarray(at, at + size)));
      expect(frames).toHaveLength(3);
      expect(reader.unfinishedBytes).toBe(0);
    }
  });

  it.each(['client', 'server'] as const)(
    'seals as an independent implementation does, for the %s',
    (side) => {
      const seal = sealOf(vector, side);
      if (vector.records) {
        const records = new RecordWriter(seal);
        const [first, ...rest] = vector.plain[side] as [Buffer, ...Buffer[]];
        const stream = Buffer.concat(rest);
        const pieces = [[first], [stream.subarray(0, 25), stream.subarray(25, 40)], [stream.subarray(40)]];
        expect(pieces.map((each) => records.record(each).toString('hex'))).toEqual(
          vector.sealed[side].map((bytes) => bytes.toString('hex')),
        );
        return;
      }
      const sealed = plainFrames(vector.plain[side]).map((frame) =>
        bytesOf(encodeFrame(...frameOf(frame), DEFAULT_FRAME_LIMITS, seal)).toString('hex'),
      );
      expect(sealed).toEqual(vector.sealed[side].map((bytes) => bytes.toString('hex')));
    },
  );

  it('accepts no frame with any one bit flipped, and says nothing but that', () => {
    const [first, second] = vector.sealed.client as [Buffer, Buffer];
    for (let bit = 0; bit < second.length * 8; bit++) {
      const tampered = Buffer.from(second);
      tampered[bit >>> 3] = (tampered[bit >>> 3] as number) ^ (1 << (bit & 7));
      const reader = readerOf(vector, 'client');
      expect(read(reader, first)).toHaveLength(1);
      // a length that was made longer waits for bytes that then do not fit either
      const attempt = (): Frame[] => [...read(reader, tampered), ...read(reader, Buffer.alloc(70_000))];
      expect(attempt).toThrow(expect.objectContaining({ status: 1007 }) as Error);
    }
  });

  it.each<[string, (bytes: AeadVector['sealed']) => (Buffer | undefined)[]]>([
    ['replayed', ({ client }) => [client[0], client[0]]],
    ['reordered', ({ client }) => [client[1]]],
    ['left out', ({ client }) => [client[0], client[2]]],
    ['reflected', ({ server }) => [server[0]]],
    [
      'spliced',
      ({ client }) => [
        client[0],
        Buffer.concat([client[1]?.subarray(0, -20) as Buffer, client[2]?.subarray(-20) as Buffer]),
      ],
    ],
    ['cut', ({ client }) => [client[0]?.subarray(0, -1), client[1]]],
  ])('does not open what was %s', (_what, choose) => {
    const reader = readerOf(vector, 'client');
    const attempt = (): void => {
      for (const bytes of choose(vector.sealed)) read(reader, bytes as Buffer);
    };
    expect(attempt).toThrow(expect.objectContaining({ status: 1007 }) as Error);
  });

  it('does not take a frame in clear', () => {
    expect(() => read(readerOf(vector, 'client'), vector.plain.client[0] as Buffer)).toThrow(
      expect.objectContaining({ status: 1007 }) as Error,
    );
  });

  it('opens nothing with the keys of another handshake', () => {
    const other = {
      ...vector,
      keys: connectionKeys(secretsOf(vector), vector.declare, Buffer.concat([vector.answer, vector.answer])),
    };
    const attempt = (): Frame[] => read(readerOf(other, 'client'), vector.sealed.client[0] as Buffer);
    expect(attempt).toThrow(expect.objectContaining({ status: 1007 }) as Error);
  });

  it('tells once that the keys have done their share, and seals nothing after twice as much', () => {
    let worn = 0;
    const seal = sealOf(vector, 'client', { frames: 3, bytes: 2 ** 36 }, () => (worn += 1));
    const told: number[] = [];
    for (let i = 0; i < 6; i++) {
      seal.seal(Buffer.alloc(3), [Buffer.alloc(1)]);
      told.push(worn);
    }
    expect(told).toEqual([0, 0, 0, 1, 1, 1]);
    expect(() => seal.seal(Buffer.alloc(3), [Buffer.alloc(1)])).toThrow('used up');
  });

  it('counts bytes as well', () => {
    let worn = 0;
    const seal = sealOf(vector, 'client', { frames: 2 ** 31, bytes: 1000 }, () => (worn += 1));
    seal.seal(Buffer.alloc(500), [Buffer.alloc(499)]);
    expect(worn).toBe(0);
    seal.seal(Buffer.alloc(0), [Buffer.alloc(1)]);
    expect(worn).toBe(1);
    expect(() => seal.seal(Buffer.alloc(0), [Buffer.alloc(1000)])).toThrow('used up');
  });
});

describe('what was inside a sealed frame', () => {
  const vector = vectors.find(({ records }) => !records) as AeadVector;
  const sealed = (body: Buffer): Buffer => {
    const bound = Buffer.from([0x65, 0x07, 0x80]);
    const bytes = Buffer.concat(sealOf(vector, 'client').seal(bound, [body]));
    const head =
      bytes.length < 0x100 ? [0xc4, bytes.length] : [0xc5, bytes.length >>> 8, bytes.length & 0xff];
    return Buffer.concat([Buffer.from([0x94]), bound, Buffer.from(head), bytes]);
  };

  it.each<[string, Buffer, string]>([
    ['nothing', Buffer.alloc(0), 'one whole value'],
    ['half a value', Buffer.from([0x92, 0x01]), 'one whole value'],
    ['two values', Buffer.from([0x01, 0x02]), 'one whole value'],
    ['an array too deep', Buffer.concat([Buffer.alloc(200, 0x91), Buffer.from([0xc0])]), 'too deep'],
    ['a count without end', Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]), 'too many items'],
    ['an extension type', Buffer.from([0xd4, 0x01, 0x00]), 'not allowed'],
    ['bad UTF-8', Buffer.from([0xa1, 0xff]), 'not UTF-8'],
  ])('%s is refused as in clear', (_what, body, message) => {
    expect(() => read(readerOf(vector, 'client'), sealed(body))).toThrow(
      expect.objectContaining({ status: 1003, message: expect.stringContaining(message) as string }) as Error,
    );
  });

  it.each(['8101a161', '819001', '8192010201'])('that has a key that is not text fails alone: %s', (body) => {
    const [frame] = read(readerOf(vector, 'client'), sealed(Buffer.from(body, 'hex')));
    expect(frame?.[3]).toEqual(new UnreadableBody('a map key is not a string'));
  });

  it('may be a body with a __proto__ key, which becomes a property', () => {
    const [frame] = read(
      readerOf(vector, 'client'),
      sealed(Buffer.from('81a95f5f70726f746f5f5f81a16101', 'hex')),
    );
    const body = frame?.[3] as object;
    expect(Object.keys(body)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(body)).toBe(Object.prototype);
  });

  it('is not taken if the length has a longer form', () => {
    const bytes = sealed(Buffer.from([0x01]));
    const longer = Buffer.concat([bytes.subarray(0, 4), Buffer.from([0xc5, 0x00]), bytes.subarray(5)]);
    expect(() => read(readerOf(vector, 'client'), longer)).toThrow(
      expect.objectContaining({ status: 1007 }) as Error,
    );
  });
});

const plain = (id: number, sent: unknown): string =>
  bytesOf(encodeFrame(101, id, { target: '/default/x' }, sent, DEFAULT_FRAME_LIMITS)).toString('latin1');

const recordHead = (bytes: number): Buffer =>
  Buffer.from([0x94, 0x68, 0x01, 0x80, 0xc5, bytes >>> 8, bytes & 0xff]);

describe('a record', () => {
  const vector = vectors.find(({ records }) => records) as AeadVector;
  const [first] = vector.sealed.client as [Buffer];

  it.each<[string, Buffer]>([
    [
      'a length in a longer form',
      Buffer.concat([first.subarray(0, 4), Buffer.from([0xc5, 0x00]), first.subarray(5)]),
    ],
    ['a length of 32 bits', Buffer.concat([first.subarray(0, 4), Buffer.from([0xc6]), Buffer.alloc(9)])],
    ['another id', Buffer.concat([Buffer.from([0x94, 0x68, 0x02, 0x80]), first.subarray(4)])],
    ['another type', Buffer.concat([Buffer.from([0x94, 0x69, 0x01, 0x80]), first.subarray(4)])],
    ['no bytes', Buffer.from([0x94, 0x68, 0x01, 0x80, 0xc4, 0x00])],
  ])('with %s is refused', (_what, bytes) => {
    expect(() => read(readerOf(vector, 'client'), bytes)).toThrow(
      expect.objectContaining({ status: 1007 }) as Error,
    );
  });

  it('beyond 16 KiB is refused before the other side is known, by its length', () => {
    const reader = new RecordDecoder(new FrameDecoder(DEFAULT_FRAME_LIMITS), sealOf(vector, 'server'));
    expect(read(reader, recordHead(16 * 1024))).toEqual([]);
    const other = new RecordDecoder(new FrameDecoder(DEFAULT_FRAME_LIMITS), sealOf(vector, 'server'));
    expect(() => read(other, recordHead(16 * 1024 + 1))).toThrow('a record is too large');
  });

  it('takes up bytes that came behind DECLARE in one chunk', () => {
    const frames = new FrameDecoder(DEFAULT_FRAME_LIMITS);
    frames.push(Buffer.concat([vector.declare, first]));
    expect(frames.next()?.[2]).toEqual({ target: '/_event/DECLARE' });
    const reader = new RecordDecoder(frames, sealOf(vector, 'server'));
    expect(reader.next()?.[2]).toEqual({ target: '/_event/ping' });
    expect(reader.next()).toBeUndefined();
  });

  describe('of no bytes', () => {
    let records: RecordWriter;
    let reader: Decoder;
    const say = (pieces: readonly Uint8Array[]): Frame[] => read(reader, Buffer.from(records.record(pieces)));

    beforeEach(() => {
      records = new RecordWriter(sealOf(vector, 'client'));
      reader = readerOf(vector, 'client');
    });

    it('is borne 16 times in a row, wherever in a frame, and not once more', () => {
      const [ping = Buffer.alloc(0)] = vector.plain.client;
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 16; i++) expect(say([])).toEqual([]);
        expect(say([ping.subarray(0, 5)])).toEqual([]);
        for (let i = 0; i < 16; i++) expect(say([])).toEqual([]);
        expect(say([ping.subarray(5)])).toHaveLength(1);
      }
      for (let i = 0; i < 16; i++) expect(say([])).toEqual([]);
      expect(() => say([])).toThrow('too many records of no bytes');
    });

    it('ends the flood also if all come in one chunk', () => {
      const flood = Buffer.concat(Array.from({ length: 3000 }, () => Buffer.from(records.record([]))));
      expect(() => read(reader, flood)).toThrow('too many records of no bytes');
    });
  });
});

describe('an encoder with a seal', () => {
  const vector = vectors.find(({ records }) => !records) as AeadVector;

  it.each([
    ['nothing', null],
    ['text', 'x'.repeat(100_000)],
    ['bytes beyond a slab', { a: Buffer.alloc(200_000, 1), b: Buffer.alloc(70_000, 2), c: 'after' }],
    ['many small frames', 1],
  ])('writes %s so that the other side reads it', (_what, body) => {
    const seal = sealOf(vector, 'client');
    const reader = readerOf(vector, 'client');
    for (let id = 1; id < 30; id += 2) {
      const bytes = bytesOf(encodeFrame(101, id, { target: '/default/x' }, body, DEFAULT_FRAME_LIMITS, seal));
      const [frame] = read(reader, bytes);
      expect(plain(frame?.[1] as number, frame?.[3]) === plain(id, body)).toBe(true);
    }
  });

  it('refuses a frame that sealing makes too large, and the next one goes on where the last ended', () => {
    const limits = { ...DEFAULT_FRAME_LIMITS, maxFrameBytes: 1000 };
    const seal = sealOf(vector, 'client');
    const reader = readerOf(vector, 'client');
    expect(() => encodeFrame(101, 1, null, Buffer.alloc(985), limits, seal)).toThrow('too large');
    expect(read(reader, bytesOf(encodeFrame(101, 3, null, 'next', limits, seal)))).toEqual([
      [101, 3, {}, 'next'],
    ]);
  });

  it('keeps the order of frames if a body sends something itself', () => {
    const seal = sealOf(vector, 'client');
    const wire: Buffer[] = [];
    const body = {
      get a() {
        wire.push(bytesOf(encodeFrame(101, 3, null, 'inner', DEFAULT_FRAME_LIMITS, seal)));
        return 1;
      },
    };
    wire.push(bytesOf(encodeFrame(101, 1, null, body, DEFAULT_FRAME_LIMITS, seal)));
    expect(read(readerOf(vector, 'client'), Buffer.concat(wire)).map(([, , , what]) => what)).toEqual([
      'inner',
      { a: 1 },
    ]);
  });
});
