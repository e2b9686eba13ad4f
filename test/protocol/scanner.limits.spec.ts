import { DEFAULT_FRAME_LIMITS, type FrameLimits } from '../../lib/protocol/limits.js';
import { Scanner } from '../../lib/protocol/scanner.js';
import { cut, everyCut, faultOf, hex, pieces } from './frames.js';
import {
  accepts,
  array16,
  ascii,
  BEFORE_HEADER,
  bin16,
  fewCuts,
  HEAD,
  map16,
  refuses,
  scanAll,
  str16,
  uint,
} from './scan.js';

/** A limit from both sides: bodies just within and just beyond it, and the byte at which the latter is refused. */
interface Bound {
  readonly of: string;
  readonly within: string;
  readonly beyond: string;
  readonly at?: number;
}

function holds(limits: Partial<FrameLimits>, reason: string, { within, beyond, at }: Bound): void {
  accepts(`${HEAD} ${within}`, { limits });
  refuses(`${HEAD} ${beyond}`, reason, { limits, at });
}

const text = (length: number): string => `d9 ${uint(length, 1)} ${'61'.repeat(length)}`;
const double = 'cb 3ff8000000000000';

const scan = (digits: string) => faultOf(() => new Scanner(DEFAULT_FRAME_LIMITS).scan(hex(digits), 0));

describe('frame size', () => {
  // four bytes of it are HEAD
  const limits = { maxFrameBytes: 64 };
  const reason = 'frame too large';

  it.each<Bound>([
    { of: 'text', within: text(58), beyond: `d9 ${uint(59, 1)}`, at: 6 },
    {
      of: 'text, 32 bits',
      within: `db ${uint(55, 4)} ${'61'.repeat(55)}`,
      beyond: `db ${uint(56, 4)}`,
      at: 9,
    },
    { of: 'bytes', within: `c4 ${uint(58, 1)} ${'00'.repeat(58)}`, beyond: `c4 ${uint(59, 1)}`, at: 6 },
    {
      of: 'bytes, 32 bits',
      within: `c6 ${uint(55, 4)} ${'00'.repeat(55)}`,
      beyond: `c6 ${uint(56, 4)}`,
      at: 9,
    },
    { of: 'several texts', within: `92 ${text(55)} a1 61`, beyond: `92 ${text(55)} a2`, at: 63 },
    { of: 'a key', within: `81 ${text(56)} c0`, beyond: `81 ${text(58)} c0`, at: 7 },
    { of: 'an array’s count', within: array16(57, 'c0'), beyond: `dc ${uint(58, 2)}`, at: 7 },
    { of: 'a map’s count', within: map16(11, 'c0'), beyond: `de ${uint(29, 2)}`, at: 7 },
  ])('declared by $of', (bound) => holds(limits, reason, bound));

  // items of more than a byte: the counts say less than what comes
  it.each<Bound>([
    { of: 'float64', within: `96 ${double.repeat(6)} `, beyond: `97 ${double.repeat(7)}` },
    { of: 'float32', within: `9b ${'ca 3fc00000'.repeat(11)}`, beyond: `9c ${'ca 3fc00000'.repeat(12)}` },
    { of: 'uint16', within: array16(19, 'cd ffff'), beyond: array16(20, 'cd ffff') },
    {
      of: 'uint64',
      within: `81 a161 95 ${'cf ffffffffffffffff'.repeat(5)}`,
      beyond: array16(7, 'cf ffffffffffffffff'),
    },
    { of: 'a number after text', within: `92 ${text(52)} cd ffff`, beyond: `92 ${text(55)} cd ffff` },
    { of: 'an empty map after text', within: `92 ${text(56)} 80`, beyond: `92 ${text(56)} df 00000000` },
  ])('really taken by $of', (bound) => holds(limits, reason, bound));

  it('is that of the whole frame, not of the part in the last chunk', () => {
    const options = { limits: { maxFrameBytes: 256 } };
    accepts(`${HEAD} 92 ${str16(200)} ${text(46)}`, options);
    refuses(`${HEAD} 92 ${str16(200)} ${text(47)}`, reason, { ...options, at: 210 });
  });

  it('may be set between frames', () => {
    const scanner = new Scanner({ ...DEFAULT_FRAME_LIMITS, ...limits });
    const frame = hex(`${HEAD} a8 ${'61'.repeat(8)}`);
    scanner.maxFrameBytes = frame.length;
    expect(scanner.scan(frame, 0)).toBe(frame.length);
    scanner.maxFrameBytes = frame.length - 1;
    expect(faultOf(() => scanner.scan(frame, 0)).message).toBe(reason);
  });

  it('is 4 MiB by default', () => {
    const most = 4 * 1024 * 1024;
    const bytes = Buffer.alloc(most, 0x61);
    hex(`${HEAD} db ${uint(most - 9, 4)}`).copy(bytes);
    for (const size of [1448, 65_536, most]) {
      expect(scanAll(pieces(bytes, size))).toMatchObject({ fault: undefined, ends: [most] });
    }
    refuses(`${HEAD} db ${uint(most - 8, 4)}`, reason, { at: 9 });
  });

  it('has a code of its own; every refusal has the status of the protocol', () => {
    expect(scan(`${HEAD} c6 ffffffff`)).toMatchObject({ status: 1003, code: 'ERR_RAP_FRAME_TOO_LARGE' });
    expect(scan(`${HEAD} c1`)).toMatchObject({ status: 1003, code: 'ERR_RAP_PROTOCOL' });
  });
});

