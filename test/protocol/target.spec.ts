import * as fc from 'fast-check';
import { formatTarget, MAX_TARGET_BYTES, parseTarget } from '../../lib/protocol/target.js';
import { faultOf } from './frames.js';

describe('formatTarget', () => {
  it.each([
    ['default', 'sum', '/default/sum'],
    ['math', 'a/b/c', '/math/a/b/c'],
    ['math', '/', '/math//'],
    ['größe', 'größer', '/größe/größer'],
    ['_event', 'Server Error', '/_event/Server Error'],
  ])('of %p and %p is %p', (group, name, target) => {
    expect(formatTarget(group, name)).toBe(target);
    expect(parseTarget(target)).toEqual({ group, name });
  });

  it.each([
    ['', 'sum', 'the group must be text without "/"'],
    ['a/b', 'sum', 'the group must be text without "/"'],
    ['/', 'sum', 'the group must be text without "/"'],
    ['default', '', 'the name is empty'],
  ])('of %p and %p is refused', (group, name, why) => {
    expect(faultOf(() => formatTarget(group, name))).toMatchObject({
      status: 1004,
      code: 'ERR_RAP_REGISTERED',
      message: `Invalid target "/${group}/${name}": ${why}`,
    });
  });

  it('has 256 bytes at most, in UTF-8', () => {
    expect(MAX_TARGET_BYTES).toBe(256);
    expect(formatTarget('g', 'x'.repeat(253))).toHaveLength(256);
    expect(faultOf(() => formatTarget('g', 'x'.repeat(254))).message).toContain('longer than 256 bytes');
    expect(formatTarget('gg', 'é'.repeat(126))).toHaveLength(130);
    expect(faultOf(() => formatTarget('g', 'é'.repeat(127))).message).toContain('longer than 256 bytes');
    expect(faultOf(() => formatTarget('g'.repeat(256), 'x')).message).toContain('longer than 256 bytes');
  });

  it('is not shown in full if it is long', () => {
    const { message } = faultOf(() => formatTarget('g', 'x'.repeat(100_000)));
    expect(message).toBe(`Invalid target "/g/${'x'.repeat(77)}...": longer than 256 bytes`);
    // 80 characters are shown
    const shown = `/${'g'.repeat(78)}/`;
    expect(faultOf(() => formatTarget('g'.repeat(78), '')).message).toContain(`"${shown}"`);
    expect(faultOf(() => formatTarget('g'.repeat(79), '')).message).toContain(`"/${'g'.repeat(79)}..."`);
  });
});

describe('parseTarget', () => {
  it.each([
    ['/default/sum', { group: 'default', name: 'sum' }],
    ['/a/b', { group: 'a', name: 'b' }],
    ['/a/b/c', { group: 'a', name: 'b/c' }],
    ['/a//', { group: 'a', name: '/' }],
    ['/a//b', { group: 'a', name: '/b' }],
    ['/a/b/', { group: 'a', name: 'b/' }],
    ['/__proto__/constructor', { group: '__proto__', name: 'constructor' }],
  ])('splits %p', (target, parts) => expect(parseTarget(target)).toEqual(parts));

  it.each([
    '',
    '/',
    '//',
    '///',
    '/a',
    '/a/',
    '//b',
    '///b',
    'a',
    'a/b',
    'default/sum',
    ' /a/b',
    '\uFEFF/a/b',
  ])('finds no target in %p', (target) => expect(parseTarget(target)).toBeUndefined());

  it('takes apart what formatTarget put together', () => {
    const group = fc
      .string({ unit: 'binary', minLength: 1, maxLength: 20 })
      .filter((text) => !text.includes('/'));
    const name = fc.string({ unit: 'binary', minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(group, name, (g, n) =>
        expect(parseTarget(formatTarget(g, n))).toEqual({ group: g, name: n }),
      ),
    );
  });

  it('takes any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('/', 'a', '\uD800', 'é'), maxLength: 12 }), (target) => {
        const parts = parseTarget(target);
        if (!parts) return;
        expect(`/${parts.group}/${parts.name}`).toBe(target);
        expect(parts.group).toMatch(/^[^/]+$/);
        expect(parts.name).not.toBe('');
      }),
    );
  });
});
