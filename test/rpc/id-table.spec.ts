import * as fc from 'fast-check';
import { IdTable } from '../../lib/rpc/id-table.js';

it('holds what a Map holds, whatever the ids', () => {
  const id = fc.oneof(
    fc.nat(40),
    fc.nat(200).map((n) => n * 2048 + 1), // all want one place
    fc.integer({ min: 2 ** 32 - 40, max: 2 ** 32 - 1 }),
  );
  const step = fc.tuple(fc.constantFrom('set', 'set', 'delete'), id);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const table = new IdTable<object>();
      const model = new Map<number, object>();
      for (const [what, key] of steps) {
        const value = {};
        if (what === 'set') {
          table.set(key, value);
          model.set(key, value);
        } else if (table.delete(key) !== model.delete(key)) return false;
        if (table.has(key) !== model.has(key) || table.get(key) !== model.get(key)) return false;
        if (table.size !== model.size) return false;
      }
      const sorted = [...model].toSorted(([a], [b]) => a - b);
      expect(table.values()).toEqual(sorted.map(([, value]) => value));
      return sorted.every(([key, value]) => table.get(key) === value);
    }),
    { numRuns: 500 },
  );
});

it('knows no id that is none', () => {
  const table = new IdTable<number>();
  table.set(3, 1);
  for (const none of [-1, 0, 1, 2, 1.5, 3.5, Number.NaN, Infinity, 2 ** 32 + 3]) {
    expect([none, table.has(none), table.get(none), table.delete(none)]).toEqual([
      none,
      false,
      undefined,
      false,
    ]);
  }
  expect(table.size).toBe(1);
});
