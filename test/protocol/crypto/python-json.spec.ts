import { fromPythonJson, toPythonJson } from '../../../lib/protocol/crypto/python-json.js';

it.each<[unknown, string]>([
  [{ body: { a: 1, b: 'x' }, list: [1, 2] }, '{"body": {"a": 1, "b": "x"}, "list": [1, 2]}'],
  ['héllo ✓ 😀', '"h\\u00e9llo \\u2713 \\ud83d\\ude00"'],
  ['"\\\n\u0000\u007f', '"\\"\\\\\\n\\u0000\\u007f"'],
  [null, 'null'],
  [undefined, 'null'],
  [{ a: undefined, f: () => 1, b: 1 }, '{"b": 1}'],
  [[undefined], '[null]'],
  [true, 'true'],
  [1.5, '1.5'],
  [-0, '-0.0'],
  [2n ** 70n, '1180591620717411303424'],
  [NaN, 'NaN'],
  [-Infinity, '-Infinity'],
  [new Map([['k', new Set([1])]]), '{"k": [1]}'],
  [new Date(0), '"1970-01-01T00:00:00.000Z"'],
  [[], '[]'],
  [{}, '{}'],
])('writes %p as Python does', (value, text) => expect(toPythonJson(value)).toBe(text));

it.each<[string, unknown]>([
  ['{"a": [1, -2.5e3, null, true, false]}', { a: [1, -2500, null, true, false] }],
  [' [ ] ', []],
  ['9007199254740993', 9007199254740993n],
  ['-9007199254740993', -9007199254740993n],
  ['NaN', NaN],
  ['[Infinity, -Infinity]', [Infinity, -Infinity]],
  ['"\\ud83d\\ude00 \\" \\\\ \\/"', '😀 " \\ /'],
  ['{"a": 1, "a": 2}', { a: 2 }],
])('reads %s', (text, value) => expect(fromPythonJson(text)).toEqual(value));

it.each([
  '',
  ' ',
  '{',
  '[',
  '"',
  '"\\"',
  '{"a"}',
  '{"a": }',
  '{a: 1}',
  "{'a': 1}",
  '[1,]',
  '[,1]',
  '{"a": 1,}',
  '01',
  '+1',
  '.5',
  '1.',
  '1e',
  '-',
  'nul',
  'undefined',
  '1 2',
  '"\n"',
  '"\\x"',
  '"\\u12"',
  'True',
  '[1}',
  '9'.repeat(41),
  '['.repeat(99) + ']'.repeat(99),
  '['.repeat(100_000),
])('refuses %p', (text) => expect(() => fromPythonJson(text)).toThrow(SyntaxError));

it('reads a long string, in time', () => {
  const text = 'x\\"'.repeat(1_000_000);
  expect(fromPythonJson(`"${text}"`)).toHaveLength(2_000_000);
});

it('gives __proto__ as a property', () => {
  const object = fromPythonJson('{"__proto__": {"polluted": 1}}') as object;
  expect(Object.keys(object)).toEqual(['__proto__']);
  expect(Object.getPrototypeOf(object)).toBe(Object.prototype);
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});

it.each([
  [Buffer.alloc(1)],
  [new Uint16Array(1)],
  [new ArrayBuffer(1)],
  [{ a: [new DataView(new ArrayBuffer(1))] }],
])('has no form for bytes', (value) => expect(() => toPythonJson(value)).toThrow('JSON has no bytes'));

it('does not follow a circle', () => {
  const circle: Record<string, unknown> = {};
  circle['self'] = circle;
  expect(() => toPythonJson(circle)).toThrow('circular');
});

it.each([
  ['a list', (n: number) => Array.from({ length: n - 1 }, () => ({}))],
  ['a map', (n: number) => Object.fromEntries(Array.from({ length: (n - 1) / 2 }, (_, i) => [i, null]))],
])('holds %s to as many values as a frame, in both directions', (_what, make) => {
  const most = 262_143; // odd: a map holds keys and values
  const text = toPythonJson(make(most));
  expect(Object.keys(fromPythonJson(text) as object).length).toBeGreaterThan(131_000);
  expect(() => toPythonJson(make(most + 2))).toThrow('too many values');
  const more = text.startsWith('[') ? `[{}, {}, ${text.slice(1)}` : `{"x": null, ${text.slice(1)}`;
  expect(() => fromPythonJson(more)).toThrow('too many values');
});
