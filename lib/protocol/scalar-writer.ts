import { SlabWriter } from './slab-writer.js';

/** Longer strings are measured and written natively; for shorter ones a loop is cheaper if they are ASCII. */
const LOOP_CHARS = 40;

/** Writes numbers, texts and byte arrays, each in its smallest form, and the heads of arrays and maps. */
export abstract class ScalarWriter extends SlabWriter {
  protected number(value: number): void {
    this.reserve(9);
    if (value >= 0 && value <= 0xffff_ffff && Number.isInteger(value) && !Object.is(value, -0)) {
      this.unsigned(value);
    } else if (Number.isSafeInteger(value) && !Object.is(value, -0)) this.#wideInteger(value);
    else {
      this.buffer[this.end] = 0xcb;
      this.end = this.buffer.writeDoubleBE(value, this.end + 1);
    }
  }

  /** 0 to 2^32 - 1; the caller has made room. */
  protected unsigned(value: number): void {
    const { buffer } = this;
    let { end } = this;
    if (value < 0x80) buffer[end++] = value;
    else if (value < 0x100) {
      buffer[end++] = 0xcc;
      buffer[end++] = value;
    } else if (value < 0x1_0000) {
      buffer[end++] = 0xcd;
      buffer[end++] = value >>> 8;
      buffer[end++] = value & 0xff;
    } else {
      buffer[end++] = 0xce;
      buffer[end++] = value >>> 24;
      buffer[end++] = (value >>> 16) & 0xff;
      buffer[end++] = (value >>> 8) & 0xff;
      buffer[end++] = value & 0xff;
    }
    this.end = end;
  }

  protected bigint(value: bigint): void {
    this.reserve(9);
    if (value >= 0n) {
      if (value > 0xffff_ffff_ffff_ffffn) throw new RangeError('a bigint beyond 64 bits');
      this.buffer[this.end] = 0xcf;
      this.end = this.buffer.writeBigUInt64BE(value, this.end + 1);
    } else {
      if (value < -0x8000_0000_0000_0000n) throw new RangeError('a bigint beyond 64 bits');
      this.buffer[this.end] = 0xd3;
      this.end = this.buffer.writeBigInt64BE(value, this.end + 1);
    }
  }

  protected text(text: string): void {
    const { length } = text;
    if (length < LOOP_CHARS) {
      this.reserve(length * 3 + 2);
      const { buffer } = this;
      const head = length < 32 ? 1 : 2;
      let pos = this.end + head;
      let i = 0;
      for (; i < length; i++) {
        const code = text.charCodeAt(i);
        if (code >= 0x80) break;
        buffer[pos++] = code;
      }
      if (i === length) {
        if (head === 1) buffer[this.end] = 0xa0 | length;
        else {
          buffer[this.end] = 0xd9;
          buffer[this.end + 1] = length;
        }
        this.end = pos;
        return;
      }
    }
    const bytes = Buffer.byteLength(text);
    this.reserve(bytes + 5);
    this.head(bytes, 0xa0, 32, 0xd9);
    this.end += this.buffer.write(text, this.end, bytes, 'utf8');
  }

  protected bytes(bytes: Uint8Array): void {
    this.reserve(5);
    this.head(bytes.length, 0xc4, 0, 0xc4);
    this.rawOrSplice(bytes);
  }

  /** The size of a string, byte array, array or map: in the token itself, or after it in 1, 2 or 4 bytes. */
  protected head(size: number, fixToken: number, fixLimit: number, token8: number): void {
    const { buffer } = this;
    if (size < fixLimit) buffer[this.end++] = fixToken | size;
    else if (size < 0x100 && token8 !== 0xdb && token8 !== 0xdd) {
      buffer[this.end++] = token8;
      buffer[this.end++] = size;
    } else if (size < 0x1_0000) {
      buffer[this.end++] = token8 + 1;
      this.end = buffer.writeUInt16BE(size, this.end);
    } else {
      buffer[this.end++] = token8 + 2;
      this.end = buffer.writeUInt32BE(size, this.end);
    }
  }

  /** Negative, or beyond 32 bits. */
  #wideInteger(value: number): void {
    const { buffer, end } = this;
    if (value >= -0x20 && value < 0) {
      buffer[end] = value & 0xff;
      this.end = end + 1;
    } else if (value >= -0x80 && value < 0) {
      buffer[end] = 0xd0;
      this.end = buffer.writeInt8(value, end + 1);
    } else if (value >= -0x8000 && value < 0) {
      buffer[end] = 0xd1;
      this.end = buffer.writeInt16BE(value, end + 1);
    } else if (value >= -0x8000_0000 && value < 0) {
      buffer[end] = 0xd2;
      this.end = buffer.writeInt32BE(value, end + 1);
    } else {
      const high = Math.floor(value / 0x1_0000_0000);
      buffer[end] = value < 0 ? 0xd3 : 0xcf;
      buffer.writeInt32BE(high, end + 1);
      this.end = buffer.writeUInt32BE(value - high * 0x1_0000_0000, end + 5);
    }
  }
}
