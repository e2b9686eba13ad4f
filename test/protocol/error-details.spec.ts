import * as fc from 'fast-check';
import {
  detailsTravel,
  packDetails,
  unpackDetails,
  type WireDetails,
} from '../../lib/protocol/error-details.js';
import { encodeFrame } from '../../lib/protocol/encoder.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { decode, wire } from './frames.js';
import { values } from './values.js';

/** What a peer reads of details that were sent. */
function travelled(details: unknown): unknown {
  const header = { error: packDetails(details) as Record<string, unknown> };
  const { frames, fault } = decode([wire(encodeFrame(101, 3, header, null, DEFAULT_FRAME_LIMITS))]);
  if (!frames[0]) throw new Error(`refused: ${fault?.message}`);
  return unpackDetails(frames[0][2].error as WireDetails);
}

const deep = (value: unknown): unknown => ({ a: { b: { c: value } } });

describe('details of an error', () => {
  it.each<[string, unknown]>([
    ['a text', 'why'],
    ['a flat map', { field: 'a', list: [1, 'x'] }],
    ['three levels', { a: { b: { c: 1 } } }],
    ['an empty map in a list in a map', { a: [{}] }],
    ['six levels', { a: [{ b: [{ c: [1, null, true, 'x'] }] }] }],
    ['a key of the prototype', { constructor: 'must be a string' }],
    ['a long key', { ['k'.repeat(129)]: 1 }],
  ])('arrive as they were: %s', (_name, details) => {
    expect(travelled(details)).toEqual(details);
    expect(detailsTravel(details)).toBe(true);
  });

  it('go as they are where they can, and as JSON where they are too deep', () => {
    expect(packDetails({ a: { b: 1 } })).toEqual({ details: { a: { b: 1 } } });
    expect(packDetails({ a: { b: { c: 1 } } })).toEqual({ details_json: '{"a":{"b":{"c":1}}}' });
  });

  it('that JSON has no form for come as near as it gets', () => {
    expect(travelled(deep(2n ** 60n))).toEqual(deep(String(2n ** 60n)));
    expect(travelled(deep(new Map([['k', 1]])))).toEqual(deep({ k: 1 }));
    expect(travelled(deep(new Set([1, 2])))).toEqual(deep([1, 2]));
    expect(travelled(deep(new Date(0)))).toEqual(deep('1970-01-01T00:00:00.000Z'));
  });

  it.each<[string, unknown[]]>([
    ['flat', Array.from({ length: 1000 }, (_, i) => `reason ${i}`)],
    [
      'of maps',
      Array.from({ length: 1000 }, (_, i) => ({ path: `items[${i}]`, message: 'must be a number' })),
    ],
    ['deep', Array.from({ length: 1000 }, (_, i) => ({ path: { at: { index: i } } }))],
  ])('of a list too long keep its beginning: %s', (_name, list) => {
    const got = travelled(list) as unknown[];
    expect(got.length).toBeGreaterThan(50);
    expect(got).toEqual(list.slice(0, got.length));
    expect(detailsTravel(list)).toBe(false);
  });

  it.each<[string, () => unknown]>([
    ['too large a text', () => 'x'.repeat(10_000)],
    ['too large a map', () => ({ a: { b: { c: 'x'.repeat(5000) } } })],
    ['a list of one too large', () => ['x'.repeat(5000)]],
    [
      'circular ones',
      () => {
        const it: Record<string, unknown> = {};
        it['self'] = it;
        return it;
      },
    ],
    [
      'a getter that throws',
      () => ({
        get a() {
          throw new Error('no');
        },
      }),
    ],
    [
      'toJSON() that throws',
      () => ({
        toJSON() {
          throw new Error('no');
        },
      }),
    ],
    [
      'a list that cannot be read',
      () =>
        new Proxy([1], {
          get() {
            throw new Error('no');
          },
        }),
    ],
    [
      'a revoked proxy',
      () => {
        const { proxy, revoke } = Proxy.revocable([], {});
        revoke();
        return proxy;
      },
    ],
    [
      'endless nesting',
      () => {
        let it: unknown = 1;
        for (let i = 0; i < 50_000; i++) it = [it];
        return it;
      },
    ],
  ])('are left out if nothing of them can travel: %s', (_name, make) => {
    expect(packDetails(make())).toEqual({});
    expect(detailsTravel(make())).toBe(false);
  });

  it('are never more than 4 KiB, and never what a peer refuses', () => {
    fc.assert(
      fc.property(fc.oneof(values(), fc.array(values()), fc.jsonValue({ maxDepth: 8 })), (details) => {
        const { details_json: json = '' } = packDetails(details);
        expect(Buffer.byteLength(json)).toBeLessThanOrEqual(4096);
        expect(() => travelled(details)).not.toThrow();
      }),
    );
  });
});

describe('received details', () => {
  it.each<[string, WireDetails | Record<string, unknown>, unknown]>([
    ['nothing', {}, undefined],
    ['JSON that is none', { details_json: '{"a":' }, undefined],
    ['JSON that is not text', { details_json: { a: 1 } }, undefined],
    ['bytes', { details_json: Buffer.from('{}') }, undefined],
    ['both: the plain ones count', { details: 1, details_json: '2' }, 1],
    ['nil', { details: null, details_json: '2' }, null],
    ['101 levels', { details_json: `${'['.repeat(102)}${']'.repeat(102)}` }, undefined],
    ['a text above 4096 bytes', { details: 'x'.repeat(4094) }, undefined],
    ['a text of 4096 bytes with its length', { details: 'x'.repeat(4093) }, 'x'.repeat(4093)],
    ['a list above 4096 bytes', { details: Array.from({ length: 50 }, () => 'x'.repeat(90)) }, undefined],
    ['bytes above 4096', { details: Buffer.alloc(5000) }, undefined],
    ['JSON above 4096 bytes', { details_json: JSON.stringify('x'.repeat(4095)) }, undefined],
    ['JSON of 4096 bytes', { details_json: JSON.stringify('x'.repeat(4094)) }, 'x'.repeat(4094)],
    [
      'JSON above 4096 bytes that has fewer characters',
      { details_json: JSON.stringify('é'.repeat(2050)) },
      undefined,
    ],
    ['4000 levels', { details_json: `${'['.repeat(4000)}${']'.repeat(4000)}` }, undefined],
  ])('may be %s', (_name, error, expected) => {
    expect(unpackDetails(error)).toBe(expected);
  });

  it('have no way to a prototype', () => {
    const got = unpackDetails({
      details_json: '{"a":{"__proto__":{"admin":true}},"__proto__":{"admin":true}}',
    });
    expect(Object.keys(got as object)).toEqual(['a']);
    expect(Object.assign({}, got)).not.toHaveProperty('admin');
    expect((got as { a: object }).a).not.toHaveProperty('admin');
  });
});