describe('values of a frame', () => {
  // five of them are the frame’s array, its type, id and header, and the body itself
  it.each<Bound>([
    { of: 'an array', within: array16(7, 'c0'), beyond: `dc ${uint(8, 2)}`, at: 7 },
    { of: 'a map', within: map16(3, 'c0'), beyond: `de ${uint(4, 2)}`, at: 7 },
    { of: 'several arrays', within: '94 91c0 91c0 91c0 90', beyond: '94 91c0 91c0 91c0 91c0', at: 12 },
    { of: 'empty ones', within: '97 90 80 a0 90 80 a0 c0', beyond: '98', at: 5 },
  ])('are counted in $of', (bound) => holds({ maxItems: 12 }, 'too many items', bound));

  it('are counted if no count has announced them', () => {
    // 11 so far, then two more in an array, or one in it and one after it
    refuses(`${HEAD} 93 93 c0c0c0 c0 92 c0c0`, 'too many items', { limits: { maxItems: 12 }, at: 11 });
    refuses(`${HEAD} 94 93 c0c0c0 c0 91 c0 c0`, 'too many items', { limits: { maxItems: 12 }, at: 13 });
    accepts(`${HEAD} 93 93 c0c0c0 c0 91 c0`, { limits: { maxItems: 12 } });
  });

  it('are at most 262,144 by default', () => {
    const most = 262_144;
    accepts(`${HEAD} dd ${uint(most - 5, 4)} ${'80'.repeat(most - 5)}`, { cuts: fewCuts });
    refuses(`${HEAD} dd ${uint(most - 4, 4)}`, 'too many items', { at: 9 });
    const maps = `${HEAD} 92 dd ${uint(most - 7, 4)} ${'80'.repeat(most - 7)}`;
    accepts(`${maps} c0`, { cuts: fewCuts });
    refuses(`${maps} 91 80`, 'too many items', { cuts: fewCuts });
  });
});

