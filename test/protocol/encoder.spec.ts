import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { Unpackr } from 'msgpackr';
import { EncodedHeader } from '../../lib/protocol/bytes/encoded-frame.js';
import { encodeFrame, encodeHeader, Encoder } from '../../lib/protocol/encoder.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { decode, encodeOwn, hex, vectors, wire } from './frames.js';
import { ascii, HEAD, uint } from './scan.js';
import { frames, leaf, text, values } from './values.js';

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'auto' } as object);
const LIMITS = DEFAULT_FRAME_LIMITS;

/** A body as it goes on the wire, in hex. */
function bodyHex(body: unknown, encoder = new Encoder()): string {
  const bytes = wire(encoder.frame(101, 3, null, body, LIMITS));
  const head = hex(HEAD);
  expect(bytes.subarray(0, 4)).toEqual(head);
  return bytes.subarray(4).toString('hex');
}

const plain = (digits: string): string => hex(digits).toString('hex');
const time = 1_732_270_000_000;

const repeat = (item: string, count: number): string => item.repeat(count);
const keys = (count: number): string[] => Array.from({ length: count }, (_, i) => uint(i, 3));

class Point {
  static origin = 0;
  readonly x = 1;
  readonly #hidden = 2;
  get sum(): number {
    return this.x + this.#hidden;
  }
  method(): void {}
}

