import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { decode, decoderWith, everyCut, hex, pieces } from './frames.js';
import { ascii, BEFORE_HEADER, HEAD, uint } from './scan.js';

/** A frame of this many bytes. */
function ofSize(size: number): Buffer {
  return Buffer.concat([hex(`${HEAD} c6 ${uint(size - 9, 4)}`), Buffer.alloc(size - 9)]);
}

describe('before admit()', () => {
  const declare = hex(`94 67 03 81 a6 746172676574 af ${ascii('/_event/DECLARE')} 80`);

  it.each([1448, 4096, 65_536])('frames have 16 KiB at most, in pieces of %d bytes', (size) => {
    const atLimit = decode(pieces(ofSize(16_384), size), new FrameDecoder(DEFAULT_FRAME_LIMITS));
    expect(atLimit).toMatchObject({ fault: undefined, sizes: [16_384] });
    const beyond = decode(pieces(ofSize(16_385), size), new FrameDecoder(DEFAULT_FRAME_LIMITS));
    expect(beyond).toMatchObject({ frames: [], fault: { message: 'frame too large' } });
    expect(beyond.faultAt).toBeLessThanOrEqual(size);
  });

  it('frames of numbers have few items, too', () => {
    const numbers = Buffer.concat([
      hex(`${HEAD} dc 3e80`),
      Buffer.alloc(16_000 * 9, hex('cb 3ff8000000000000')),
    ]);
    const {
      frames: got,
      fault,
      faultAt,
    } = decode(pieces(numbers, 1448), new FrameDecoder(DEFAULT_FRAME_LIMITS));
    expect({ frames: got.length, fault: fault?.message }).toEqual({ frames: 0, fault: 'too many items' });
    expect(faultAt).toBeLessThan(16_384 + 1448);
  });

  it('frames have no more than frames at any time', () => {
    const decoder = new FrameDecoder({ ...DEFAULT_FRAME_LIMITS, maxFrameBytes: 100 });
    expect(decode([ofSize(101)], decoder).fault?.message).toBe('frame too large');
  });

  it('frames are taken one by one, so that the first may admit the next', () => {
    const decoder = new FrameDecoder(DEFAULT_FRAME_LIMITS);
    decoder.push(Buffer.concat([declare, ofSize(100_000), ofSize(12)]));
    expect(decoder.next()?.[0]).toBe(103);
    expect(decoder.frameBytes).toBe(declare.length);
    decoder.admit(100_000);
    expect(decoder.next()?.[0]).toBe(101);
    expect(decoder.frameBytes).toBe(100_000);
    expect(decoder.next()?.[0]).toBe(101);
    expect(decoder.frameBytes).toBe(12);
    expect(decoder.next()).toBeUndefined();
  });

  it('a large frame after the first is refused, if that did not admit it', () => {
    const { frames: got, fault } = decode(
      [Buffer.concat([declare, ofSize(16_385)])],
      new FrameDecoder(DEFAULT_FRAME_LIMITS),
    );
    expect(got).toHaveLength(1);
    expect(fault?.message).toBe('frame too large');
  });

  it('frames have 4 MiB at most after it', () => {
    const { maxFrameBytes } = DEFAULT_FRAME_LIMITS;
    expect(decode(pieces(ofSize(maxFrameBytes), 65_536)).sizes).toEqual([maxFrameBytes]);
    expect(decode(pieces(ofSize(maxFrameBytes + 1), 65_536))).toMatchObject({
      frames: [],
      fault: { message: 'frame too large', code: 'ERR_RAP_FRAME_TOO_LARGE', status: 1003 },
      faultAt: 65_536,
    });
  });
});

/** An entry of a map, with nil as its value. */
function entry(key: string, form = uint(0xa0 + key.length, 1)): string {
  return `${form} ${ascii(key)} c0`;
}

