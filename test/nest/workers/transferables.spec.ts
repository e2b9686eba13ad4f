import { hideIndices, prepareForThread, showIndices } from '../../../lib/nest/workers/transferables.mjs';
import { heapUsed } from '../../helpers/memory.js';

const LARGE = 64 * 1024;

/** What becomes of a value, and how many bytes of it are handed over. */
function prepared(value: unknown): { value: unknown; moved: number[] } {
  const moved = new Set<ArrayBuffer>();
  const result = prepareForThread(value, moved);
  // as the thread gets it
  expect(() => structuredClone(result)).not.toThrow();
  return { value: result, moved: Array.from(moved, ({ byteLength }) => byteLength) };
}

describe('on its way to another thread', () => {
  it.each<[string, unknown]>([
    ['a number', 7],
    ['a text', 'x'.repeat(LARGE)],
    ['null', null],
    ['undefined', undefined],
    ['a map', { a: [{ b: 1 }] }],
    ['small bytes', new Uint8Array(LARGE - 1)],
    ['a Date', new Date(0)],
    ['a Map', new Map([['a', 1]])],
    ['shared memory', new Uint8Array(new SharedArrayBuffer(LARGE))],
  ])('%s stays as it is', (_name, value) => {
    expect(prepared(value)).toEqual({ value, moved: [] });
    expect(prepared(value).value).toBe(value);
  });

  it.each<[string, unknown]>([
    ['an ArrayBuffer', new ArrayBuffer(LARGE)],
    ['bytes', new Uint8Array(LARGE)],
    ['numbers', new Float64Array(LARGE / 8)],
    ['a DataView', new DataView(new ArrayBuffer(LARGE))],
    ['a Buffer of its own memory', Buffer.allocUnsafeSlow(LARGE)],
    ['bytes in a map in a list', [{ bytes: new Uint8Array(LARGE) }]],
  ])('%s is handed over', (_name, value) => {
    expect(prepared(value).moved).toEqual([LARGE]);
    expect(prepared(value).value).toBe(value);
  });

  it('memory that two views have is handed over once', () => {
    const memory = new ArrayBuffer(LARGE);
    expect(prepared([new Uint8Array(memory), new Uint16Array(memory), memory]).moved).toEqual([LARGE]);
  });

  it.each([
    [10, []],
    [LARGE, [LARGE]],
  ])('a part of some memory goes alone: %d bytes', (size, moved) => {
    const memory = new Uint8Array(size + 100).map((_, i) => i);
    const views = [memory.subarray(50, 50 + size), Buffer.from(memory.buffer, 50, size)];
    for (const view of views) {
      const { value, moved: handedOver } = prepared({ view, other: 1 });
      const copy = (value as { view: Uint8Array }).view;
      expect(handedOver).toEqual(moved);
      expect(copy.buffer.byteLength).toBe(size);
      expect(Buffer.from(copy).equals(Buffer.from(view))).toBe(true);
      expect(value).toMatchObject({ other: 1 });
    }
    const numbers = new Float64Array([1, 2, 3, 4]).subarray(1, 3);
    expect(prepared(numbers).value).toEqual(new Float64Array([2, 3]));
    expect((prepared(new DataView(memory.buffer, 50, 4)).value as DataView).getUint8(0)).toBe(50);
  });

  it('what is deep, and what is in a long list, is copied', () => {
    const bytes = new Uint8Array(LARGE);
    expect(prepared({ a: { b: { c: { bytes } } } }).moved).toEqual([LARGE]);
    expect(prepared({ a: { b: { c: { d: { bytes } } } } }).moved).toEqual([]);
    expect(prepared(Array.from({ length: 1025 }, () => bytes)).moved).toEqual([]);
  });

  it('circular values are no trap', () => {
    const value: Record<string, unknown> = { bytes: new Uint8Array(LARGE) };
    value['self'] = value;
    expect(prepared(value).moved).toEqual([LARGE]);
  });
});

/** An object as a body holds it. */
function sparse(): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  object[4_294_967_294] = null;
  delete object[4_294_967_294];
  object['1023'] = null;
  object['2574'] = null;
  return object;
}

/** What the thread gets. */
function sent(given: unknown): unknown {
  const { value, token } = hideIndices(given);
  const clone: unknown = structuredClone(value);
  return token === undefined ? clone : showIndices(clone, token);
}

describe('objects with keys that look like array indices', () => {
  it('take little more memory in the other thread than in this one', async () => {
    const list = Array.from({ length: 5000 }, () => ({ deep: [sparse()] }));
    const before = await heapUsed();
    const clone = sent(list);
    expect((await heapUsed()) - before).toBeLessThan(16 * 1024 * 1024);
    expect(clone).toEqual(list);
  });

  it('arrive as they were, wherever they are, beside everything else', () => {
    const value = {
      map: new Map<unknown, unknown>([
        ['a', sparse()],
        [sparse(), 1],
      ]),
      set: new Set<unknown>([sparse(), 1]),
      list: [sparse(), { 0: 'a', b: { 7: Number.NaN } }, [Number.NaN]],
      bytes: new Uint8Array(3),
      at: new Date(5),
      none: undefined,
      ['__proto__x']: 1,
    };
    expect(sent(value)).toEqual(value);
    expect(sent(JSON.parse('{"1":0,"__proto__":{"2":1}}'))).toEqual(
      JSON.parse('{"1":0,"__proto__":{"2":1}}'),
    );
  });

  it('are not made of what is none, and what has none stays as it is', () => {
    const plain = { a: [new Map([['1', 2]]), { b: Number.NaN }], c: new Set(['3']) };
    expect(hideIndices(plain)).toEqual({ value: plain, token: undefined });
    expect(hideIndices(plain).value).toBe(plain);
    const circular: unknown[] = [sparse()];
    circular.push({ circular: circular[0] });
    expect(sent(circular)).toEqual(circular);
    const ring: Record<string, unknown> = {};
    ring['ring'] = ring;
    expect(hideIndices(ring).value).toBe(ring);
  });
});
