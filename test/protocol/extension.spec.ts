import { agreedExtensions, Extension, offeredExtensions, sendWindow } from '../../lib/protocol/extension.js';

const own = offeredExtensions(1000);

describe('offeredExtensions', () => {
  it('are all, each a map', () => {
    expect(Object.keys(own).toSorted()).toEqual(Object.values(Extension).toSorted());
    for (const parameters of Object.values(own)) expect(typeof parameters).toBe('object');
  });

  it('tell how much a peer may send ahead', () => expect(own['credit']).toEqual({ window: 1000 }));

  it.each([
    [1000.5, 1000],
    [0.5, 1],
    [Infinity, 2 ** 31],
  ])('tell a window of %d bytes as the integer %d', (bytes, window) => {
    expect(offeredExtensions(bytes)['credit']).toEqual({ window });
  });
});

describe('agreedExtensions', () => {
  it('are those that both sides named, with the peer’s parameters', () => {
    const offered = { credit: { window: 5, more: 1 }, cancel: {}, not_known: {} };
    expect(Object.fromEntries(agreedExtensions(own, offered))).toEqual({
      cancel: {},
      credit: { window: 5, more: 1 },
    });
    expect([...agreedExtensions({ cancel: {} }, offered)]).toEqual([['cancel', {}]]);
    expect([...agreedExtensions({}, offered)]).toEqual([]);
  });

  it('are all, to a peer that offers the same', () => {
    expect(Object.fromEntries(agreedExtensions(own, offeredExtensions(7)))).toEqual(offeredExtensions(7));
  });

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['nil', null],
    ['text', 'cancel'],
    ['a number', 1],
    ['a boolean', true],
    ['a list', ['cancel']],
    ['an empty map', {}],
    ['bytes', Buffer.from('cancel')],
    ['a map of text', { cancel: 'yes' }],
    ['a map of nil', { cancel: null }],
    ['a map of booleans', { cancel: true }],
    ['a map of lists', { cancel: [] }],
    ['a map of bytes', { cancel: Buffer.of(1) }],
    ['other names', { CANCEL: {}, cancels: {}, toString: {}, constructor: {} }],
    ['an inherited name', Object.create({ cancel: {} })],
    ['a name in __proto__', JSON.parse('{"__proto__": {"cancel": {}}}')],
    ['credits without a window', { credit: {} }],
    ['credits with a window of nothing', { credit: { window: 0 } }],
    ['credits with a window of text', { credit: { window: '5' } }],
    ['credits with a window of NaN', { credit: { window: NaN } }],
    ['credits with a window of a fraction', { credit: { window: 1.5 } }],
    ['credits with an endless window', { credit: { window: Infinity } }],
    ['credits as a list', { credit: Object.assign([], { window: 5 }) }],
  ])('are none if the peer offers %s', (_name, offered) => {
    expect([...agreedExtensions(own, offered)]).toEqual([]);
  });
});

const windowOf = (parameters: unknown): number | undefined =>
  sendWindow(agreedExtensions(own, { credit: parameters }));

describe('sendWindow', () => {
  it('is what the peer lets this side send ahead', () => {
    expect(windowOf({ window: 1 })).toBe(1);
    expect(windowOf({ window: 262_144 })).toBe(262_144);
  });

  it('is bounded', () => {
    for (const window of [2 ** 31, 2 ** 31 + 1, 2 ** 53]) expect(windowOf({ window })).toBe(2 ** 31);
  });

  it.each<[string, unknown]>([
    ['no credits', undefined],
    ['credits without a window', {}],
    ['zero', { window: 0 }],
    ['less than nothing', { window: -1 }],
    ['NaN', { window: NaN }],
    ['text', { window: '1000' }],
    ['a bigint', { window: 2n ** 60n }],
    ['nil', { window: null }],
    ['a map', { window: {} }],
  ])('is none if the peer offers %s', (_name, parameters) => {
    expect(windowOf(parameters)).toBeUndefined();
  });
});
