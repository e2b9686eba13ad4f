import { StoreGuard } from '../../lib/plugins/store-guard.js';
import { Gate } from '../helpers/async.js';
import { FakeClock } from '../helpers/fake-clock.js';

const meanwhile = (): string => 'all come in';

function guarded(): { clock: FakeClock; lines: string[]; guard: StoreGuard } {
  const clock = new FakeClock();
  const lines: string[] = [];
  return {
    clock,
    lines,
    guard: new StoreGuard({ timeoutMs: 500, clock, meanwhile, log: (line) => lines.push(line) }),
  };
}

const DOWN = 'the store fails (no connection): all come in';

it('hands on what the store says, and keeps no timer', async () => {
  const { clock, guard, lines } = guarded();
  expect(await guard.ask(async () => 7)).toBe(7);
  expect([clock.pending, lines]).toEqual([0, []]);
});

it('answers at once if the store does', () => {
  expect(guarded().guard.ask(() => false)).toBe(false);
});

it('says nothing after the time, and hands what comes later to whom it may concern', async () => {
  const { clock, guard, lines } = guarded();
  const gate = new Gate<number>();
  const late: number[] = [];
  const answer = guard.ask(
    () => gate.opened,
    (value) => late.push(value),
  );
  clock.advance(500);
  expect(await answer).toBeUndefined();
  gate.open(3);
  await gate.opened;
  expect(late).toEqual([3]);
  expect(lines).toEqual(['the store fails (no answer within 500 ms): all come in']);
});

it.each([
  ['rejects', () => Promise.reject(new Error('no connection'))],
  [
    'throws',
    () => {
      throw new Error('no connection');
    },
  ],
])('says nothing if the store %s', async (_what, command: () => Promise<number>) => {
  const { clock, guard, lines } = guarded();
  expect(await guard.ask(command)).toBeUndefined();
  expect([clock.pending, lines]).toEqual([0, [DOWN]]);
});

it('leaves a store that is down alone for a second, then asks once, with one line an outage', async () => {
  const { clock, guard, lines } = guarded();
  let asked = 0;
  const ask = (): unknown =>
    guard.ask(() => {
      asked += 1;
      return Promise.reject(new Error('no connection'));
    });
  await Promise.all([ask(), ask(), ask()]); // all before it was known
  expect(asked).toBe(3);
  clock.advance(999);
  expect(ask()).toBeUndefined();
  expect(asked).toBe(3);
  clock.advance(1);
  const probe = ask();
  expect([ask(), ask()]).toEqual([undefined, undefined]); // at once, while one finds out
  await probe;
  expect(asked).toBe(4);
  expect(lines).toEqual([DOWN]);

  clock.advance(1000);
  expect(await guard.ask(async () => 1)).toBe(1);
  expect(await guard.ask(async () => 2)).toBe(2);
  expect(lines).toEqual([DOWN, 'the store is back']);
  await ask();
  expect(lines).toEqual([DOWN, 'the store is back', DOWN]);
});
