import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import { Packr } from 'msgpackr';
import { encodeFrame } from '../../lib/protocol/encoder.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import {
  cut,
  decode,
  decodesCut,
  decoderWith,
  encodeOwn,
  everyCut,
  hex,
  pieces,
  vectors,
  wire,
} from './frames.js';
import { HEAD } from './scan.js';
import {
  bytes as byteArrays,
  deepValues,
  float,
  frames,
  hasMinusZero,
  integer,
  leaf,
  text,
  values,
  wideInteger,
  writeFrameLoosely,
} from './values.js';

const packr = new Packr({ useRecords: false, variableMapSize: true });
const packFrame = (frame: readonly unknown[]): Buffer => Buffer.from(packr.pack(frame));
const places = fc.array(fc.nat(), { maxLength: 10 });

describe('recorded frames', () => {
  const all = vectors();

  it('are there', () => expect(all.length).toBeGreaterThan(100));

  it.each(all)('$name, cut anywhere', ({ bytes, frame }) => {
    for (const chunks of everyCut(bytes)) {
      const decoder = decoderWith();
      const { frames: got, sizes } = decode(chunks, decoder);
      const { unfinishedBytes, scannedBytes } = decoder;
      expect({ got, sizes, unfinishedBytes, scannedBytes }).toStrictEqual({
        got: [frame],
        sizes: [bytes.length],
        unfinishedBytes: 0,
        scannedBytes: bytes.length,
      });
    }
  });

  it.each([1, 7, 100, 1448, 65_536])('as one stream in pieces of %d bytes', (size) => {
    const stream = Buffer.concat(all.map(({ bytes }) => bytes));
    const { frames: got, sizes, fault } = decode(pieces(stream, size));
    expect(fault).toBeUndefined();
    expect(got).toStrictEqual(all.map(({ frame }) => frame));
    expect(sizes).toEqual(all.map(({ bytes }) => bytes.length));
  });
});

describe('any frames, cut anywhere', () => {
  const lists = fc.array(frames(), { minLength: 1, maxLength: 5 });
  it('written in any form that msgpack allows', () => {
    fc.assert(
      fc.property(lists, fc.infiniteStream(fc.nat()), places, (list, choices, at) => {
        const pick = (count: number): number => (choices.next().value as number) % count;
        decodesCut(list, (frame) => writeFrameLoosely(frame, pick), at);
      }),
      { numRuns: 500 },
    );
  });

  it('written by the encoder of this project', () => {
    fc.assert(
      fc.property(lists, places, (list, at) => decodesCut(list, encodeOwn, at)),
      { numRuns: 500 },
    );
  });

  it('written by msgpackr, but for -0, which it writes as 0', () => {
    fc.assert(
      fc.property(lists, places, (list, at) => {
        const plain = list.filter((frame) => !hasMinusZero(frame));
        fc.pre(plain.length > 0);
        decodesCut(plain, packFrame, at);
      }),
      { numRuns: 500 },
    );
  });

  it('nested as deep as a frame may be', () => {
    const scalars = leaf.filter((value) => typeof value !== 'object' && !Object.is(value, -0));
    fc.assert(
      fc.property(deepValues(99, scalars), places, (body, at) => {
        decodesCut([[101, 3, {}, body]], encodeOwn, at);
        decodesCut([[101, 3, {}, body]], packFrame, at);
      }),
      { numRuns: 200 },
    );
  });

  it('and more of them than are decoded at a time', () => {
    const one = fc.oneof(
      frames(integer),
      frames(float),
      frames(text),
      frames(wideInteger),
      frames(byteArrays),
    );
    fc.assert(
      fc.property(fc.array(one, { minLength: 60, maxLength: 140 }), places, (list, at) => {
        decodesCut(list, encodeOwn, at);
      }),
      { numRuns: 30 },
    );
  });
});

