import * as fc from 'fast-check';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { Scanner } from '../../lib/protocol/scanner.js';
import { cut, everyCut, hex } from './frames.js';
import { accepts, BEFORE_HEADER, HEAD, refuses, scanAll, uint } from './scan.js';
import { frames, writeFrameLoosely } from './values.js';

/** All tokens but the allowed ones, in hex. */
function tokensBut(allowed: (token: number) => boolean): string[] {
  return Array.from({ length: 256 }, (_, token) => token)
    .filter((token) => !allowed(token))
    .map((token) => uint(token, 1));
}

describe('where a frame ends', () => {
  it('is found for frames in every form of msgpack, cut anywhere, at one look at each byte', () => {
    fc.assert(
      fc.property(
        fc.array(frames(), { minLength: 1, maxLength: 4 }),
        fc.infiniteStream(fc.nat()),
        fc.array(fc.nat(), { maxLength: 12 }),
        (list, choices, places) => {
          const pick = (count: number): number => (choices.next().value as number) % count;
          const encoded = list.map((frame) => writeFrameLoosely(frame, pick));
          const bytes = Buffer.concat(encoded);
          const chunks = cut(
            bytes,
            places.map((place) => place % bytes.length),
          );
          let end = 0;
          const ends = encoded.map(({ length }) => (end += length));
          const { scanner, ...found } = scanAll(chunks);
          expect(found).toEqual({ ends, fault: undefined, faultAt: -1 });
          expect(scanner.scannedBytes).toBe(bytes.length);
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each([
    ['nil', 'c0'],
    ['a negative fixint', 'ff'],
    ['a float32', 'ca 3fc00000'],
    ['a float64', 'cb 3ff8000000000000'],
    ['a uint64', 'cf ffffffffffffffff'],
    ['an int64', 'd3 8000000000000000'],
    ['empty text', 'a0'],
    ['empty text, long form', 'db 00000000'],
    ['text of 31 bytes', `bf ${'61'.repeat(31)}`],
    ['text of 255 bytes', `d9 ff ${'61'.repeat(255)}`],
    ['empty bytes', 'c6 00000000'],
    ['bytes', 'c4 03 c1c1c1'],
    ['an empty array', '90'],
    ['an empty array, long form', 'dd 00000000'],
    ['an empty map', '80'],
    ['an empty map, long form', 'df 00000000'],
    ['containers that end together', '91 81 a161 91 81 a161 90'],
    ['containers that go on after inner ones', '93 91 c0 82 a161 91 c0 a162 c0 c0'],
  ])('is found after %s', (_name, body) => accepts(`${HEAD} ${body}`));

  it('is sought from the offset that is given', () => {
    const scanner = new Scanner(DEFAULT_FRAME_LIMITS);
    expect(scanner.scan(hex(`c1 c1 c1 ${HEAD} a3 616263 c1`), 3)).toBe(11);
    expect(scanner.scannedBytes).toBe(8);
    expect(scanner.midFrame).toBe(false);
  });

  it('is in a later chunk if this one ends too early', () => {
    const scanner = new Scanner(DEFAULT_FRAME_LIMITS);
    expect(scanner.midFrame).toBe(false);
    expect(scanner.scan(hex('c1 94 65'), 1)).toBe(-1);
    expect(scanner.midFrame).toBe(true);
    expect(scanner.scan(hex('03 80 a3 61'), 0)).toBe(-1);
    expect(scanner.scan(hex('6263 c1'), 0)).toBe(2);
    expect(scanner.midFrame).toBe(false);
    expect(scanner.scannedBytes).toBe(8);
  });
});

describe('the shape of a frame', () => {
  it('is an array of four, written as 94', () => {
    const reason = 'a frame is an array of four';
    for (const token of tokensBut((t) => t === 0x94)) refuses(token, reason, { at: 1 });
    refuses(`dc 0004 65 03 80 c0`, reason, { at: 1 });
  });

  it('has unsigned integers as message type and correlation id', () => {
    const reason = 'message type and correlation id are unsigned integers';
    for (const token of tokensBut((t) => t < 0x80 || (t >= 0xcc && t <= 0xcf))) {
      refuses(`94 ${token}`, reason, { at: 2 });
      refuses(`94 65 ${token}`, reason, { at: 3 });
    }
    for (const form of ['03', 'cc 03', 'cd 0003', 'ce 00000003', 'cf 0000000000000003']) {
      accepts(`94 ${form} ${form} 80 c0`);
    }
  });

  it('has a map as its header', () => {
    for (const token of tokensBut((t) => (t >= 0x80 && t < 0x90) || t === 0xde || t === 0xdf)) {
      refuses(`${BEFORE_HEADER} ${token}`, 'the header is not a map', { at: 4 });
    }
    for (const form of ['80', 'de 0000', 'df 00000000']) accepts(`${BEFORE_HEADER} ${form} c0`);
    for (const form of ['81 a161 c0', 'de 0001 a161 c0', 'df 00000001 a161 c0']) {
      accepts(`${BEFORE_HEADER} ${form} c0`);
    }
  });

  it.each(['c1', 'c7', 'c8', 'c9', 'd4', 'd5', 'd6', 'd7', 'd8'])('does not hold %s anywhere', (token) => {
    const reason = `token 0x${token} is not allowed`;
    // a timestamp, a record, a typed array, a set, and no known extension
    for (const type of ['ff', '72', '74', '73', '00']) {
      const rest = `${token} 01 ${type} ${'00'.repeat(16)}`;
      refuses(`${HEAD} ${rest}`, reason, { at: 5 });
      refuses(`${HEAD} 92 c0 ${rest}`, reason, { at: 7 });
      refuses(`${HEAD} 81 a161 ${rest}`, reason, { at: 8 });
      refuses(`${BEFORE_HEADER} 81 a161 ${rest}`, reason, { at: 7 });
    }
  });

  it('has text as keys in the header, and any value in the body and what it holds', () => {
    const reason = 'a map key is not a string';
    for (const token of tokensBut((t) => (t >= 0xa0 && t < 0xc0) || (t >= 0xd9 && t <= 0xdb))) {
      refuses(`${BEFORE_HEADER} 81 ${token}`, reason, { at: 5 });
      refuses(`${BEFORE_HEADER} 81 a161 81 ${token}`, reason, { at: 8 });
    }
    for (const key of ['01', 'c0', 'c3', 'c40161', '90', '920102', '80', '81 01 90', '81 920102 81 c0 c0']) {
      accepts(`${HEAD} 81 ${key} c0`);
      accepts(`${HEAD} 82 a161 81 a162 c0 ${key} 91 c0`);
    }
    for (const token of ['c1', 'c7', 'd4']) {
      refuses(`${HEAD} 81 ${token}`, `token 0x${token} is not allowed`, { at: 6 });
      refuses(`${HEAD} 81 91 ${token}`, `token 0x${token} is not allowed`, { at: 7 });
    }
  });
});

/** What `needsCare` says of a frame, over all ways to cut it. */
function cares(digits: string): Set<boolean> {
  return new Set(
    [...everyCut(hex(digits))].map((chunks) => {
      const { scanner, fault } = scanAll(chunks);
      expect(fault).toBeUndefined();
      return scanner.needsCare;
    }),
  );
}

describe('needsCare', () => {
  const BOM = 'efbbbf';

  it.each([
    ['__proto__ as a key', '81 a9 5f5f70726f746f5f5f c0'],
    ['__proto__ as an inner key', '91 81 a9 5f5f70726f746f5f5f c0'],
    ['__proto__ as a key in a long form', '81 d9 09 5f5f70726f746f5f5f c0'],
    ['a number as a key', '81 01 c0'],
    ['an array as a key', '81 920102 c0'],
    ['a map as a key', '82 a161 c0 80 c0'],
    ['2^53', 'cf 0020000000000000'],
    ['2^53, signed', 'd3 0020000000000000'],
    ['-2^53', 'd3 ffe0000000000000'],
    ['a byte order mark', `a3 ${BOM}`],
    ['a byte order mark before a long text', `d9 48 ${BOM} ${'61'.repeat(69)}`],
    ['a byte order mark in a key', `81 a3 ${BOM} c0`],
  ])('is set by %s, wherever it is cut and whatever stands around it', (_name, body) => {
    expect(cares(`${HEAD} ${body}`)).toEqual(new Set([true]));
    expect(cares(`${HEAD} 93 a161 ${body} a162`)).toEqual(new Set([true]));
  });

  it.each([
    ['plain values', '93 a3 616263 cc ff 80'],
    ['2^53 + 1', 'cf 0020000000000001'],
    ['2^53 - 1', 'cf 001fffffffffffff'],
    ['2^54', 'cf 0040000000000000'],
    ['2^64 - 2^53', 'cf ffe0000000000000'],
    ['__proto__ as a value', '81 a161 a9 5f5f70726f746f5f5f'],
    ['a byte order mark within a text', `a4 61 ${BOM}`],
  ])('is not set by %s', (_name, body) => {
    expect(cares(`${HEAD} ${body}`)).toEqual(new Set([false]));
  });

  it('is about the last frame only', () => {
    const scanner = new Scanner(DEFAULT_FRAME_LIMITS);
    scanner.scan(hex(`${HEAD} cf 0020000000000000`), 0);
    expect(scanner.needsCare).toBe(true);
    scanner.scan(hex(`${HEAD} c0`), 0);
    expect(scanner.needsCare).toBe(false);
  });
});