describe('the forms of values', () => {
  it.each<[string, unknown, string]>([
    ['undefined', undefined, 'c0'],
    ['null', null, 'c0'],
    ['true', true, 'c3'],
    ['false', false, 'c2'],
    ['a function', () => 1, 'c0'],
    ['a symbol', Symbol('s'), 'c0'],
    ['undefined, functions and symbols in an array', [undefined, () => 1, Symbol('s'), 1], '94 c0 c0 c0 01'],
    ['a hole in an array', Object.assign(Array(3), { 0: 1, 2: 3 }), '93 01 c0 03'],
    ['a property that is undefined', { a: undefined, b: 1 }, '81 a162 01'],
    ['an object of nothing but undefined', { a: undefined }, '80'],

    ['0', 0, '00'],
    ['127', 127, '7f'],
    ['128', 128, 'cc 80'],
    ['255', 255, 'cc ff'],
    ['256', 256, 'cd 0100'],
    ['65535', 65_535, 'cd ffff'],
    ['65536', 65_536, 'ce 00010000'],
    ['2^31', 2 ** 31, 'ce 80000000'],
    ['2^32 - 1', 2 ** 32 - 1, 'ce ffffffff'],
    ['2^32', 2 ** 32, 'cf 0000000100000000'],
    ['a time in milliseconds', time, `cf ${uint(time, 8)}`],
    ['2^53 - 1', 2 ** 53 - 1, 'cf 001fffffffffffff'],
    ['-1', -1, 'ff'],
    ['-32', -32, 'e0'],
    ['-33', -33, 'd0 df'],
    ['-128', -128, 'd0 80'],
    ['-129', -129, 'd1 ff7f'],
    ['-32768', -32_768, 'd1 8000'],
    ['-32769', -32_769, 'd2 ffff7fff'],
    ['-2^31', -(2 ** 31), 'd2 80000000'],
    ['-2^31 - 1', -(2 ** 31) - 1, 'd3 ffffffff7fffffff'],
    ['-2^32', -(2 ** 32), 'd3 ffffffff00000000'],
    ['-2^32 - 1', -(2 ** 32) - 1, 'd3 fffffffeffffffff'],
    ['-(2^53 - 1)', -(2 ** 53 - 1), 'd3 ffe0000000000001'],

    ['1.5', 1.5, 'cb 3ff8000000000000'],
    ['0.1', 0.1, 'cb 3fb999999999999a'],
    ['-0', -0, 'cb 8000000000000000'],
    ['NaN', NaN, 'cb 7ff8000000000000'],
    ['Infinity', Infinity, 'cb 7ff0000000000000'],
    ['-Infinity', -Infinity, 'cb fff0000000000000'],
    ['2^53, which is not a safe integer', 2 ** 53, 'cb 4340000000000000'],
    ['-2^53', -(2 ** 53), 'cb c340000000000000'],
    ['1e300', 1e300, 'cb 7e37e43c8800759c'],
    ['the smallest number', Number.MIN_VALUE, 'cb 0000000000000001'],

    ['0n', 0n, 'cf 0000000000000000'],
    ['1n', 1n, 'cf 0000000000000001'],
    ['2n ** 64n - 1n', 2n ** 64n - 1n, 'cf ffffffffffffffff'],
    ['-1n', -1n, 'd3 ffffffffffffffff'],
    ['-(2n ** 63n)', -(2n ** 63n), 'd3 8000000000000000'],

    ['a Uint8Array', Uint8Array.of(1, 2), 'c4 02 0102'],
    ['a Buffer', Buffer.of(1, 2), 'c4 02 0102'],
    ['a part of a Buffer', Buffer.of(0, 1, 2, 3).subarray(1, 3), 'c4 02 0102'],
    ['an ArrayBuffer', Uint8Array.of(1, 2).buffer, 'c4 02 0102'],
    ['a DataView', new DataView(Uint8Array.of(0, 1, 2, 3).buffer, 1, 2), 'c4 02 0102'],
    ['no bytes', new Uint8Array(0), 'c4 00'],

    ['an Int8Array', Int8Array.of(-1, 2), '92 ff 02'],
    ['a Uint8ClampedArray', Uint8ClampedArray.of(1, 255), '92 01 cc ff'],
    ['an Int16Array', Int16Array.of(-1, 300), '92 ff cd 012c'],
    ['a Uint32Array', Uint32Array.of(2 ** 32 - 1), '91 ce ffffffff'],
    ['a Float32Array', Float32Array.of(1.5, 2), '92 cb 3ff8000000000000 02'],
    ['a Float64Array', Float64Array.of(-0), '91 cb 8000000000000000'],
    ['a BigInt64Array', BigInt64Array.of(-1n), '91 d3 ffffffffffffffff'],
    ['a Set', new Set([1, 'a', 1]), '92 01 a161'],
    ['an empty Set', new Set(), '90'],
    ['an array', [1, [2, []]], '92 01 92 02 90'],

    [
      'a Map',
      new Map<unknown, unknown>([
        ['b', 1],
        ['a', new Map()],
      ]),
      '82 a162 01 a161 80',
    ],
    [
      'a Map of number and bigint keys',
      new Map<unknown, unknown>([
        [2, 'x'],
        [10n, 'y'],
        [-1.5, 'z'],
      ]),
      '83 a132 a178 a23130 a179 a42d312e35 a17a',
    ],
    ['a Map with __proto__ as a key', new Map([['__proto__', 1]]), `81 a9 ${ascii('__proto__')} 01`],

    ['a Date', new Date(time), `b8 ${ascii('2024-11-22T10:06:40.000Z')}`],
    ['an invalid Date', new Date(NaN), 'c0'],
    ['toJSON()', { a: 1, toJSON: (key: string) => ['json', key] }, '92 a46a736f6e a0'],
    ['an inherited toJSON()', Object.create({ toJSON: () => 7 }), '07'],
    ['toJSON() of a value in a map', { a: { toJSON: () => undefined } }, '81 a161 c0'],
    ['toJSON() that gives bytes', { toJSON: () => Buffer.of(1) }, 'c4 01 01'],
    [
      'toJSON() that gives itself',
      {
        a: 1,
        toJSON() {
          return this;
        },
      },
      '81 a161 01',
    ],
    ['toJSON that is not a function', { toJSON: 1 }, `81 a6 ${ascii('toJSON')} 01`],

    ['a map', { b: 1, a: { c: null } }, '82 a162 01 a161 81 a163 c0'],
    ['an object without a prototype', Object.assign(Object.create(null) as object, { a: 1 }), '81 a161 01'],
    ['a class instance', new Point(), '81 a178 01'],
    [
      'an object of an object',
      Object.assign(Object.create({ inherited: 1 }) as object, { own: 2 }),
      '81 a36f776e 02',
    ],
    [
      'a getter',
      {
        get a() {
          return 1;
        },
      },
      '81 a161 01',
    ],
    ['a key that is not enumerable', Object.defineProperty({ b: 1 }, 'a', { value: 1 }), '81 a162 01'],
    ['a key that is a symbol', { [Symbol('s')]: 1, a: 2 }, '81 a161 02'],
    ['functions and symbols in a map', { a: () => 1, b: 2, c: Symbol('s'), d: 3 }, '82 a162 02 a164 03'],
    ['a map of functions only', { a: () => 1 }, '80'],
    ['__proto__ as a key of its own', JSON.parse('{"__proto__":1}'), `81 a9 ${ascii('__proto__')} 01`],
    ['a boxed number', Object(7), '07'],
    ['a boxed string', Object('a'), 'a161'],
    ['a boxed boolean', Object(false), 'c2'],

    ['a text', 'abc', 'a3 616263'],
    ['empty text', '', 'a0'],
    ['characters of two, three and four bytes', 'é€😀', 'a9 c3a9 e282ac f09f9880'],
    ['a lone high surrogate', 'a\uD800b', 'a5 61 efbfbd 62'],
    ['a lone low surrogate', '\uDC00', 'a3 efbfbd'],
    ['surrogates in the wrong order', '\uDC00\uD800', 'a6 efbfbd efbfbd'],
    ['a lone surrogate in a long text', `${'a'.repeat(50)}\uD800`, `d9 35 ${'61'.repeat(50)} efbfbd`],
    ['a lone surrogate as a key', { '\uD800': 1 }, '81 a3 efbfbd 01'],
    ['a nul', '\0', 'a1 00'],
    ['a byte order mark', '\uFEFF', 'a3 efbbbf'],
  ])('%s', (_name, body, digits) => {
    expect(bodyHex(body)).toBe(plain(digits));
  });

  it.each<[string, unknown, string]>([
    ...[0, 31].map((size): [string, unknown, string] => [
      `ASCII of ${size}`,
      'a'.repeat(size),
      `${uint(0xa0 + size, 1)}${repeat('61', size)}`,
    ]),
    ...[32, 38, 39, 40, 41, 255].map((size): [string, unknown, string] => [
      `ASCII of ${size}`,
      'a'.repeat(size),
      `d9${uint(size, 1)}${repeat('61', size)}`,
    ]),
    ...[256, 65_535].map((size): [string, unknown, string] => [
      `ASCII of ${size}`,
      'a'.repeat(size),
      `da${uint(size, 2)}${repeat('61', size)}`,
    ]),
    ['ASCII of 65536', 'a'.repeat(65_536), `db00010000${repeat('61', 65_536)}`],
    // size classes go by bytes, not by characters
    ['15 characters of 30 bytes', 'é'.repeat(15), `be${repeat('c3a9', 15)}`],
    ['16 characters of 32 bytes', 'é'.repeat(16), `d920${repeat('c3a9', 16)}`],
    ['39 characters of 117 bytes', '€'.repeat(39), `d975${repeat('e282ac', 39)}`],
    ['85 characters of 255 bytes', '€'.repeat(85), `d9ff${repeat('e282ac', 85)}`],
    ['128 characters of 256 bytes', 'é'.repeat(128), `da0100${repeat('c3a9', 128)}`],
    ['32768 characters of 65536 bytes', 'é'.repeat(32_768), `db00010000${repeat('c3a9', 32_768)}`],
    ['31 characters, the last not ASCII', `${'a'.repeat(30)}é`, `d920${repeat('61', 30)}c3a9`],
    ['255 bytes', Buffer.alloc(255), `c4ff${repeat('00', 255)}`],
    ['256 bytes', Buffer.alloc(256), `c50100${repeat('00', 256)}`],
    ['65535 bytes', Buffer.alloc(65_535), `c5ffff${repeat('00', 65_535)}`],
    ['65536 bytes', Buffer.alloc(65_536), `c600010000${repeat('00', 65_536)}`],
    ['15 items', Array(15).fill(1), `9f${repeat('01', 15)}`],
    ['16 items', Array(16).fill(1), `dc0010${repeat('01', 16)}`],
    ['255 items', Array(255).fill(1), `dc00ff${repeat('01', 255)}`],
    ['65535 items', Array(65_535).fill(1), `dcffff${repeat('01', 65_535)}`],
    ['65536 items', Array(65_536).fill(1), `dd00010000${repeat('01', 65_536)}`],
    ...(
      [
        [15, '8f'],
        [16, 'de0010'],
        [65_535, 'deffff'],
        [65_536, 'df00010000'],
      ] as const
    ).map(([count, head]): [string, unknown, string] => [
      `${count} entries`,
      Object.fromEntries(keys(count).map((key) => [`k${key}`, 1])),
      head +
        keys(count)
          .map((key) => `a76b${ascii(key)}01`)
          .join(''),
    ]),
    // the count is patched in the form that it was written in
    [
      '16 entries, two of them functions',
      { ...Object.fromEntries(keys(14).map((key) => [`k${key}`, 1])), f: () => 1, g: () => 1 },
      `de000e${keys(14)
        .map((key) => `a76b${ascii(key)}01`)
        .join('')}`,
    ],
    [
      '65536 entries, one of them a function',
      { f: () => 1, ...Object.fromEntries(keys(65_535).map((key) => [`k${key}`, 1])) },
      `df0000ffff${keys(65_535)
        .map((key) => `a76b${ascii(key)}01`)
        .join('')}`,
    ],
  ])('%s', (_name, body, digits) => {
    // not toBe(): it would print megabytes
    expect(bodyHex(body) === digits).toBe(true);
  });

  it('do not depend on where in its memory the encoder writes', () => {
    const body = {
      short: 'abc',
      edge: 'a'.repeat(39),
      wide: '€'.repeat(39),
      long: 'é'.repeat(300),
      n: [1, -1, 1.5, 2 ** 40, 7n],
      bytes: Buffer.alloc(100, 7),
      large: Buffer.alloc(70_000, 8),
      omitted: () => 1,
      map: new Map([['a', [null, true]]]),
    };
    const digits = bodyHex(body);
    const { length } = new Encoder().buffer;
    for (let room = 0; room < 1200; room += room < 130 ? 1 : 37) {
      const encoder = new Encoder();
      encoder.end = length - room;
      expect(bodyHex(body, encoder) === digits).toBe(true);
    }
  });
});

