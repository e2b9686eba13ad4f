import { setOwn } from '../values/own-property.js';

/** Deepest nesting, in both directions: a frame's default. */
const MAX_DEPTH = 98;

/** Most values, keys included, in both directions: a frame's default. */
const MAX_ITEMS = 262_144;

/** Longer integers are slow to read, and msgpack has none of more than 20 digits. */
const MAX_DIGITS = 40;

/**
 * JSON as Python writes it: `", "` and `": "`, ASCII only, integers of any size, `NaN` and `Infinity`. Python reads this
 * text byte for byte as its own.
 *
 * @throws TypeError or RangeError if a value has no form in JSON, such as bytes.
 */
export function toPythonJson(value: unknown): string {
  return write(value, 0, { items: 0 });
}

/** What was written so far. */
interface Written {
  items: number;
}

function write(value: unknown, depth: number, written: Written): string {
  written.items += 1;
  if (written.items > MAX_ITEMS) throw new RangeError('too many values');
  switch (typeof value) {
    case 'string':
      return text(value);
    case 'number':
      return number(value);
    case 'bigint':
    case 'boolean':
      return String(value);
    case 'object':
      return value === null ? 'null' : container(value, depth + 1, written);
    default:
      return 'null';
  }
}

function text(value: string): string {
  return JSON.stringify(value).replaceAll(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function number(value: number): string {
  if (Number.isFinite(value)) return Object.is(value, -0) ? '-0.0' : String(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
}

function container(value: object, depth: number, written: Written): string {
  if (depth > MAX_DEPTH) throw new RangeError('nested too deep, or circular');
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) throw new TypeError('JSON has no bytes');
  if (Array.isArray(value) || value instanceof Set) {
    return `[${Array.from(value as Iterable<unknown>, (item) => write(item, depth, written)).join(', ')}]`;
  }
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON === 'function') return write(toJSON.call(value, ''), depth, written);
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  written.items += entries.length;
  const members = entries
    .filter(([, child]) => child !== undefined && typeof child !== 'function' && typeof child !== 'symbol')
    .map(([key, child]) => `${text(String(key))}: ${write(child, depth, written)}`);
  return `{${members.join(', ')}}`;
}

/**
 * Reads JSON as Python does: an integer that a number does not hold is a `bigint`, `NaN` and `Infinity` are numbers. A key
 * `__proto__` becomes a property like any other.
 *
 * @throws SyntaxError if it is not JSON, is nested too deep, or has too many values.
 */
export function fromPythonJson(json: string): unknown {
  const reader = new Reader(json);
  const value = reader.value(0);
  reader.end();
  return value;
}

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const WORD = /null|true|false|NaN|-?Infinity/y;
const WORDS: Readonly<Record<string, unknown>> = {
  null: null,
  true: true,
  false: false,
  NaN,
  Infinity,
  '-Infinity': -Infinity,
};

class Reader {
  #pos = 0;
  #items = 0;

  constructor(private readonly json: string) {}

  value(depth: number): unknown {
    this.#count();
    this.#match(SPACE);
    const char = this.json[this.#pos];
    if (char === '{' || char === '[') {
      if (depth >= MAX_DEPTH) throw new SyntaxError('nested too deep');
      this.#pos += 1;
      return char === '{' ? this.#object(depth + 1) : this.#array(depth + 1);
    }
    if (char === '"') return this.#string();
    const word = this.#match(WORD);
    if (word) return WORDS[word[0]];
    return this.#number();
  }

  end(): void {
    this.#match(SPACE);
    if (this.#pos < this.json.length) throw new SyntaxError('something follows the value');
  }

  #object(depth: number): object {
    const object: Record<string, unknown> = {};
    let isSparse = false;
    if (this.#takes('}')) return object;
    for (;;) {
      this.#match(SPACE);
      this.#count();
      const key = this.#string();
      this.#need(':');
      const value = this.value(depth);
      isSparse = setOwn(object, key, value, isSparse);
      if (this.#takes('}')) return object;
      this.#need(',');
    }
  }

  #array(depth: number): unknown[] {
    const items: unknown[] = [];
    if (this.#takes(']')) return items;
    for (;;) {
      items.push(this.value(depth));
      if (this.#takes(']')) return items;
      this.#need(',');
    }
  }

  #string(): string {
    const { json } = this;
    const start = this.#pos;
    let end = json[start] === '"' ? start + 1 : json.length;
    while (end < json.length && json[end] !== '"') end += json[end] === '\\' ? 2 : 1;
    if (end >= json.length) throw new SyntaxError('a string was expected');
    this.#pos = end + 1;
    return JSON.parse(json.slice(start, end + 1)) as string;
  }

  #number(): number | bigint {
    const found = this.#match(NUMBER);
    if (!found) throw new SyntaxError('a value was expected');
    const [digits, fraction, exponent] = found;
    const value = Number(digits);
    if (fraction !== undefined || exponent !== undefined || Number.isSafeInteger(value)) return value;
    if (digits.length > MAX_DIGITS) throw new SyntaxError('an integer of too many digits');
    return BigInt(digits);
  }

  /** A small text may become large in memory. */
  #count(): void {
    this.#items += 1;
    if (this.#items > MAX_ITEMS) throw new SyntaxError('too many values');
  }

  #takes(char: string): boolean {
    this.#match(SPACE);
    if (this.json[this.#pos] !== char) return false;
    this.#pos += 1;
    return true;
  }

  #need(char: string): void {
    if (!this.#takes(char)) throw new SyntaxError(`'${char}' was expected`);
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#pos;
    const found = pattern.exec(this.json);
    if (found) this.#pos = pattern.lastIndex;
    return found;
  }
}
