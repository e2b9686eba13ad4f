import 'reflect-metadata';
import { jest } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import * as fc from 'fast-check';
import { HandlerRegistry } from '../../../lib/nest/server/handler-registry.js';
import { nearestName } from '../../../lib/protocol/values/nearest-name.js';
import { rejection, testScope } from '../../helpers/async.js';

const scope = testScope();

const named = (...names: string[]): { name: string }[] => names.map((name) => ({ name }));

/** Levenshtein distance, by the book. */
function distance(a: string, b: string): number {
  if (a === '' || b === '') return a.length + b.length;
  const table = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (_unused, j) => i + j),
  );
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const row = table[i] as number[];
      const above = table[i - 1] as number[];
      row[j] = Math.min(
        (above[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1),
        (above[j] as number) + 1,
        (row[j - 1] as number) + 1,
      );
    }
  }
  return (table[a.length] as number[])[b.length] as number;
}

it.each([
  ['sinc_sum', ['async_sum', 'sync_sum', 'count'], 'sync_sum'],
  ['sum', ['sun', 'sum'], 'sum'],
  ['sun', ['sum', 'son'], 'sum'],
  ['ecko', ['echo'], 'echo'],
  ['a', ['abc'], 'abc'],
  ['', ['ab'], 'ab'],
  ['users.find', ['orders.place', 'user.find'], 'user.find'],
])('%s among %j is %s', (asked, names, expected) => {
  expect(nearestName(asked, named(...names))?.name).toBe(expected);
});

it.each([
  ['sum', []],
  ['sum', ['multiply']],
  ['a', ['abcd']],
  ['completely', ['different.thing']],
  ['another.name.that.is.as.long', ['the.name.that.was.asked.for.']],
])('nothing looks like %s among %j', (asked, names) => {
  expect(nearestName(asked, named(...names))).toBeUndefined();
});

it('compares long names by their beginnings', () => {
  const long = 'n'.repeat(64);
  expect(nearestName(`${long}abc`, named('sum', `${long}xyz`))?.name).toBe(`${long}xyz`);
});

it('finds the first of those with the least distance, whatever the names', () => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 12 });
  fc.assert(
    fc.property(name, fc.array(name, { maxLength: 8 }), (asked, names) => {
      const limit = Math.min(8, Math.max(2, Math.floor(asked.length / 2)));
      const distances = names.map((each) => distance(asked, each));
      const least = Math.min(...distances);
      const expected = least <= limit ? names[distances.indexOf(least)] : undefined;
      expect(nearestName(asked, named(...names))?.name).toBe(expected);
    }),
    { numRuns: 2000 },
  );
});

it('is looked for once a target, and no more often than the log has room, however many ask for what does not exist', async () => {
  @Controller()
  class EchoController {
    @MessagePattern('echo') echo(): void {}
  }
  const nearest = jest.spyOn(HandlerRegistry.prototype, 'nearest');
  scope.defer(() => nearest.mockRestore());
  const { client, log } = await scope.serve([EchoController]);
  const rap = client();

  const asked = ['ech0', 'ech1', 'ech2', 'ech3', 'eco'];
  for (const name of [...asked, ...asked]) await rejection(rap.call(name));
  for (const name of asked) await rejection(client().call(name));

  expect(nearest.mock.calls).toEqual(asked.map((name) => [`/default/${name}`]));
  expect(log.lines.length).toBe(5);
  for (const line of log.lines) expect(line).toContain('did they mean /default/echo?');

  await Promise.all(Array.from({ length: 1000 }, (_, i) => rejection(rap.call(`ech-${i}`))));
  expect(log.lines.length).toBeLessThan(60);
  expect(nearest.mock.calls.length).toBeLessThan(60);
});