describe('frames that are none', () => {
  // the scanner sees these, the frame shows those, and the last is only seen when its pieces are together
  const BAD: [string, string, string][] = [
    ['0xc1', `${HEAD} c1`, 'token 0xc1 is not allowed'],
    ['no array of four', '93 65 03 80', 'a frame is an array of four'],
    ['bad UTF-8', `${HEAD} a2 c328`, 'a string is not UTF-8'],
    ['a type that is unknown', '94 64 03 80 c0', 'unknown message type'],
    ['id 0', '94 65 00 80 c0', 'correlation id out of range'],
    ['id 2^32', '94 65 cf 0000000100000000 80 c0', 'correlation id out of range'],
    ['id 2^53', '94 65 cf 0020000000000000 80 c0', 'correlation id out of range'],
    ['id 2^64 - 1', '94 65 cf ffffffffffffffff 80 c0', 'correlation id out of range'],
    ['a type beyond numbers', '94 cf ffffffffffffffff 03 80 c0', 'unknown message type'],
    ['a header key twice', `${BEFORE_HEADER} 82 a161 c0 a161 c0 c0`, 'duplicate header key'],
  ];

  it.each(BAD)('%s is refused, wherever it is cut', (_name, digits, reason) => {
    for (const chunks of everyCut(hex(digits))) {
      expect(decode(chunks)).toMatchObject({ frames: [], fault: { message: reason, status: 1003 } });
    }
  });

  it.each(BAD)('%s: what came before it is handed on, nothing after it', (_name, digits, reason) => {
    // 64 frames are decoded together
    for (const count of [0, 1, 2, 62, 63, 64, 65, 127, 128, 129]) {
      const before = Array.from({ length: count }, (_, i) => hex(`94 65 ce ${uint(i + 1, 4)} 80 c0`));
      const bytes = Buffer.concat([...before, hex(digits), hex(`${HEAD} c0`)]);
      for (const size of [bytes.length, 10, 17]) {
        const decoder = decoderWith();
        const { frames: got, sizes, fault } = decode(pieces(bytes, size), decoder);
        expect(got.map(([, id]) => id)).toEqual(before.map((_, i) => i + 1));
        expect(sizes).toEqual(before.map(({ length }) => length));
        expect(fault?.message).toBe(reason);
        decoder.push(hex(`${HEAD} c0`));
        expect(() => decoder.next()).toThrow(fault);
        expect(() => decoder.next()).toThrow(fault);
      }
    }
  });

  it('have any message type but the four', () => {
    for (let type = 0; type < 256; type++) {
      const known = [101, 102, 103, 203].includes(type);
      for (const form of [`cc ${uint(type, 1)}`, `cf ${uint(type, 8)}`]) {
        expect(decode([hex(`94 ${form} 03 80 c0`)]).fault?.message).toBe(
          known ? undefined : 'unknown message type',
        );
      }
    }
  });

  it('have an id that is not between 1 and 2^32 - 1', () => {
    for (const [id, good] of [
      ['01', true],
      ['ce ffffffff', true],
      ['cf 0000000000000001', true],
      ['cf 00000000ffffffff', true],
      ['cc 00', false],
      ['cf 0000000000000000', false],
      ['cf 0000000100000001', false],
    ] as const) {
      expect(decode([hex(`94 65 ${id} 80 c0`)]).fault?.message).toBe(
        good ? undefined : 'correlation id out of range',
      );
    }
  });

  describe('duplicate header keys', () => {
    it.each([
      ['next to each other', `82 ${entry('a')} ${entry('a')}`],
      ['apart', `83 ${entry('a')} ${entry('b')} ${entry('a')}`],
      ['in another form', `82 ${entry('a')} ${entry('a', 'd9 01')}`],
      ['in a map of another form', `de 0002 ${entry('a')} ${entry('a')}`],
      ['in a map of the longest form', `df 00000002 ${entry('a')} ${entry('a')}`],
      ['empty', '82 a0 c0 a0 c0'],
      ['like an index', `82 ${entry('0')} ${entry('0')}`],
      ['a target', `82 a6 ${ascii('target')} a1 61 a6 ${ascii('target')} a1 62`],
      ['in a map in the header', `81 a1 62 82 ${entry('a')} ${entry('a')}`],
      [
        'in a map behind others',
        `82 a1 62 81 ${entry('a')} a1 63 83 ${entry('a')} ${entry('b')} ${entry('b')}`,
      ],
      ['in a list in the header', `81 a1 62 92 c0 82 ${entry('a')} ${entry('a')}`],
      ['three levels down', `81 a1 62 81 a1 62 81 a1 62 82 ${entry('a')} ${entry('a')}`],
    ])('%s are refused', (_name, header) => {
      for (const typeAndId of [
        '65 03',
        'cc 65 cd 0003',
        'cd 0065 ce 00000003',
        'ce 00000065 cf 0000000000000003',
        'cf 0000000000000065 cc 03',
      ]) {
        for (const body of ['c0', '80', '81 a161 c0']) {
          for (const chunks of everyCut(hex(`94 ${typeAndId} ${header} ${body}`))) {
            expect(decode(chunks).fault?.message).toBe('duplicate header key');
          }
        }
      }
    });

    it.each([
      ['in the body only', `81 ${entry('a')} 82 ${entry('a')} ${entry('a')}`],
      ['in body and header', `81 ${entry('a')} 81 ${entry('a')}`],
      [
        'in several maps of a header',
        `82 a1 61 82 a1 61 82 ${entry('a')} ${entry('b')} ${entry('b')} ${entry('b')} c0`,
      ],
      ['that differ in case', `82 ${entry('a')} ${entry('A')} c0`],
      ['as key and value', `82 ${entry('a')} ${entry('b').slice(0, -2)} a161 c0`],
    ])('are none: %s', (_name, rest) => {
      for (const chunks of everyCut(hex(`${BEFORE_HEADER} ${rest}`))) {
        expect(decode(chunks)).toMatchObject({ fault: undefined, sizes: [hex(rest).length + 3] });
      }
    });
  });

  it('leave the next connection alone', () => {
    for (const [, digits] of BAD) {
      decode([hex(digits)]);
      decode(pieces(hex(digits), 3));
      expect(decode([hex(`${HEAD} c0`)]).frames).toEqual([[101, 3, {}, null]]);
    }
  });
});