describe('huge declared counts', () => {
  it.each([
    ['text', 'db', 'frame too large'],
    ['bytes', 'c6', 'frame too large'],
    ['array', 'dd', 'too many items'],
    ['map', 'df', 'too many items'],
  ])('of %s are refused at their five bytes', (_name, token, reason) => {
    for (const size of ['ffffffff', '80000000', '7fffffff', '40000000', '01000000']) {
      refuses(`${HEAD} ${token} ${size}`, reason, { at: 9 });
      refuses(`${HEAD} 91 81 a161 ${token} ${size}`, reason, { at: 13 });
    }
  });

  it('are refused if only all together are too many', () => {
    expect(scanAll([hex(`${HEAD} dd 0003fff0 dd 0003fff0`)]).fault).toBeUndefined();
    refuses(`${HEAD} ${'dd 0003fff0 '.repeat(20)}`, 'too many items');
  });
});

describe('depth of a frame', () => {
  // the frame’s own array is the first container
  it.each<Bound>([
    { of: 'arrays', within: '91 91 c0', beyond: '91 91 91 c0', at: 7 },
    { of: 'maps', within: '81 a161 81 a161 c0', beyond: '81 a161 81 a161 81 a161 c0', at: 11 },
    { of: 'long forms', within: 'dc0001 df00000001 a161 c0', beyond: 'dc0001 dd00000001 dc0001 c0', at: 15 },
    { of: 'later items', within: '93 91c0 91c0 91c0', beyond: '93 91c0 91c0 91 91 c0', at: 11 },
    { of: 'an empty array', within: '91 90', beyond: '91 91 90' },
    { of: 'an empty map', within: '91 80', beyond: '91 91 80' },
  ])('counts $of', (bound) => holds({ maxDepth: 3 }, 'too deep', bound));

  it('is 100 by default', () => {
    accepts(`${HEAD} ${'91'.repeat(99)} c0`);
    accepts(`${HEAD} ${'81 a161'.repeat(99)} c0`);
    refuses(`${HEAD} ${'91'.repeat(100)} c0`, 'too deep', { at: 104 });
    refuses(`${HEAD} ${'81 a161'.repeat(100)} c0`, 'too deep', { at: 302 });
  });

  it('leaves the other rules in force at its deepest', () => {
    accepts(`${HEAD} ${'91'.repeat(98)} 81 a161 a161`);
    refuses(`${HEAD} ${'91'.repeat(98)} 81 90 c0`, 'too deep', { at: 104 });
    refuses(`${HEAD} ${'91'.repeat(98)} 82 a161 c0 90 c0`, 'too deep', { at: 107 });
    accepts(`${HEAD} ${'91'.repeat(97)} 82 a161 c0 90 c0`);
    refuses(`${HEAD} ${'91'.repeat(98)} 91 c1`, 'token 0xc1 is not allowed', { at: 104 });
    const { scanner } = scanAll([hex(`${HEAD} ${'91'.repeat(98)} 81 a9 ${ascii('__proto__')} c0`)]);
    expect(scanner.needsCare).toBe(true);
  });
});

const headed = (digits: string): string => `${BEFORE_HEADER} ${digits} c0`;

