import { readFileSync } from 'node:fs';
import vm from 'node:vm';
import * as fc from 'fast-check';
import { bytesOf } from '../../lib/protocol/bytes/encoded-frame.js';
import { encodeFrame } from '../../lib/protocol/encoder.js';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { DEFAULT_FRAME_LIMITS, type FrameLimits } from '../../lib/protocol/limits.js';
import { MAX_NUMBER_KEYS, UnreadableBody } from '../../lib/protocol/values/values.js';

const HEAD = Buffer.from([0x94, 0x65, 0x03, 0x80]);

function encoded(body: unknown, values = true): Buffer {
  return bytesOf(encodeFrame(101, 3, null, body, DEFAULT_FRAME_LIMITS, undefined, values));
}

/** The body of a frame that came, in pieces of this many bytes. */
function decoded(
  frame: Buffer,
  {
    values = true,
    step = frame.length,
    ...limits
  }: Partial<FrameLimits> & { values?: boolean; step?: number } = {},
): unknown {
  const decoder = new FrameDecoder({ ...DEFAULT_FRAME_LIMITS, ...limits });
  decoder.admit(DEFAULT_FRAME_LIMITS.maxFrameBytes, values);
  for (let at = 0; at < frame.length; at += step) {
    decoder.push(frame.subarray(at, at + step));
    const got = decoder.next();
    if (got) return got[3];
  }
  throw new Error('the frame is not whole');
}

const numbers = (count: number): Set<number> => new Set(Array.from({ length: count }, (_, i) => i));
const bodyOf = (hex: string): Buffer => Buffer.concat([HEAD, Buffer.from(hex, 'hex')]);

interface Vector {
  readonly name: string;
  /** JavaScript that makes the value. */
  readonly value: string;
  readonly hex: string;
}
const fixture = JSON.parse(readFileSync(new URL('../fixtures/values.json', import.meta.url), 'utf8')) as {
  good: Vector[];
  unreadable: { name: string; hex: string }[];
  refused: { name: string; hex: string }[];
};

const made = (value: string): unknown => vm.runInThisContext(`(${value})`);

