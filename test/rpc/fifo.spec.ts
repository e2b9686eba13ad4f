import * as fc from 'fast-check';
import { Fifo } from '../../lib/rpc/fifo.js';

interface Item {
  readonly place: number;
}

it('gives items in the order in which they came, and shows what waits', () => {
  const fifo = new Fifo<Item>();
  expect([fifo.length, fifo.toArray()[0], fifo.shift()]).toEqual([0, undefined, undefined]);
  for (const place of [1, 2, 3]) fifo.push({ place });
  expect(fifo.toArray()[0]).toEqual({ place: 1 });
  expect(fifo.shift()).toEqual({ place: 1 });
  expect(fifo.toArray()).toEqual([{ place: 2 }, { place: 3 }]);
  fifo.clear();
  expect([fifo.length, fifo.toArray()[0], fifo.toArray()]).toEqual([0, undefined, []]);
});

it('is an array that shifts, whatever comes and goes', () => {
  // long runs, so that the array is cut in all ways
  const count = fc.integer({ min: 1, max: 3000 });
  const step = fc.oneof(fc.record({ push: count }), fc.record({ shift: count }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const fifo = new Fifo<Item>();
      const model: Item[] = [];
      let next = 0;
      for (const it of steps) {
        if ('push' in it) {
          for (let i = 0; i < it.push; i++) {
            const item = { place: next++ };
            fifo.push(item);
            model.push(item);
          }
        } else {
          const expected = model.splice(0, it.shift);
          for (let i = 0; i < it.shift; i++) if (fifo.shift() !== expected[i]) return false;
        }
        const all = fifo.toArray();
        if (fifo.length !== model.length || all[0] !== model[0]) return false;
        if (all.length !== model.length || all.some((item, i) => item !== model[i])) return false;
      }
      return true;
    }),
    { numRuns: 200 },
  );
});