describe('a frame', () => {
  it.each<[string, number, number, string]>([
    ['small numbers', 101, 3, '94 65 03'],
    ['a type beyond 127', 203, 4, '94 cccb 04'],
    ['id 127', 101, 127, '94 65 7f'],
    ['id 128', 101, 128, '94 65 cc80'],
    ['id 256', 101, 256, '94 65 cd0100'],
    ['id 65536', 101, 65_536, '94 65 ce00010000'],
    ['the largest id', 101, 0xffff_ffff, '94 65 ceffffffff'],
  ])('of %s', (_name, type, id, digits) => {
    expect(wire(encodeFrame(type, id, null, null, LIMITS))).toEqual(hex(`${digits} 80 c0`));
    expect(wire(encodeFrame(type, id, {}, undefined, LIMITS))).toEqual(hex(`${digits} 80 c0`));
  });

  it('has the header as it is given, or as it was encoded ahead', () => {
    const header = { target: '/default/sum', timeout_ms: 1000 };
    const direct = wire(encodeFrame(101, 3, header, [1], LIMITS));
    expect(direct).toEqual(
      hex(
        `94 65 03 82 a6 ${ascii('target')} ac ${ascii('/default/sum')} aa ${ascii('timeout_ms')} cd 03e8 91 01`,
      ),
    );
    const ahead = encodeHeader(header);
    expect(ahead).toBeInstanceOf(EncodedHeader);
    expect(wire(encodeFrame(101, 3, ahead, [1], LIMITS))).toEqual(direct);
    // and again
    expect(wire(encodeFrame(101, 3, ahead, [1], LIMITS))).toEqual(direct);
  });

  it('holds all of what was encoded ahead, large bytes too', () => {
    const blob = Buffer.alloc(70_000, 1);
    expect(new Encoder().encode({ blob, a: 1 }).toString('hex')).toBe(
      plain(`82 a4 ${ascii('blob')} c6 00011170 ${blob.toString('hex')} a161 01`),
    );
  });

  it.each(vectors())('$name is written as Python wrote it', ({ bytes, frame }) => {
    expect(encodeOwn(frame)).toEqual(bytes);
  });

  it('does not lie in the memory of a large one before it, which it would keep while it waits', () => {
    const encoder = new Encoder();
    const { length } = encoder.buffer;
    encoder.frame(101, 3, null, Array(20_000).fill('x'.repeat(50)), LIMITS);
    expect(encoder.frame(101, 3, null, 'small', LIMITS).buffer.length).toBeLessThanOrEqual(length);
  });

  it('says its size, splices included', () => {
    for (const body of [
      null,
      'a'.repeat(70_000),
      Buffer.alloc(70_000),
      [Buffer.alloc(65_536), 1, Buffer.alloc(65_536)],
    ]) {
      const frame = encodeFrame(101, 3, null, body, LIMITS);
      expect(frame.size).toBe(wire(frame).length);
    }
  });
});

