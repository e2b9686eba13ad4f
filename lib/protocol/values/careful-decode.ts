import { setOwn } from './own-property.js';
import { holdsValue, readBytes, UnreadableBody, ValueMaker } from './values.js';

/**
 * Decodes one msgpack value that the scanner has passed but marked: msgpackr would rename a `__proto__` key, decode an
 * integer of ±2^53 as a number, may drop a byte order mark, does not know the extension types of `values`, and for keys that
 * look like indices makes objects much larger than the frame. Plain and slower; everything else goes to msgpackr.
 */
export function carefulDecode(bytes: Buffer): unknown {
  return new Reader(bytes).value();
}

/** The same for a whole frame; a body with something that is not a value is an {@link UnreadableBody}. */
export function carefulFrame(bytes: Buffer): unknown {
  const reader = new Reader(bytes);
  const frame = reader.value() as unknown[];
  if (reader.defect !== undefined) frame[3] = new UnreadableBody(reader.defect);
  return frame;
}

/**
 * Whether a map has a key twice, in the value at the start of `bytes` and in all maps within it: in a decoded object, the
 * two have collapsed into one.
 */
export function hasDuplicateKeys(bytes: Buffer): boolean {
  const reader = new Reader(bytes, true);
  reader.value();
  return reader.hasDuplicates;
}

/** Keys that look like indices, which cost most, are short: one call of `String.fromCharCode()` makes up to this many characters. */
const MAX_SHORT = 4;

class Reader {
  /** A map has a key twice; only set if that is checked. */
  hasDuplicates = false;
  /** Why an extension or a map is not a value. */
  defect: string | undefined;
  readonly #maker = new ValueMaker();
  #pos = 0;

  constructor(
    private readonly bytes: Buffer,
    private readonly looksForDuplicates = false,
  ) {}

  value(): unknown {
    const { bytes } = this;
    const token = bytes[this.#pos++] as number;
    if (token < 0x80) return token;
    if (token < 0x90) return this.#map(token & 0x0f);
    if (token < 0xa0) return this.#array(token & 0x0f);
    if (token < 0xc0) return this.#text(token & 0x1f);
    if (token >= 0xe0) return token - 0x100;
    switch (token) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#bytes(this.#uint(1));
      case 0xc5:
        return this.#bytes(this.#uint(2));
      case 0xc6:
        return this.#bytes(this.#uint(4));
      case 0xca:
        return bytes.readFloatBE(this.#skip(4));
      case 0xcb:
        return bytes.readDoubleBE(this.#skip(8));
      case 0xcc:
        return this.#uint(1);
      case 0xcd:
        return this.#uint(2);
      case 0xce:
        return this.#uint(4);
      case 0xcf:
        return asNumber(bytes.readBigUInt64BE(this.#skip(8)));
      case 0xd0:
        return bytes.readInt8(this.#skip(1));
      case 0xd1:
        return bytes.readInt16BE(this.#skip(2));
      case 0xd2:
        return bytes.readInt32BE(this.#skip(4));
      case 0xd3:
        return asNumber(bytes.readBigInt64BE(this.#skip(8)));
      case 0xd9:
        return this.#text(this.#uint(1));
      case 0xda:
        return this.#text(this.#uint(2));
      case 0xdb:
        return this.#text(this.#uint(4));
      case 0xdc:
        return this.#array(this.#uint(2));
      case 0xdd:
        return this.#array(this.#uint(4));
      case 0xde:
        return this.#map(this.#uint(2));
      case 0xdf:
        return this.#map(this.#uint(4));
      case 0xc7:
        return this.#extension(this.#uint(1));
      case 0xc8:
        return this.#extension(this.#uint(2));
      case 0xc9:
        return this.#extension(this.#uint(4));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (token - 0xd4));
      default:
        throw new TypeError(`token 0x${token.toString(16)} passed the scanner`);
    }
  }

  /** The rest of the frame is sound even if the payload is not. */
  #extension(size: number): unknown {
    const type = this.#uint(1);
    const payload = holdsValue(type) ? this.value() : this.#bytes(size);
    if (this.defect !== undefined) return undefined;
    try {
      return payload instanceof Uint8Array && !holdsValue(type)
        ? readBytes(type, payload as Buffer)
        : this.#maker.make(type, payload);
    } catch (error) {
      this.defect = (error as Error).message;
      return undefined;
    }
  }

  /** Moves on by `count` bytes and returns their start. */
  #skip(count: number): number {
    const start = this.#pos;
    this.#pos += count;
    return start;
  }

  #uint(size: 1 | 2 | 4): number {
    return this.bytes.readUIntBE(this.#skip(size), size);
  }

  #text(length: number): string {
    const start = this.#skip(length);
    const short = length <= MAX_SHORT ? this.#short(start, length) : undefined;
    return short ?? this.bytes.toString('utf8', start, start + length);
  }

  /** A short text, quicker than with Node's decoder; `undefined` if it is not ASCII. */
  #short(start: number, length: number): string | undefined {
    const at = (i: number): number => (i < length ? (this.bytes[start + i] as number) : 0);
    const [a, b, c, d] = [at(0), at(1), at(2), at(3)];
    if ((a | b | c | d) >= 0x80) return undefined;
    if (length === 4) return String.fromCharCode(a, b, c, d);
    if (length === 3) return String.fromCharCode(a, b, c);
    if (length === 2) return String.fromCharCode(a, b);
    return length === 1 ? String.fromCharCode(a) : '';
  }

  #bytes(length: number): Buffer {
    const start = this.#skip(length);
    return Buffer.from(this.bytes.subarray(start, start + length));
  }

  #array(count: number): unknown[] {
    const items: unknown[] = [];
    for (let i = 0; i < count; i++) items.push(this.value());
    return items;
  }

  #map(count: number): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    let isSparse = false;
    for (let i = 0; i < count; i++) {
      const key = this.value();
      const value = this.value();
      if (typeof key !== 'string') {
        this.defect ??= 'a map key is not a string';
        continue;
      }
      if (this.looksForDuplicates && Object.hasOwn(object, key)) this.hasDuplicates = true;
      isSparse = setOwn(object, key, value, isSparse);
    }
    return object;
  }
}

function asNumber(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
