import * as fc from 'fast-check';

/** Where a form of integers ends, or JavaScript's numbers do. */
export const INTEGER_EDGES = [
  0,
  0x1f,
  0x20,
  0x3f,
  0x40,
  0x7f,
  0x80,
  0xff,
  0x100,
  0x7fff,
  0x8000,
  0xffff,
  0x1_0000,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffff,
  0x1_0000_0000,
  2 ** 53 - 1,
].flatMap((edge) => (edge === 0 ? [0] : [edge, -edge]));

export const integer = fc.oneof(fc.integer(), fc.maxSafeInteger(), fc.constantFrom(...INTEGER_EDGES));

/** Integers that a number does not hold, up to the ends of int64 and uint64. */
export const wideInteger = fc.oneof(
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
  fc.constantFrom(2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n), 2n ** 63n, 2n ** 64n - 1n, -(2n ** 63n)),
);

export const float = fc.oneof(
  fc.double().filter((value) => !Number.isInteger(value)),
  fc.float({ noInteger: true }),
  fc.constantFrom(-0, 1e300, Number.MIN_VALUE, NaN, Infinity, -Infinity, 2 ** 53, -(2 ** 70)),
);

/** Well-formed text of any characters, of lengths around those at which code changes its way. */
export const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.string({ unit: 'grapheme', maxLength: 90 }),
  fc.string({ unit: 'binary-ascii', minLength: 28, maxLength: 70 }),
  fc.string({ unit: fc.constantFrom('a', 'é', '€', '😀', '！'), minLength: 10, maxLength: 100 }),
  fc.string({ unit: 'binary', maxLength: 90 }).map((rest) => `\uFEFF${rest}`),
);

const RISKY_KEYS = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'toJSON_',
  'length',
  '0',
  '-1',
  '',
  '\uFEFF',
];

export const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));

/** An object of these entries as own properties, whatever their keys. */
export function record(entries: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  for (const [key, value] of entries) {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  }
  return object;
}

/** What {@link values} leaves out if a reader or writer to compare with cannot do it. */
export interface ValueOptions {
  readonly keys?: fc.Arbitrary<string>;
  readonly leaves?: fc.Arbitrary<unknown>;
}

export const leaf: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(null, true, false),
  integer,
  wideInteger,
  float,
  text,
  bytes,
);

/** Values as a wire frame may carry them: what is decoded equals what was encoded. */
export function values({
  keys = fc.oneof(text, fc.constantFrom(...RISKY_KEYS)),
  leaves = leaf,
}: ValueOptions = {}): fc.Arbitrary<unknown> {
  return fc.letrec<{ value: unknown; array: unknown[]; map: unknown }>((tie) => ({
    value: fc.oneof({ maxDepth: 5, withCrossShrink: true }, leaves, tie('array'), tie('map')),
    array: fc.oneof(
      fc.array(tie('value'), { maxLength: 6 }),
      fc.array(leaves, { minLength: 14, maxLength: 18 }),
    ),
    map: fc
      .oneof(
        fc.array(fc.tuple(keys, tie('value')), { maxLength: 6 }),
        fc.array(fc.tuple(keys, leaves), { minLength: 14, maxLength: 18 }),
      )
      .map(record),
  })).value;
}

export function hasMinusZero(value: unknown): boolean {
  if (Object.is(value, -0)) return true;
  return typeof value === 'object' && value !== null && Object.values(value).some(hasMinusZero);
}

/** A value inside this many containers. */
export function nested(depth: number, kind: (level: number) => 'array' | 'map', innermost: unknown): unknown {
  let value = innermost;
  for (let level = depth; level > 0; level--) value = kind(level) === 'array' ? [value] : { a: value };
  return value;
}

/** Values nested up to `most` containers deep. */
export function deepValues(most: number, innermost = leaf): fc.Arbitrary<unknown> {
  const depth = fc.oneof(fc.integer({ min: 1, max: most }), fc.constant(most));
  const maps = fc.array(fc.boolean(), { minLength: 1, maxLength: 7 });
  return fc
    .tuple(depth, maps, innermost)
    .map(([levels, kinds, value]) =>
      nested(levels, (level) => (kinds[level % kinds.length] ? 'map' : 'array'), value),
    );
}

export const messageType = fc.constantFrom(101, 102, 103, 203);
export const correlationId = fc.oneof(
  fc.integer({ min: 1, max: 0xffff_ffff }),
  fc.constantFrom(1, 0xffff_ffff),
);

const headerLeaf = fc.oneof(
  fc.constantFrom(null, true, false, '\uFEFF', 2n ** 53n),
  integer,
  wideInteger,
  float,
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.uint8Array({ maxLength: 20 }).map((array) => Buffer.from(array)),
);

