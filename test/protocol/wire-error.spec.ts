import * as fc from 'fast-check';
import { encodeFrame } from '../../lib/protocol/encoder.js';
import { asRefused, Fault, type FaultInit } from '../../lib/protocol/fault.js';
import type { Header } from '../../lib/protocol/frame.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { boundedText, fromErrorFrame, toErrorFrame } from '../../lib/protocol/wire-error.js';
import { jest } from '@jest/globals';
import { decode, wire } from './frames.js';
import { text, values } from './values.js';

/** Details of this many bytes on the wire. */
function detailsOf(bytes: number): unknown {
  return { a: 'x'.repeat(bytes - 6) };
}

function fault(init: Partial<FaultInit> = {}): Fault {
  return new Fault({ status: 500, message: 'm', ...init });
}

/** The error frame of a fault as a peer with default limits reads it: header and body, or why it is refused. */
function received(sent: Fault, name = 'N'): { header: Header; body: unknown } | string {
  const { header, body } = toErrorFrame(sent, name);
  const { frames, fault: refused } = decode([wire(encodeFrame(101, 3, header, body, DEFAULT_FRAME_LIMITS))]);
  const [frame] = frames;
  return frame ? { header: frame[2], body: frame[3] } : String(refused?.message);
}

const errorOf = (header: Header): Record<string, unknown> => header.error as Record<string, unknown>;
const bytesOf = (value: string): number => Buffer.byteLength(value);