describe('a header', () => {
  const tooLarge = 'header too large';

  it.each<Bound>([
    { of: 'text', within: `81 a161 ${str16(8186)}`, beyond: `81 a161 ${str16(8187)}`, at: 9 },
    { of: 'bytes', within: `81 a161 ${bin16(8186)}`, beyond: `81 a161 ${bin16(8187)}`, at: 9 },
    {
      of: 'texts',
      within: `82 a161 ${str16(4000)} a162 ${str16(4181)}`,
      beyond: `82 a161 ${str16(4000)} a162 ${str16(4182)}`,
      at: 4014,
    },
    {
      of: 'small values',
      within: `81 a161 ${array16(8186, 'c0')}`,
      beyond: `81 a161 ${array16(8187, 'c0')}`,
    },
    {
      of: 'numbers',
      within: `82 a161 ${array16(909, double)} a162 cd ffff`,
      beyond: `82 a161 ${array16(909, double)} a162 ce ffffffff`,
    },
  ])('of $of has 8 KiB at most', ({ within, beyond, at }) => {
    expect(hex(within)).toHaveLength(8192);
    accepts(headed(within), { cuts: fewCuts });
    refuses(headed(beyond), tooLarge, { cuts: fewCuts, at });
  });

  it('is measured to the byte, wherever it is cut', () => {
    for (let filler = 8170; filler < 8190; filler++) {
      const header = hex(`82 a161 ${str16(filler)} a162 c3`);
      const frame = Buffer.concat([hex(BEFORE_HEADER), header, hex('c0')]);
      for (const chunks of [[frame], pieces(frame, 1), cut(frame, [3 + header.length])]) {
        expect(scanAll(chunks).fault).toBe(header.length > 8192 ? tooLarge : undefined);
      }
    }
  });

  it('that never ends is refused before it is large', () => {
    const endless = hex(`${BEFORE_HEADER} 81 a161 dd 00030000 ${'c0'.repeat(16_000)}`);
    expect(scanAll(pieces(endless, 1))).toMatchObject({ fault: tooLarge, faultAt: 3 + 8193 });
    expect(scanAll(pieces(endless, 1448))).toMatchObject({ fault: tooLarge, faultAt: 6 * 1448 });
  });

  it('has 64 entries at most', () => {
    accepts(headed(map16(64, 'c0')));
    refuses(headed(map16(65, 'c0')), 'too many header entries', { at: 6 });
    refuses(`${BEFORE_HEADER} df 00000041`, 'too many header entries', { at: 8 });
    // what an entry holds is bounded by its bytes
    accepts(headed(`81 a161 ${map16(65, 'c0')}`));
  });

  it('has keys of 128 bytes at most, at any depth', () => {
    accepts(headed(`81 ${text(128)} c0`));
    accepts(headed(`81 a161 81 ${text(128)} c0`));
    accepts(headed(`81 a161 ${text(200)}`));
    refuses(headed(`81 ${text(129)} c0`), 'header key too long', { at: 6 });
    refuses(headed(`81 a161 81 ${text(129)} c0`), 'header key too long', { at: 9 });
    refuses(headed(`81 a161 91 81 ${str16(129)} c0`), 'header key too long', { at: 11 });
  });

  it.each([
    ['maps', '81 a161'],
    ['arrays', '91'],
  ])('nests 4 containers at most, %s too', (_name, container) => {
    accepts(headed(`81 a161 ${container.repeat(3)} c0`));
    const at = 7 + 3 * hex(container).length;
    refuses(headed(`81 a161 ${container.repeat(4)} c0`), 'header too deep', { at });
  });

  it.each(['90', '80'])('nests 4 containers at most, an empty one (%s) too', (empty) => {
    accepts(headed(`81 a161 91 91 ${empty}`));
    refuses(headed(`81 a161 91 91 91 ${empty}`), 'header too deep');
  });

  it('lends its limits to nothing else', () => {
    accepts(`${HEAD} ${str16(9000)}`, { cuts: fewCuts });
    accepts(`${HEAD} ${array16(9000, 'c0')}`, { cuts: fewCuts });
    accepts(`${BEFORE_HEADER} 81 a161 c0 ${map16(100, '91 91 91 91 91 c0')}`, { cuts: fewCuts });
    accepts(`${HEAD} 81 ${text(255)} c0`);
  });
});

it('counts anew in every frame', () => {
  const limits = { maxFrameBytes: 64, maxItems: 12, maxHeaderEntries: 1, maxHeaderBytes: 16 };
  const frame = hex(`${BEFORE_HEADER} 81 a161 ac ${'61'.repeat(12)} 95 c0 c0 c0 c0 c0`);
  for (const chunks of everyCut(Buffer.concat([frame, frame, frame]))) {
    const { ends, fault } = scanAll(chunks, limits);
    expect({ ends, fault }).toEqual({ ends: [1, 2, 3].map((i) => i * frame.length), fault: undefined });
  }
});