describe('large frames', () => {
  it('of random content in pieces of any size', () => {
    const body = fc.array(values(), { minLength: 200, maxLength: 400 });
    fc.assert(
      fc.property(frames(body), fc.constantFrom(1, 7, 1448, 4095, 4096, 65_536), (frame, size) => {
        const bytes = encodeOwn(frame);
        const got = decode(pieces(bytes, size));
        assert.deepEqual(got.frames, [frame]);
        assert.deepEqual(got.sizes, [bytes.length]);
      }),
      { numRuns: 20 },
    );
  });

  it.each([
    [4, 50_000, DEFAULT_FRAME_LIMITS],
    [16, 200_000, { ...DEFAULT_FRAME_LIMITS, maxFrameBytes: 16 * 1024 * 1024, maxItems: 2_000_000 }],
  ])('of %d MiB of rows, in pieces of 1448 bytes, are looked at once', (_mib, count, limits) => {
    const rows = Array.from({ length: count }, (_, i) => ({ id: i, name: `row ${i}`.padEnd(64) }));
    const body = { rows, rest: '' };
    const { size } = encodeFrame(101, 3, null, body, limits);
    body.rest = '.'.repeat(limits.maxFrameBytes - size - 4);
    const bytes = wire(encodeFrame(101, 3, null, body, limits));
    expect(bytes).toHaveLength(limits.maxFrameBytes);
    const decoder = decoderWith(limits);
    const { frames: got, sizes } = decode(pieces(bytes, 1448), decoder);
    expect(sizes).toEqual([bytes.length]);
    expect(isDeepStrictEqual(got, [[101, 3, {}, body]])).toBe(true);
    expect(decoder.scannedBytes).toBe(bytes.length);
  });

  it.each([
    ['large and tiny pieces by turns', [4096, 1], 1.01],
    ['small pieces', [1000], 1.01],
    ['tiny pieces', [1], 1.01],
    ['large pieces', [8192], 1.01],
  ])('that drip in as %s take little more memory than they have bytes', (_how, sizes, most) => {
    const decoder = decoderWith();
    decode([hex(`${HEAD} c6 003ffff0`)], decoder);
    let sent = 9;
    for (let i = 0; sent < 1_000_000 && i < 50_000; i++) {
      const size = sizes[i % sizes.length] as number;
      decode([Buffer.alloc(size)], decoder);
      sent += size;
      if (i % 100 !== 99) continue;
      // beside what it has, the room for the next small pieces
      const room = Math.min(64 * 1024, 512 + sent * 2);
      expect(decoder.heldBytes).toBeLessThanOrEqual(sent * most + room);
    }
    expect(decoder.unfinishedBytes).toBe(sent);
  });

  it('keep all their bytes, whether pieces are copied or kept', () => {
    // pieces from 4 KiB on are kept as they are, smaller ones are copied together
    const payload = Buffer.from(Array.from({ length: 60_000 }, (_, i) => (i * 7919) >> 3));
    const bytes = wire(encodeFrame(101, 3, null, { payload }, DEFAULT_FRAME_LIMITS));
    for (const sizes of [
      [4096],
      [4095],
      [4096, 1],
      [1, 4096],
      [10, 5000, 300, 4096, 255],
      [8192, 4095, 4095],
    ]) {
      const cuts = sizes.length;
      const at: number[] = [];
      for (let pos = 0, i = 0; pos < bytes.length; i++) at.push((pos += sizes[i % cuts] as number));
      const chunks = cut(
        bytes,
        at.filter((place) => place < bytes.length),
      );
      expect(decode(chunks).frames).toStrictEqual([[101, 3, {}, { payload }]]);
    }
  });
});

describe('unfinishedBytes', () => {
  it('is what is held of a frame that is not whole, and 0 between frames', () => {
    const bytes = Buffer.concat([hex(`${HEAD} a3 616263`), hex(`${HEAD} d9 c8 ${'61'.repeat(200)}`)]);
    const decoder = decoderWith();
    expect(decoder.unfinishedBytes).toBe(0);
    for (let i = 0; i < bytes.length; i++) {
      decode([bytes.subarray(i, i + 1)], decoder);
      expect(decoder.unfinishedBytes).toBe(i < 7 ? i + 1 : i === bytes.length - 1 ? 0 : i - 7);
    }
  });

  it('counts large pieces and small ones', () => {
    const decoder = decoderWith();
    decode([hex(`${HEAD} c6 00010000`), Buffer.alloc(5000), Buffer.alloc(4096), Buffer.alloc(10)], decoder);
    expect(decoder.unfinishedBytes).toBe(9 + 5000 + 4096 + 10);
    decode([Buffer.alloc(65_536 - 9106), hex(HEAD)], decoder);
    expect(decoder.unfinishedBytes).toBe(4);
  });

  it('counts the tail of a chunk of whole frames', () => {
    const decoder = decoderWith();
    decode([hex(`${HEAD} c0 ${HEAD} c0 94 65`)], decoder);
    expect(decoder.unfinishedBytes).toBe(2);
  });
});

it('gives nothing for nothing', () => {
  const decoder = decoderWith();
  expect(decoder.next()).toBeUndefined();
  decoder.push(Buffer.alloc(0));
  expect(decoder.next()).toBeUndefined();
  decoder.push(hex('94 65'));
  expect(decoder.next()).toBeUndefined();
  decoder.push(Buffer.alloc(0));
  expect(decoder.next()).toBeUndefined();
  expect(decode([hex('03 80 c0')], decoder).frames).toEqual([[101, 3, {}, null]]);
});