describe('boundedText', () => {
  it.each([
    ['abc', 3, 'abc'],
    ['abcd', 3, 'abc'],
    ['', 0, ''],
    ['abc', 0, ''],
    ['aé', 3, 'aé'],
    ['aé', 2, 'a'],
    ['é', 1, ''],
    ['a€b', 4, 'a€'],
    ['a€b', 3, 'a'],
    ['a€b', 2, 'a'],
    ['a😀b', 5, 'a😀'],
    ['a😀b', 4, 'a'],
    ['a😀b', 3, 'a'],
    ['a😀b', 2, 'a'],
    ['😀😀', 7, '😀'],
  ])('of %p in %d bytes is %p', (value, bytes, cut) => expect(boundedText(value, bytes)).toBe(cut));

  it('is the longest beginning of whole characters that has room', () => {
    const anyText = fc.oneof(text, fc.string({ unit: fc.constantFrom('a', 'é', '€', '😀'), maxLength: 60 }));
    fc.assert(
      fc.property(
        anyText.filter((value) => !value.includes('\uFFFD')),
        fc.nat(200),
        (value, bytes) => {
          const cut = boundedText(value, bytes);
          const [next = ''] = value.slice(cut.length);
          expect(value.startsWith(cut)).toBe(true);
          expect(Buffer.from(cut).toString()).toBe(cut);
          expect(bytesOf(cut)).toBeLessThanOrEqual(bytes);
          expect(cut === value || bytesOf(cut + next) > bytes).toBe(true);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('holds for text that is not well formed', () => {
    const broken = fc.string({ unit: fc.constantFrom('\uD83D', '\uDE00', 'a', '\uFFFD'), maxLength: 60 });
    fc.assert(
      fc.property(broken, fc.nat(100), (value, bytes) => {
        expect(bytesOf(boundedText(value, bytes))).toBeLessThanOrEqual(bytes);
      }),
    );
  });

  it.each(['a', '€', '\uFFFD', '\uD800'])(
    'looks at no more of a text without end than it takes: %j',
    (unit) => {
      const counted = jest.spyOn(Buffer, 'byteLength');
      const copied = jest.spyOn(Buffer, 'from');
      let looks: unknown[];
      try {
        boundedText(unit.repeat(1_000_000), 1024);
        looks = [...counted.mock.calls, ...copied.mock.calls].map(([value]) => (value as string).length);
      } finally {
        counted.mockRestore();
        copied.mockRestore();
      }
      expect(looks.length).toBeGreaterThan(0);
      expect(looks.filter((length) => (length as number) > 1024)).toEqual([]);
    },
  );
});

describe('an error on the wire', () => {
  it('is a status and a text', () => {
    expect(
      toErrorFrame(fault({ status: 404, message: 'Not found func. name: nope' }), 'FuncNotFoundError'),
    ).toEqual({
      header: { status_code: 404, error: { name: 'FuncNotFoundError', code: 'ERR_RAP_FUNC_NOT_FOUND' } },
      body: 'Not found func. name: nope',
    });
  });

  it('is a pair for an exception of the function', () => {
    const { body } = toErrorFrame(
      fault({ status: 301, remoteName: 'ValueError', message: 'boom 3' }),
      'InvokeError',
    );
    expect(body).toEqual(['ValueError', 'boom 3']);
    expect(toErrorFrame(fault({ status: 301 }), 'InvokeError').body).toEqual(['Error', 'm']);
  });

  it('tells nothing but name, code and details', () => {
    const sent = fault({ cause: new Error('secret'), sent: 'no', phase: 'connect', details: { a: 1 } });
    expect(toErrorFrame(sent, 'N').header).toEqual({
      status_code: 500,
      error: { name: 'N', code: 'ERR_RAP_SERVER', details: { a: 1 } },
    });
  });

  it('has texts of bounded length, cut between characters', () => {
    const long = '€'.repeat(100_000);
    const { header, body } = toErrorFrame(fault({ status: 301, message: long, remoteName: long }), long);
    expect(body).toEqual(['€'.repeat(42), '€'.repeat(341)]);
    expect(errorOf(header)['name']).toBe('€'.repeat(42));
    expect(toErrorFrame(fault({ message: 'a'.repeat(1024) }), 'N').body).toBe('a'.repeat(1024));
    expect(toErrorFrame(fault({ message: 'a'.repeat(1025) }), 'N').body).toBe('a'.repeat(1024));
  });

  it('has a code of bounded length', () => {
    expect(received(fault({ code: 'C'.repeat(9000) }))).toMatchObject({ body: 'm' });
  });

  it('has details of 4 KiB at most', () => {
    expect(errorOf(toErrorFrame(fault({ details: detailsOf(4096) }), 'N').header)['details']).toEqual(
      detailsOf(4096),
    );
    expect(errorOf(toErrorFrame(fault({ details: detailsOf(4097) }), 'N').header)).not.toHaveProperty(
      'details',
    );
  });

  it.each<[string, unknown, boolean]>([
    ['a text', 'why', true],
    ['null', null, true],
    ['0', 0, true],
    ['a map', { a: 1 }, true],
    ['a map of lists', { a: [1], b: ['x'] }, true],
    ['a list of maps', [{ field: 'a' }, { field: 'b' }], true],
    ['bytes', { a: Buffer.of(1, 2) }, true],
    ['an empty map in a list in a map', { a: [{}] }, false],
    ['three levels', { a: { b: { c: 1 } } }, false],
    ['a function', () => 1, true],
    ['undefined', undefined, false],
    ['a bigint beyond 64 bits', 2n ** 70n, false],
    [
      'a getter that throws',
      {
        get a() {
          throw new Error('no');
        },
      },
      false,
    ],
    [
      'toJSON() that throws',
      {
        toJSON() {
          throw new Error('no');
        },
      },
      false,
    ],
  ])('may have details that are %s', (_name, details, kept) => {
    const { header } = toErrorFrame(fault({ details }), 'N');
    expect('details' in errorOf(header)).toBe(kept);
    expect(received(fault({ details }))).toMatchObject({ body: 'm' });
  });

  it('has no details that hold themselves', () => {
    const details: Record<string, unknown> = {};
    details['self'] = details;
    expect(errorOf(toErrorFrame(fault({ details }), 'N').header)).not.toHaveProperty('details');
  });

  // the peer closes the connection over a header that it does not allow, and every call on it is lost
  it.each<[string, unknown]>([
    ['large bytes', { a: Buffer.alloc(100_000) }],
    ['a Map of three levels', new Map([['a', { b: { c: 1 } }]])],
    ['a Set of three levels', new Set([[[1]]])],
    ['toJSON() of three levels', { toJSON: () => ({ a: { b: { c: 1 } } }) }],
    ['a long key', { ['k'.repeat(129)]: 1 }],
    ['the key constructor', { constructor: 'must be a string' }],
    ['the key prototype', { a: { prototype: 1 } }],
    ['the key __proto__', JSON.parse('{"__proto__": 1}')],
  ])('is never refused by the peer: details of %s', (_name, details) => {
    expect(received(fault({ details }))).toMatchObject({ header: { status_code: 500 }, body: 'm' });
  });

  it('is never refused by the peer, whatever the fault is made of', () => {
    const anyText = fc.oneof(text, fc.constantFrom('a'.repeat(9000), '€'.repeat(5000), ''));
    const parts = fc.record({ message: anyText, code: anyText, remoteName: anyText, details: values() });
    fc.assert(
      fc.property(parts, anyText, fc.constantFrom(301, 404, 1008), (init, name, status) => {
        expect(received(fault({ ...init, status }), name)).toMatchObject({ header: { status_code: status } });
      }),
    );
  });
});

describe('an error from the wire', () => {
  it('is what was sent', () => {
    const sent = fault({ status: 1002, code: 'OWN', message: 'bad', details: { field: 'a' } });
    const { header, body } = toErrorFrame(sent, 'ParseError');
    expect(fromErrorFrame(header, body)).toMatchObject({
      status: 1002,
      code: 'OWN',
      message: 'bad',
      details: { field: 'a' },
    });
  });

  it('is what Python sends', () => {
    expect(fromErrorFrame({ status_code: 301 }, ['ValueError', 'boom 3'])).toMatchObject({
      status: 301,
      code: 'ERR_RAP_INVOKE',
      remoteName: 'ValueError',
      message: 'boom 3',
      details: undefined,
    });
    expect(fromErrorFrame({ status_code: 404 }, 'Not found func. name: nope')).toMatchObject({
      status: 404,
      code: 'ERR_RAP_FUNC_NOT_FOUND',
      remoteName: undefined,
      message: 'Not found func. name: nope',
    });
  });

  it.each([undefined, 200, 0, 302, '500', null])('is none with status %p', (status) => {
    expect(fromErrorFrame({ status_code: status } as Header, 'text')).toBeUndefined();
  });

  it.each<[string, Header, unknown, Partial<Fault>]>([
    [
      'a status that is not known',
      { status_code: 4711 },
      'm',
      { status: 4711, code: 'ERR_RAP_UNKNOWN', message: 'm' },
    ],
    ['no body', { status_code: 500 }, null, { message: 'status 500' }],
    ['a body that is no text', { status_code: 500 }, { message: 'x' }, { message: 'status 500' }],
    ['an empty text', { status_code: 500 }, '', { message: '' }],
    ['an empty pair', { status_code: 301 }, [], { message: 'status 301', remoteName: undefined }],
    ['a pair of numbers', { status_code: 301 }, [1, 2], { message: 'status 301', remoteName: undefined }],
    ['a text in place of a pair', { status_code: 301 }, 'm', { message: 'm', remoteName: undefined }],
    [
      'a pair in place of a text',
      { status_code: 500 },
      ['a', 'b'],
      { message: 'status 500', remoteName: undefined },
    ],
    [
      'an error that is nil',
      { status_code: 500, error: null },
      'm',
      { code: 'ERR_RAP_SERVER', details: undefined },
    ],
    ['an error that is text', { status_code: 500, error: 'code' }, 'm', { code: 'ERR_RAP_SERVER' }],
    ['an error that is a list', { status_code: 500, error: ['code'] }, 'm', { code: 'ERR_RAP_SERVER' }],
    [
      'an error that is bytes',
      { status_code: 500, error: Buffer.from('code') },
      'm',
      { code: 'ERR_RAP_SERVER' },
    ],
    [
      'a code that is not text',
      { status_code: 500, error: { code: { a: 1 } } },
      'm',
      { code: 'ERR_RAP_SERVER' },
    ],
  ])('may hold %s', (_name, header, body, expected) => {
    expect(fromErrorFrame(header, body)).toMatchObject(expected);
  });

  it('has texts of bounded length', () => {
    const long = '😀'.repeat(10_000);
    const got = fromErrorFrame({ status_code: 301, error: { code: long } }, [long, long]);
    expect(got).toMatchObject({
      code: '😀'.repeat(32),
      remoteName: '😀'.repeat(32),
      message: '😀'.repeat(256),
    });
  });

  it('never throws, whatever the peer sends', () => {
    const any = values();
    const header = fc.record({
      status_code: fc.oneof(fc.constantFrom(301, 400, 500, 10_081, Infinity), any),
      error: fc.oneof(any, fc.record({ name: any, code: any, details: any }, { requiredKeys: [] })),
    });
    fc.assert(
      fc.property(header, fc.oneof(any, fc.tuple(any, any)), (h, body) => {
        const got = fromErrorFrame(h as Header, body);
        if (!got) return;
        expect(bytesOf(got.message)).toBeLessThanOrEqual(1024);
        expect(bytesOf(got.code)).toBeLessThanOrEqual(128);
        expect(bytesOf(got.remoteName ?? '')).toBeLessThanOrEqual(128);
        expect(got.cause).toBeUndefined();
        expect([got.sent, got.phase]).toEqual([undefined, undefined]);
      }),
      { numRuns: 500 },
    );
  });
});

describe('what it says about repeating', () => {
  it.each<[Partial<FaultInit>, object]>([
    [{ refused: true }, { sent: 'no', retry: undefined, refused: false }],
    [{ retry: false }, { sent: undefined, retry: false, refused: false }],
    [
      { refused: true, retry: false },
      { sent: 'no', retry: false },
    ],
    [{}, { sent: undefined, retry: undefined, refused: false }],
    // a call of the handler that was not sent says nothing about the call that the handler answers
    [{ sent: 'no' }, { sent: undefined }],
  ])('%p', (init, expected) => {
    const { header, body } = received(fault({ status: 429, ...init })) as { header: Header; body: unknown };
    expect(fromErrorFrame(header, body)).toMatchObject(expected);
  });

  it('costs an error that says nothing no byte', () => {
    expect(errorOf(toErrorFrame(fault()).header)).toEqual({ name: 'ServerError', code: 'ERR_RAP_SERVER' });
  });

  it.each([[1], ['true'], [null], [{}], [[]], [0], ['false']])('ignores %p', (value) => {
    const header = { status_code: 429, error: { refused: value, retry: value } };
    expect(fromErrorFrame(header, 'm')).toMatchObject({ sent: undefined, retry: undefined });
  });

  it('keeps everything else of a fault that is refused', () => {
    const given = fault({
      code: 'C',
      details: { a: 1 },
      errorName: 'N',
      httpStatus: 429,
      cause: 'why',
      retry: false,
    });
    const refused = asRefused(given);
    expect(refused).toMatchObject({
      status: 500,
      code: 'C',
      details: { a: 1 },
      errorName: 'N',
      httpStatus: 429,
    });
    expect(refused).toMatchObject({ message: 'm', cause: 'why', retry: false, refused: true });
    expect(asRefused(refused)).toBe(refused);
  });
});