describe('values that msgpack has no type for', () => {
  it.each(fixture.good.map((vector) => [vector.name, vector] as const))('%s', (_name, { value, hex }) => {
    const body = made(value);
    expect(encoded(body).subarray(HEAD.length).toString('hex')).toBe(hex);
    for (const step of [undefined, 1, 2]) {
      const got = decoded(bodyOf(hex), step === undefined ? {} : { step });
      // Jest holds no two invalid dates for equal
      if (value !== 'new Date(NaN)') expect(got).toEqual(body);
      expect(encoded(got).subarray(HEAD.length).toString('hex')).toBe(hex);
    }
  });

  it.each(fixture.good.map(({ name, value }) => [name, value]))('%s, of another realm', (_name, value) => {
    const foreign: unknown = vm.runInNewContext(`(${value})`, { URL, Buffer });
    expect(encoded(foreign).toString('hex')).toBe(encoded(made(value)).toString('hex'));
  });

  it.each(fixture.unreadable.map(({ name, hex }) => [name, hex]))(
    'fails one body alone: %s',
    (_name, hex) => {
      expect(decoded(bodyOf(hex))).toBeInstanceOf(UnreadableBody);
      expect(decoded(bodyOf(hex), { step: 1 })).toBeInstanceOf(UnreadableBody);
    },
  );

  it.each(fixture.refused.map(({ name, hex }) => [name, hex]))('is no frame: %s', (_name, hex) => {
    expect(() => decoded(bodyOf(hex))).toThrow(/extension|UTF-8|key|token|too many|too large/);
    expect(() => decoded(bodyOf(hex), { step: 1 })).toThrow(/extension|UTF-8|key|token|too many|too large/);
  });

  it.each(fixture.good.map(({ name, hex }) => [name, hex]))(
    'is refused where it was not agreed: %s',
    (_name, hex) => {
      expect(() => decoded(bodyOf(hex), { values: false })).toThrow(/is not allowed/);
    },
  );

  it('is refused in a header', () => {
    const frame = Buffer.from('94650381a161d40000c0', 'hex');
    expect(() => decoded(frame)).toThrow(/token 0xd4 is not allowed/);
  });

  it('costs a body without them nothing: the same bytes', () => {
    const body = { a: [1, 'b', null, true, Buffer.from('c'), { d: 1.5, gone: undefined }] };
    expect(encoded(body)).toEqual(encoded(body, false));
  });

  it('gives an error its class, name and fields, and no stack', () => {
    const error = Object.assign(new TypeError('no'), { code: 'E_NO', nested: { at: new Date(0) } });
    const got = decoded(encoded(error)) as TypeError & { code: string };
    expect(got).toBeInstanceOf(TypeError);
    expect({ ...(got as object), message: got.message, name: got.name }).toEqual({
      code: 'E_NO',
      nested: { at: new Date(0) },
      message: 'no',
      name: 'TypeError',
    });
    expect(got.stack).toBe('TypeError: no');
  });

  it('holds depth and items inside', () => {
    let deep: unknown = new Set();
    for (let i = 0; i < 20; i++) deep = new Set([deep]);
    const frame = encoded(deep);
    expect(() => decoded(frame, { maxDepth: 30 })).toThrow(/too deep/);
    expect(decoded(frame, { maxDepth: 60 })).toEqual(deep);
    const wide = encoded(new Set(Array.from({ length: 50 }, () => ({}))));
    expect(() => decoded(wide, { maxItems: 40 })).toThrow(/too many items/);
    const circle = new Map<string, unknown>();
    circle.set('self', circle);
    expect(() => encoded(circle)).toThrow(/nested too deep, or circular/);
  });

  it('bounds keys whose hash can be foreseen, on both sides', () => {
    expect(decoded(encoded(numbers(MAX_NUMBER_KEYS)))).toEqual(numbers(MAX_NUMBER_KEYS));
    expect(() => encoded([numbers(MAX_NUMBER_KEYS), new Map([[1n, 1]])])).toThrow(/numbers among the keys/);
    const items = encoded(Array.from({ length: MAX_NUMBER_KEYS + 1 }, (_, i) => i)).subarray(HEAD.length);
    const head = Buffer.from([0xc9, 0, 0, 0, 0, 3]);
    head.writeUInt32BE(items.length, 1);
    expect(decoded(Buffer.concat([HEAD, head, items]))).toBeInstanceOf(UnreadableBody);
  });

  const value = fc.letrec<{ any: unknown; key: unknown }>((tie) => ({
    key: fc.oneof(fc.string(), fc.integer(), fc.bigInt(), fc.boolean(), fc.constant(undefined)),
    any: fc.oneof(
      { depthSize: 'small' },
      fc.oneof(
        fc.string(),
        fc.double(),
        fc.boolean(),
        fc.constant(null),
        fc.bigInt(),
        fc.date({ noInvalidDate: true }),
        fc.webUrl().map((url) => new URL(url)),
        fc.constantFrom(/a+b/giu, /[/]\n/s),
        fc.uint8Array().map((bytes) => Buffer.from(bytes)),
        fc.string().map((message) => new RangeError(message)),
      ),
      fc.array(fc.oneof(tie('any'), fc.constant(undefined))),
      fc.dictionary(
        fc.string().filter((key) => key !== '__proto__'),
        tie('any'),
        { noNullPrototype: true },
      ),
      fc.array(fc.tuple(tie('key'), tie('any'))).map((entries) => new Map(entries)),
      fc.array(tie('any')).map((items) => new Set(items)),
    ),
  })).any;

  it('gives back whatever was put together of them', () => {
    fc.assert(
      fc.property(value, fc.integer({ min: 1, max: 40 }), (body, step) => {
        const frame = encoded(body);
        const got = decoded(frame, { step });
        expect(got).toEqual(body);
        expect(encoded(got).equals(frame)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});
