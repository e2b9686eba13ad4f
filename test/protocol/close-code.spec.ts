import { CLOSE_CODES, closeCodeOf } from '../../lib/protocol/close-code.js';
import { CloseReason } from '../../lib/protocol/event.js';

it('gives every reason of a connection a number, each its own', () => {
  const numbers = [...CLOSE_CODES.values()];
  expect(new Set(numbers).size).toBe(numbers.length);
  for (const reason of Object.values(CloseReason))
    expect([reason, closeCodeOf(reason) > 0]).toEqual([reason, true]);
});

it.each([
  ['correlation id 4294967295 is in use', 102],
  ['header key __proto__', 113],
  ['header key constructor', 113],
  ['header key too long', 111],
  ['token 0xd4 is not allowed', 116],
  ['an application has its own words', 0],
  ['', 0],
  ['correlation id x is in use', 0],
])('knows %p as %d', (reason, code) => expect(closeCodeOf(reason)).toBe(code));
