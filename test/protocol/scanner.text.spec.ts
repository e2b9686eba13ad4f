import { hex } from './frames.js';
import { accepts, ascii, BEFORE_HEADER, HEAD, refuses, uint } from './scan.js';

/** Text of these bytes, in its smallest form. */
function str(digits: string): string {
  const { length } = hex(digits);
  return `${length < 32 ? uint(0xa0 + length, 1) : `d9 ${uint(length, 1)}`} ${digits}`;
}

describe('text', () => {
  const reason = 'a string is not UTF-8';

  it.each([
    ['a continuation byte alone', '80'],
    ['a character cut off', 'e282'],
    ['a character cut off before another', 'e28261'],
    ['an overlong slash', 'c0af'],
    ['an overlong nul', 'c080'],
    ['an overlong form of three bytes', 'e08080'],
    ['an overlong form of four bytes', 'f0808080'],
    ['a surrogate', 'eda080'],
    ['a surrogate pair', 'eda080edb080'],
    ['a character beyond Unicode', 'f4908080'],
    ['a lead byte that is none', 'f5808080'],
    ['ff', 'ff'],
  ])('that holds %s is refused, in one piece and in two', (_name, bad) => {
    const long = '61'.repeat(46);
    for (const digits of [bad, `61${bad}`, `${bad}61`, long + bad, `${long}616161${bad}`, bad + long]) {
      refuses(`${HEAD} ${str(digits)}`, reason);
      refuses(`${HEAD} 81 ${str(digits)} c0`, reason);
      refuses(`${BEFORE_HEADER} 81 a161 ${str(digits)} c0`, reason);
      refuses(`${BEFORE_HEADER} 81 ${str(digits)} c0 c0`, reason);
    }
  });

  it('is refused for what it holds itself, though the bytes after it would complete it', () => {
    refuses(`${HEAD} 92 a1 c3 a1 a9`, reason);
    refuses(`${HEAD} 92 d9 32 ${'61'.repeat(49)} c3 a1 a9`, reason);
  });

  it.each([
    ['two bytes', 'c3a9'],
    ['three bytes', 'e282ac'],
    ['four bytes', 'f09f9880'],
    ['the ends of Unicode’s ranges', '00 7f c280 dfbf e0a080 ed9fbf ee8080 efbfbf f0908080 f48fbfbf'],
  ])('of characters of %s is accepted', (_name, good) => {
    for (const digits of [good, '61'.repeat(46) + good, '61'.repeat(50) + good]) {
      accepts(`${HEAD} 81 ${str(digits)} ${str(digits)}`);
    }
  });

  it('is not what bytes must be', () => accepts(`${HEAD} c4 02 c080`));
});

/** A key in every form. */
const forms = (name: string): string[] => [
  `${uint(0xa0 + name.length, 1)} ${ascii(name)}`,
  `d9 ${uint(name.length, 1)} ${ascii(name)}`,
  `da ${uint(name.length, 2)} ${ascii(name)}`,
  `db ${uint(name.length, 4)} ${ascii(name)}`,
];

describe('keys that would touch a prototype', () => {
  const KEYS = ['__proto__', 'constructor', 'prototype'];
  it.each(KEYS)('%s is refused in a header, at any depth, in any form, wherever it is cut', (name) => {
    const reason = `header key ${name}`;
    for (const key of forms(name)) {
      refuses(`${BEFORE_HEADER} 81 ${key} c0 c0`, reason);
      refuses(`${BEFORE_HEADER} 82 a161 c0 ${key} c0 c0`, reason);
      refuses(`${BEFORE_HEADER} 81 a161 81 ${key} c0 c0`, reason);
      refuses(`${BEFORE_HEADER} 81 a161 91 81 ${key} c0 c0`, reason);
    }
  });

  it.each(KEYS)('%s is accepted as a value of a header and as a key of a body', (name) => {
    for (const text of forms(name)) {
      accepts(`${BEFORE_HEADER} 81 a161 ${text} c0`);
      accepts(`${HEAD} 81 ${text} ${text}`);
    }
  });

  it.each(['__proto_', '__proto__a', '__Proto__', 'constructo', 'constructos', 'prototypf', '_prototype_'])(
    '%s is a key like any other',
    (name) => {
      for (const key of forms(name)) accepts(`${BEFORE_HEADER} 81 ${key} c0 c0`);
    },
  );
});
