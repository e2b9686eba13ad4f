import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { Unpackr } from 'msgpackr';
import { carefulDecode } from '../../../lib/protocol/values/careful-decode.js';
import { hex } from '../frames.js';
import { ascii } from '../scan.js';
import { deepValues, leaf, text, values, writeLoosely } from '../values.js';

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'auto' } as object);

describe('carefulDecode', () => {
  const choices = fc.infiniteStream(fc.nat());

  it('reads any value in any form', () => {
    fc.assert(
      fc.property(fc.oneof(values(), deepValues(99)), choices, (value, stream) => {
        const bytes = writeLoosely(value, (count) => (stream.next().value as number) % count);
        assert.deepEqual(carefulDecode(bytes), value);
      }),
      { numRuns: 500 },
    );
  });

  it('agrees with msgpackr on all that msgpackr reads as it came', () => {
    const leaves = leaf.filter(
      (value) =>
        !(typeof value === 'bigint' && [2n ** 53n, -(2n ** 53n)].includes(value)) &&
        !(typeof value === 'string' && value.startsWith('\uFEFF')),
    );
    const keys = text.filter((key) => key !== '__proto__' && !key.startsWith('\uFEFF'));
    fc.assert(
      fc.property(values({ leaves, keys }), choices, (value, stream) => {
        const bytes = writeLoosely(value, (count) => (stream.next().value as number) % count);
        assert.deepEqual(carefulDecode(bytes), unpackr.unpack(bytes));
      }),
      { numRuns: 500 },
    );
  });

  it.each<[string, string, unknown]>([
    ['nil', 'c0', null],
    ['false', 'c2', false],
    ['true', 'c3', true],
    ['a positive fixint', '7f', 127],
    ['a negative fixint', 'e0', -32],
    ['uint8', 'cc ff', 255],
    ['uint16', 'cd ffff', 65_535],
    ['uint32', 'ce ffffffff', 2 ** 32 - 1],
    ['uint64', 'cf 0000000100000000', 2 ** 32],
    ['uint64 beyond a number', 'cf ffffffffffffffff', 2n ** 64n - 1n],
    ['int8', 'd0 80', -128],
    ['int16', 'd1 8000', -32_768],
    ['int32', 'd2 80000000', -(2 ** 31)],
    ['int64', 'd3 fffffffeffffffff', -(2 ** 32) - 1],
    ['int64 beyond a number', 'd3 8000000000000000', -(2n ** 63n)],
    ['2^53 - 1', 'cf 001fffffffffffff', 2 ** 53 - 1],
    ['2^53', 'cf 0020000000000000', 2n ** 53n],
    ['-2^53', 'd3 ffe0000000000000', -(2n ** 53n)],
    ['-(2^53 - 1)', 'd3 ffe0000000000001', -(2 ** 53 - 1)],
    ['float32', 'ca 3fc00000', 1.5],
    ['float64', 'cb 8000000000000000', -0],
    ['fixstr', 'a3 616263', 'abc'],
    ['str8', 'd9 01 61', 'a'],
    ['str16', 'da 0001 61', 'a'],
    ['str32', 'db 00000001 61', 'a'],
    ['a byte order mark', `d9 64 efbbbf ${'61'.repeat(97)}`, `\uFEFF${'a'.repeat(97)}`],
    ['bin8', 'c4 02 0102', Buffer.of(1, 2)],
    ['bin16', 'c5 0002 0102', Buffer.of(1, 2)],
    ['bin32', 'c6 00000002 0102', Buffer.of(1, 2)],
    ['array16', 'dc 0002 01 02', [1, 2]],
    ['array32', 'dd 00000002 01 02', [1, 2]],
    ['map16', 'de 0001 a161 01', { a: 1 }],
    ['map32', 'df 00000001 a161 01', { a: 1 }],
    ['a key twice: the last one counts', '82 a161 01 a161 02', { a: 2 }],
  ])('reads %s', (_name, digits, value) => expect(carefulDecode(hex(digits))).toStrictEqual(value));

  it.each([
    '',
    'a',
    'ab',
    'abc',
    'abcd',
    'abcde',
    '\0',
    '\x7f',
    'é',
    'aé',
    'éa',
    'abé',
    '€',
    'a€',
    '🙂',
    '\uFEFFa',
  ])('reads the short text %j, with nothing behind it and with more', (short) => {
    const bytes = Buffer.from(short);
    const frame = Buffer.concat([Buffer.of(0xa0 + bytes.length), bytes]);
    expect(carefulDecode(frame)).toBe(short);
    expect(carefulDecode(Buffer.concat([Buffer.of(0x92), frame, Buffer.of(0xff)]))).toEqual([short, -1]);
  });

  it('gives __proto__ as an own property', () => {
    const value = carefulDecode(
      hex(`82 a9 ${ascii('__proto__')} 81 a8 ${ascii('polluted')} c3 a161 01`),
    ) as object;
    expect(Object.entries(value)).toEqual([
      ['__proto__', { polluted: true }],
      ['a', 1],
    ]);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect('polluted' in value).toBe(false);
    expect('polluted' in {}).toBe(false);
  });

  it('gives bytes with memory of their own', () => {
    const bytes = hex('92 c4 02 0102 a3 efbbbf');
    const [inner] = carefulDecode(bytes) as [Buffer];
    bytes.fill(0xee);
    expect(inner).toEqual(Buffer.of(1, 2));
  });

  it('throws at c1, which no scanner lets pass', () => {
    expect(() => carefulDecode(hex('91 c1'))).toThrow(new TypeError('token 0xc1 passed the scanner'));
  });
});