describe('what is encoded', () => {
  // what plain msgpackr does not give back as it came: ±2^53, a byte order mark
  const leaves = leaf.filter(
    (value) =>
      !(typeof value === 'bigint' && [2n ** 53n, -(2n ** 53n)].includes(value)) &&
      !(typeof value === 'string' && value.includes('\uFEFF')),
  );
  const plainKeys = text.filter((key) => key !== '__proto__' && !key.includes('\uFEFF'));

  it('is the same value to any msgpack reader', () => {
    fc.assert(
      fc.property(values({ leaves, keys: plainKeys }), (body) => {
        const bytes = wire(encodeFrame(101, 3, null, body, LIMITS));
        assert.deepEqual(unpackr.unpack(bytes), [101, 3, {}, body]);
      }),
      { numRuns: 500 },
    );
  });

  it('is the same frame to the decoder of this project', () => {
    fc.assert(
      fc.property(frames(), (frame) => {
        const { frames: got, fault } = decode([encodeOwn(frame)]);
        assert.equal(fault, undefined);
        assert.deepEqual(got, [frame]);
      }),
      { numRuns: 500 },
    );
  });

  it('holds no extension type, whatever JavaScript value it is', () => {
    const odd = fc.oneof(
      fc.date(),
      fc.int16Array(),
      fc.bigInt64Array(),
      fc.constant(new Set([1])),
      fc.constant(/re/g),
      fc.constant(new Error('x')),
      fc.constant(new Point()),
      fc.constant(undefined),
      fc.constant(() => 1),
      fc.constant(new Map([[1, 2]])),
      fc.object(),
    );
    fc.assert(
      fc.property(fc.array(odd, { maxLength: 8 }), (body) => {
        expect(decode([wire(encodeFrame(101, 3, null, body, LIMITS))]).fault).toBeUndefined();
      }),
      { numRuns: 200 },
    );
  });

  it('of large bytes is copied once, and goes between the pieces', () => {
    const large = Buffer.alloc(65_536, 1);
    const small = Buffer.alloc(65_535, 2);
    const frame = encodeFrame(101, 3, null, [large, small, large.buffer, 'end'], LIMITS);
    expect(frame.splices).toHaveLength(2);
    expect(frame.splices.map(({ bytes }) => bytes.length)).toEqual([large.length, large.length]);
    for (const { bytes } of frame.splices) expect(bytes.buffer).not.toBe(large.buffer);
    assert.deepEqual(decode([wire(frame)]).frames[0]?.[3], [large, small, large, 'end']);
    expect(encodeFrame(101, 3, null, 'next', LIMITS).splices).toEqual([]);
  });

  it('of large bytes is in its place when the frame outgrows its memory around them', () => {
    const body = [
      Buffer.alloc(65_536, 1),
      'x'.repeat(100_000),
      Buffer.alloc(70_000, 2),
      { f: () => 1, a: 'y'.repeat(300_000) },
      Buffer.alloc(80_000, 3),
    ];
    const [first, text1, second, , third] = body;
    assert.deepEqual(decode([wire(encodeFrame(101, 3, null, body, LIMITS))]).frames[0]?.[3], [
      first,
      text1,
      second,
      { a: 'y'.repeat(300_000) },
      third,
    ]);
  });
});
