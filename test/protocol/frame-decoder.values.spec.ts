import { cut, decode, decoderWith, everyCut, hex } from './frames.js';
import { ascii, BEFORE_HEADER, HEAD, uint } from './scan.js';

describe('values', () => {
  it.each<[string, string, unknown]>([
    ['2^53 - 1', 'cf 001fffffffffffff', 2 ** 53 - 1],
    ['2^53 - 1, signed', 'd3 001fffffffffffff', 2 ** 53 - 1],
    ['2^53', 'cf 0020000000000000', 2n ** 53n],
    ['2^53, signed', 'd3 0020000000000000', 2n ** 53n],
    ['2^53 + 1', 'cf 0020000000000001', 2n ** 53n + 1n],
    ['-(2^53 - 1)', 'd3 ffe0000000000001', -(2 ** 53 - 1)],
    ['-2^53', 'd3 ffe0000000000000', -(2n ** 53n)],
    ['-2^53 - 1', 'd3 ffdfffffffffffff', -(2n ** 53n) - 1n],
    ['the largest uint64', 'cf ffffffffffffffff', 2n ** 64n - 1n],
    ['the largest int64', 'd3 7fffffffffffffff', 2n ** 63n - 1n],
    ['the smallest int64', 'd3 8000000000000000', -(2n ** 63n)],
    ['a small uint64', 'cf 0000000000000001', 1],
    ['a small int64', 'd3 ffffffffffffffff', -1],
    ['2^32', 'cf 0000000100000000', 2 ** 32],
    ['a time in milliseconds', 'cf 0000019353568780', 1_732_270_000_000],
    ['2^53 as a float', 'cb 4340000000000000', 2 ** 53],
    ['-0', 'cb 8000000000000000', -0],
    ['NaN', 'cb 7ff8000000000000', NaN],
    ['-Infinity', 'ca ff800000', -Infinity],
    ['a byte order mark', 'a3 efbbbf', '\uFEFF'],
    ['a byte order mark before text', 'a4 efbbbf 61', '\uFEFFa'],
    ['two byte order marks', 'a6 efbbbf efbbbf', '\uFEFF\uFEFF'],
    ['a byte order mark before long text', `d9 64 efbbbf ${'61'.repeat(97)}`, `\uFEFF${'a'.repeat(97)}`],
    [
      'a byte order mark before long text that is not ASCII',
      `d9 67 efbbbf ${'c3a9'.repeat(50)}`,
      `\uFEFF${'é'.repeat(50)}`,
    ],
    ['a byte order mark in a key', '81 a4 efbbbf 61 c0', { '\uFEFFa': null }],
    [
      'a byte order mark in a long key',
      `81 d9 64 efbbbf ${'61'.repeat(97)} c0`,
      { [`\uFEFF${'a'.repeat(97)}`]: null },
    ],
    ['text that begins as a byte order mark does', 'a6 efbc81 efbc81', '！！'],
  ])('%s, wherever it is cut and whatever stands around it', (_name, digits, value) => {
    for (const chunks of everyCut(hex(`${HEAD} ${digits}`))) {
      expect(decode(chunks).frames).toStrictEqual([[101, 3, {}, value]]);
    }
    const filler = 'c3a9'.repeat(80);
    for (const chunks of everyCut(hex(`${HEAD} 93 d9 a0 ${filler} ${digits} a161`))) {
      expect(decode(chunks).frames[0]?.[3]).toStrictEqual(['é'.repeat(80), value, 'a']);
    }
  });

  it('that need care cost a second look at most', () => {
    const bytes = Buffer.concat(Array.from({ length: 100 }, () => hex(`${HEAD} c0 ${HEAD} a3 efbbbf`)));
    const decoder = decoderWith();
    expect(decode([bytes], decoder).frames).toHaveLength(200);
    expect(decoder.scannedBytes).toBeLessThanOrEqual(2 * bytes.length);
  });

  describe('that are bytes', () => {
    const payload = Buffer.from(Array.from({ length: 200 }, (_, i) => i));
    const frame = Buffer.concat([hex(`${HEAD} 92 c4 c8`), payload, hex('c4 02 0102')]);
    const careful = Buffer.concat([hex(`${HEAD} 93 c4 c8`), payload, hex('c4 02 0102 a3 efbbbf')]);

    it.each([
      ['in a frame of one chunk', [frame], []],
      ['in frames of one chunk', [frame, frame, frame], []],
      ['in a frame that needs care', [careful], []],
      ['in a frame of two small chunks', [frame], [100]],
      ['in a frame that needs care, of two chunks', [careful], [100]],
      [
        'in a frame of a large chunk and a small one',
        [hex(`${HEAD} dc 1388 ${'c3'.repeat(4998)}`), frame.subarray(5)],
        [5100],
      ],
    ])('have memory of their own: %s', (_name, list, at) => {
      const chunks = cut(Buffer.concat(list), at);
      const { frames: got, fault } = decode(chunks);
      expect(fault).toBeUndefined();
      for (const chunk of chunks) chunk.fill(0xee);
      for (const [, , , body] of got) {
        const found = (body as unknown[]).filter((item) => Buffer.isBuffer(item));
        expect(found).toStrictEqual([payload, Buffer.of(1, 2)]);
      }
    });

    it('do not keep their chunk alive', () => {
      const body = decode([Buffer.concat([frame, Buffer.alloc(60_000, frame.subarray(0, 5))])])
        .frames[0]?.[3];
      for (const item of body as Buffer[]) expect(item.buffer.byteLength).toBeLessThanOrEqual(8192);
    });
  });
});