/** Headers within the default limits, without the keys that none may have. */
export const header = fc
  .array(
    fc.tuple(
      fc
        .oneof(
          fc.string({ unit: 'binary', maxLength: 20 }),
          fc.constantFrom('target', 'status_code', '', '0'),
        )
        .filter((key) => !['__proto__', 'constructor', 'prototype'].includes(key)),
      fc.oneof(
        headerLeaf,
        fc.array(headerLeaf, { maxLength: 3 }),
        fc
          .array(fc.tuple(fc.string({ unit: 'binary-ascii', maxLength: 8 }), headerLeaf), { maxLength: 3 })
          .map(record),
      ),
    ),
    { maxLength: 18 },
  )
  .map(record);

export function frames(body: fc.Arbitrary<unknown> = values()): fc.Arbitrary<unknown[]> {
  return fc.tuple(messageType, correlationId, header, body);
}

/**
 * Writes a value as msgpack in any of the forms that the format allows for it, not only in the smallest: an
 * independent writer to hold the reader against. `pick` chooses: it gives a number below the one it is given.
 */
export function writeLoosely(value: unknown, pick: (choices: number) => number): Buffer {
  if (value === null) return Buffer.of(0xc0);
  if (typeof value === 'boolean') return Buffer.of(value ? 0xc3 : 0xc2);
  if (typeof value === 'bigint') return oneOf(integerForms(value), pick);
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) return oneOf(integerForms(BigInt(value)), pick);
    return oneOf(floatForms(value), pick);
  }
  if (typeof value === 'string') {
    const utf8 = Buffer.from(value);
    return Buffer.concat([oneOf(sizeForms(utf8.length, [0xa0, 32], [0xd9, 0xda, 0xdb]), pick), utf8]);
  }
  if (Buffer.isBuffer(value)) {
    return Buffer.concat([oneOf(sizeForms(value.length, [0, 0], [0xc4, 0xc5, 0xc6]), pick), value]);
  }
  if (Array.isArray(value)) {
    const head = oneOf(sizeForms(value.length, [0x90, 16], [0, 0xdc, 0xdd]), pick);
    return Buffer.concat([head, ...value.map((item) => writeLoosely(item, pick))]);
  }
  const entries = Object.entries(value as object);
  const head = oneOf(sizeForms(entries.length, [0x80, 16], [0, 0xde, 0xdf]), pick);
  return Buffer.concat([head, ...entries.flat().map((item) => writeLoosely(item, pick))]);
}

/** A frame, with its own array in the one form that is allowed. */
export function writeFrameLoosely(frame: readonly unknown[], pick: (choices: number) => number): Buffer {
  const [type, id, ...rest] = frame as [number, number, ...unknown[]];
  const unsigned = [type, id].map((n) =>
    oneOf(
      integerForms(BigInt(n)).filter(({ 0: token = 0 }) => token < 0x80 || (token >= 0xcc && token <= 0xcf)),
      pick,
    ),
  );
  return Buffer.concat([Buffer.of(0x94), ...unsigned, ...rest.map((item) => writeLoosely(item, pick))]);
}

function oneOf(forms: Buffer[], pick: (choices: number) => number): Buffer {
  return forms[pick(forms.length)] as Buffer;
}

function integerForms(value: bigint): Buffer[] {
  const forms: Buffer[] = [];
  if (value >= -0x20n && value < 0x80n) forms.push(Buffer.of(Number(value) & 0xff));
  for (const [log, bits] of [8n, 16n, 32n, 64n].entries()) {
    const form = Buffer.alloc(1 + Number(bits) / 8);
    const write = (token: number): void => {
      form[0] = token;
      const digits = BigInt.asUintN(Number(bits), value).toString(16);
      form.write(digits.padStart(Number(bits) / 4, '0'), 1, 'hex');
      forms.push(Buffer.from(form));
    };
    if (value >= 0n && value < 1n << bits) write(0xcc + log);
    if (value >= -(1n << (bits - 1n)) && value < 1n << (bits - 1n)) write(0xd0 + log);
  }
  return forms;
}

function floatForms(value: number): Buffer[] {
  const double = Buffer.alloc(9, 0xcb);
  double.writeDoubleBE(value, 1);
  const single = Buffer.alloc(5, 0xca);
  single.writeFloatBE(value, 1);
  return Object.is(Math.fround(value), value) ? [double, single] : [double];
}

/** Heads that say `size`: in the token, or in 1, 2 or 4 bytes after a token (0: there is none of that width). */
function sizeForms(size: number, [fix, fixLimit]: [number, number], tokens: number[]): Buffer[] {
  const forms = size < fixLimit ? [Buffer.of(fix | size)] : [];
  for (const [log, token] of tokens.entries()) {
    const width = 2 ** log;
    if (token === 0 || size >= 256 ** width) continue;
    const form = Buffer.alloc(1 + width, token);
    form.writeUIntBE(size, 1, width);
    forms.push(form);
  }
  return forms;
}
