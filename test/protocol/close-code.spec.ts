import { readdirSync, readFileSync } from 'node:fs';
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

it('has a number from 100 on for everything that a frame may be refused for', () => {
  const folder = new URL('../../lib/protocol/', import.meta.url);
  const source = readdirSync(folder, { encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(new URL(name, folder), 'utf8'))
    .join('\n');
  const refusals = /(?:refuse|protocolFault)\('([^']+)'\)|Status\.Protocol, message: '([^']+)'/g;
  const reasons = [...source.matchAll(refusals)].map(([, refused, thrown]) => refused ?? thrown ?? '');
  expect(reasons.length).toBeGreaterThan(15);
  expect(reasons.filter((reason) => closeCodeOf(reason) < 100)).toEqual([]);
});