describe('prototypes', () => {
  const proto = `a9 ${ascii('__proto__')}`;
  const polluted = `81 a8 ${ascii('polluted')} c3`;

  it.each([
    ['at the top of a body', `81 ${proto} ${polluted}`],
    ['deep in a body', `81 a161 91 82 a162 c0 ${proto} ${polluted}`],
    ['in a long form', `81 d9 09 ${ascii('__proto__')} ${polluted}`],
    ['in the longest form', `81 db 00000009 ${ascii('__proto__')} ${polluted}`],
    ['beside much else', `82 a161 d9 c8 ${'61'.repeat(200)} ${proto} ${polluted}`],
    ['constructor', `81 ab ${ascii('constructor')} 81 a9 ${ascii('prototype')} ${polluted}`],
    ['twice', `82 ${proto} ${polluted} ${proto} ${polluted}`],
    ['as nil', `81 ${proto} c0`],
    ['toString', `83 a8 ${ascii('toString')} c0 a7 ${ascii('valueOf')} c0 ae ${ascii('hasOwnProperty')} c0`],
  ])('are not touched by keys of a body: %s', (_name, body) => {
    const before = Object.getOwnPropertyDescriptors(Object.prototype);
    for (const chunks of everyCut(hex(`${HEAD} ${body}`))) {
      const { frames: got, fault } = decode(chunks);
      expect(fault).toBeUndefined();
      const decoded = got[0]?.[3] as Record<string, unknown>;
      expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype);
      expect('polluted' in {}).toBe(false);
      expect('polluted' in decoded).toBe(false);
    }
    expect(Object.getOwnPropertyDescriptors(Object.prototype)).toEqual(before);
  });

  it('are shown as own properties that can be read, listed and changed', () => {
    for (const chunks of everyCut(hex(`${HEAD} 83 a161 01 ${proto} ${polluted} a162 02`))) {
      const body = decode(chunks).frames[0]?.[3] as Record<string, unknown>;
      expect(Object.keys(body)).toEqual(['a', '__proto__', 'b']);
      expect(Object.getOwnPropertyDescriptor(body, '__proto__')).toEqual({
        value: { polluted: true },
        writable: true,
        enumerable: true,
        configurable: true,
      });
    }
  });

  it.each(['__proto__', 'constructor', 'prototype'])(
    '%s is refused as a key of a header, wherever it is cut',
    (name) => {
      for (const key of [uint(0xa0 + name.length, 1), `d9 ${uint(name.length, 1)}`]) {
        const header = `82 a161 c0 ${key} ${ascii(name)} ${polluted}`;
        for (const chunks of everyCut(hex(`${BEFORE_HEADER} ${header} c0`))) {
          expect(decode(chunks)).toMatchObject({ frames: [], fault: { message: `header key ${name}` } });
        }
      }
      expect('polluted' in {}).toBe(false);
    },
  );
});
