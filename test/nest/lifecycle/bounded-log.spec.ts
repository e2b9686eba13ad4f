import { BoundedLog } from '../../../lib/nest/lifecycle/bounded-log.js';
import { FakeClock } from '../../helpers/fake-clock.js';

let clock: FakeClock;
let log: BoundedLog;
let lines: unknown[];
beforeEach(() => {
  clock = new FakeClock();
  log = new BoundedLog(clock, 3, 1);
  lines = [];
});

const fail = (): never => {
  throw new Error('no');
};
const write = (what: unknown): boolean =>
  log.write(
    (line) => lines.push(line),
    () => what,
  );

it('allows a burst at once and then a line a second, and says how many are missing', () => {
  expect([1, 2, 3, 4, 5].map(write)).toEqual([true, true, true, false, false]);
  clock.advance(999);
  expect(write(6)).toBe(false);
  clock.advance(1);
  expect(write(7)).toBe(true);
  clock.advance(1000);
  expect(write(8)).toBe(true);
  expect(lines).toEqual([1, 2, 3, '3 more lines were not logged: there were too many', 7, 8]);
});

it('says it of a single line as well', () => {
  [1, 2, 3, 4].forEach(write);
  clock.advance(1000);
  write(5);
  expect(lines).toContain('1 more line was not logged: there were too many');
});

it('does not make a line for which there is no room', () => {
  [1, 2, 3].forEach(write);
  let made = 0;
  expect(
    log.write(
      () => {},
      () => (made += 1),
    ),
  ).toBe(false);
  expect(made).toBe(0);
});

it('throws nothing, whatever the line and the logger do, and hands on what was thrown as it is', () => {
  expect(log.write(fail, () => 'a line')).toBe(true);
  expect(log.write(() => {}, fail)).toBe(true);
  write(fail);
  expect(lines).toEqual([fail]);
});
