import { Fault } from './fault.js';
import type { FrameSeal } from './frame-seal.js';
import type { Header } from './frame.js';
import { DEFAULT_FRAME_LIMITS, type FrameLimits } from './limits.js';
import { Status } from './status.js';

/** Memory that small frames of all connections are written into, one after the other. */
const SLAB_BYTES = 64 * 1024;

/** Byte arrays from this size on are sent from where they are, not copied. They must not change until sent. */
const SPLICE_BYTES = 64 * 1024;

/** Longer strings are measured and written natively; shorter ones are cheaper in a loop while they are ASCII. */
const LOOP_CHARS = 40;

/** A short text reserves three bytes a character, and a number nine: so much may a frame seem larger than it is. */
const RESERVE_SLACK = 256;

/** Objects that `toJSON()` may put in place of each other. */
const MAX_REPLACED = 100;

/** A header that was encoded ahead, such as the target of a route that is called again and again. */
export class EncodedHeader {
  constructor(
    readonly bytes: Buffer,
    /** Values in it. */
    readonly items: number,
  ) {}
}

/** Memory of frames. It is written from its start again as soon as everything in it has been sent. */
export class Slab {
  readonly buffer: Buffer;
  /** Connections that have frames in it to send. */
  #users = 0;
  /** Everything in it has been sent since it was last written to. */
  isFree = false;

  constructor(bytes = SLAB_BYTES) {
    this.buffer = Buffer.allocUnsafeSlow(bytes);
  }

  retain(): void {
    this.#users += 1;
  }

  release(): void {
    this.#users -= 1;
    this.isFree = this.#users === 0;
  }
}

/** A byte array that goes between the encoded bytes at `at`. */
export interface Splice {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Where the last frame was written: `buffer` from `start` to `end`, with `splices` in between. */
export interface EncodedFrame {
  readonly buffer: Buffer;
  /** Whose memory `buffer` is: retain it while the frame waits. */
  readonly slab: Slab;
  readonly start: number;
  readonly end: number;
  /** Size on the wire, splices included. */
  readonly size: number;
  readonly splices: readonly Splice[];
}

const NO_SPLICES: readonly Splice[] = [];

/** A copy of the bytes of a frame. */
export function bytesOf({ buffer, start, end, splices }: EncodedFrame): Buffer {
  const pieces: Uint8Array[] = [];
  let from = start;
  for (const { at, bytes } of splices) {
    pieces.push(buffer.subarray(from, at), bytes);
    from = at;
  }
  return Buffer.concat([...pieces, buffer.subarray(from, end)]);
}

/**
 * Writes frames as msgpack, smallest form first, without extension types, so that any rap peer reads them.
 *
 * | JavaScript | msgpack |
 * |---|---|
 * | `undefined`, `null`; a function or symbol in an array | nil |
 * | safe integer | int (also beyond 32 bits) |
 * | other number | float64 |
 * | `bigint` | uint64 / int64; beyond that an error |
 * | string | str |
 * | `Uint8Array`, `Buffer`, `ArrayBuffer`, `DataView` | bin |
 * | other typed array, `Set`, array | array |
 * | `Map` | map; its keys must be strings, numbers or bigints and become text |
 * | an object with `toJSON()` (`Date`, ...) | what `toJSON()` returns |
 * | other object, class instance | map of its own enumerable properties, functions and symbols left out |
 *
 * One instance serves the process: a frame is written without interruption.
 */
export class Encoder {
  slab = new Slab();
  buffer = this.slab.buffer;
  start = 0;
  end = 0;
  size = 0;
  splices: readonly Splice[] = NO_SPLICES;

  #limits: FrameLimits = DEFAULT_FRAME_LIMITS;
  #maxDepth = 0;
  #depth = 0;
  #items = 0;
  #spliced = 0;
  /** Where the body begins, counted from the frame. */
  #bodyOffset = 0;
  #inHeader = false;
  #splicing = true;
  /** Nested `toJSON()` results: one that returns a new object each time would never end. */
  #replaced = 0;

  /**
   * Writes one frame after the last one. What the peer's scanner would refuse is refused here, where it harms one call
   * and not the connection.
   *
   * @returns itself as {@link EncodedFrame}, valid until the next frame.
   * @throws {@link Fault} where the frame is too large, nested too deep or circular, or holds a value that msgpack has
   * no form for. Nothing is written then.
   */
  frame(
    type: number,
    id: number,
    header: Header | EncodedHeader | null,
    body: unknown,
    limits: FrameLimits,
  ): EncodedFrame {
    this.#begin(limits);
    if (this.buffer.length > SLAB_BYTES) {
      // a small frame that waits must not keep the memory of a large one
      this.#take(new Slab());
      this.end = 0;
    } else if (this.slab.isFree) this.end = 0;
    this.slab.isFree = false;
    this.start = this.end;
    try {
      this.#reserve(16);
      this.buffer[this.end++] = 0x94;
      this.#unsigned(type);
      this.#unsigned(id);
      this.#items = 3; // the frame's array, its type and id
      if (header === null) {
        this.buffer[this.end++] = 0x80;
        this.#items += 1;
      } else if (header instanceof EncodedHeader) {
        this.#raw(header.bytes);
        this.#items += header.items;
      } else this.#header(header);
      this.#maxDepth = limits.maxDepth - 1;
      this.#bodyOffset = this.end - this.start;
      this.#value(body);
      this.size = this.end - this.start + this.#spliced;
      if (this.size > limits.maxFrameBytes) throw tooLarge(limits.maxFrameBytes);
      return this;
    } catch (error) {
      const [what, value] = this.#inHeader ? ['header', header] : ['body', body];
      this.end = this.start;
      throw isFault(error) ? error : explain(error, what, value, limits);
    }
  }

  /**
   * Seals the frame that was written last: the sealed body takes the place of the plain one.
   *
   * @throws {@link Fault} where it is too large then; nothing is written, and nothing was sealed.
   */
  seal(seal: FrameSeal, { maxFrameBytes }: FrameLimits): EncodedFrame {
    const bodyStart = this.start + this.#bodyOffset;
    const bytes = this.size - this.#bodyOffset + seal.overheadBytes;
    const headBytes = bytes < 0x100 ? 2 : bytes < 0x1_0000 ? 3 : 5;
    this.size = this.#bodyOffset + headBytes + bytes;
    try {
      if (this.size > maxFrameBytes) throw tooLarge(maxFrameBytes);
      const bound = this.buffer.subarray(this.start + 1, bodyStart);
      const pieces = seal.seal(bound, this.#bodyPieces(bodyStart));
      this.end = bodyStart;
      this.splices = NO_SPLICES;
      this.#spliced = 0;
      this.#reserve(5);
      this.#size(bytes, 0xc4, 0, 0xc4);
      for (const piece of pieces) this.#rawOrSplice(piece);
      return this;
    } catch (error) {
      this.end = this.start;
      throw error;
    }
  }

  #bodyPieces(bodyStart: number): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    let from = bodyStart;
    for (const { at, bytes } of this.splices) {
      pieces.push(this.buffer.subarray(from, at), bytes);
      from = at;
    }
    pieces.push(this.buffer.subarray(from, this.end));
    return pieces;
  }

  /** Encodes a header ahead. @throws {@link Fault} as `frame` */
  header(header: Header, limits: FrameLimits): EncodedHeader {
    this.#begin(limits);
    this.start = this.end = 0;
    try {
      this.#header(header);
    } catch (error) {
      throw isFault(error) ? error : explain(error, 'header', header, limits);
    }
    return new EncodedHeader(Buffer.from(this.buffer.subarray(0, this.end)), this.#items);
  }

  /** Encodes one value on its own, in fresh memory. @throws what stands in its way, without a place */
  encode(value: unknown, limits = DEFAULT_FRAME_LIMITS, maxDepth = limits.maxDepth - 1): Buffer {
    this.#begin(limits);
    this.start = this.end = 0;
    this.#maxDepth = maxDepth;
    this.#splicing = false;
    this.#value(value);
    return Buffer.from(this.buffer.subarray(0, this.end));
  }

  #begin(limits: FrameLimits): void {
    this.#limits = limits;
    this.#depth = 0;
    this.#items = 0;
    this.#spliced = 0;
    this.#inHeader = false;
    this.#splicing = true;
    this.#replaced = 0;
    this.splices = NO_SPLICES;
  }

  #header(header: Header): void {
    const { maxHeaderDepth, maxHeaderBytes, maxHeaderEntries } = this.#limits;
    this.#inHeader = true;
    this.#splicing = false;
    this.#maxDepth = maxHeaderDepth;
    const before = this.end - this.start;
    const entries = Object.keys(header).length;
    if (entries > maxHeaderEntries) throw new RangeError(`${entries} entries (limits.maxHeaderEntries)`);
    this.#value(header);
    const size = this.end - this.start - before + this.#spliced;
    if (size > maxHeaderBytes) throw new RangeError(`${size} bytes (limits.maxHeaderBytes)`);
    this.#inHeader = false;
    this.#splicing = true;
  }

  /** Makes room; a frame that outgrows the slab moves to a larger one. */
  #reserve(bytes: number): void {
    if (this.end + bytes <= this.buffer.length) return;
    const used = this.end - this.start;
    const { maxFrameBytes } = this.#limits;
    // short texts ask for more than they need
    if (used + this.#spliced + bytes > maxFrameBytes + RESERVE_SLACK) throw tooLarge(maxFrameBytes);
    const next = new Slab(Math.max(SLAB_BYTES, used * 2 + bytes));
    this.buffer.copy(next.buffer, 0, this.start, this.end);
    if (this.#spliced > 0) {
      this.splices = this.splices.map(({ at, bytes: spliced }) => ({ at: at - this.start, bytes: spliced }));
    }
    this.#take(next);
    this.start = 0;
    this.end = used;
  }

  #take(slab: Slab): void {
    this.slab = slab;
    this.buffer = slab.buffer;
  }

  #raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.buffer.set(bytes, this.end);
    this.end += bytes.length;
  }

  #value(value: unknown): void {
    if (++this.#items > this.#limits.maxItems) throw tooManyItems(this.#limits.maxItems);
    switch (typeof value) {
      case 'string':
        return this.#string(value);
      case 'number':
        return this.#number(value);
      case 'object':
        return value === null ? this.#byte(0xc0) : this.#object(value);
      case 'boolean':
        return this.#byte(value ? 0xc3 : 0xc2);
      case 'bigint':
        return this.#bigint(value);
      default:
        return this.#byte(0xc0);
    }
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.buffer[this.end++] = byte;
  }

  #number(value: number): void {
    this.#reserve(9);
    if (value >= 0 && value <= 0xffff_ffff && Number.isInteger(value) && !Object.is(value, -0)) {
      this.#unsigned(value);
    } else if (Number.isSafeInteger(value) && !Object.is(value, -0)) this.#wideInteger(value);
    else {
      this.buffer[this.end] = 0xcb;
      this.end = this.buffer.writeDoubleBE(value, this.end + 1);
    }
  }

  /** 0 to 2^32 - 1; the caller has made room. */
  #unsigned(value: number): void {
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

  #bigint(value: bigint): void {
    this.#reserve(9);
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

  #string(text: string): void {
    const { length } = text;
    if (length < LOOP_CHARS) {
      this.#reserve(length * 3 + 2);
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
    this.#reserve(bytes + 5);
    this.#size(bytes, 0xa0, 32, 0xd9);
    this.end += this.buffer.write(text, this.end, bytes, 'utf8');
  }

  #object(value: object): void {
    if (Array.isArray(value)) this.#array(value);
    else if (isPlain(value)) this.#map(value);
    else this.#special(value);
  }

  #array(items: ArrayLike<unknown>): void {
    const { length } = items;
    if (++this.#depth > this.#maxDepth) throw tooDeep();
    this.#reserve(5);
    this.#size(length, 0x90, 16, 0xdb);
    for (let i = 0; i < length; i++) this.#value(items[i]);
    this.#depth -= 1;
  }

  #map(object: object): void {
    const record = object as Record<string, unknown>;
    const keys = Object.keys(record);
    if (++this.#depth > this.#maxDepth) throw tooDeep();
    if (this.#inHeader) this.#checkHeaderKeys(keys);
    this.#items += keys.length; // values are counted as they are written
    this.#reserve(5);
    const sizeAt = this.end;
    const started = this.start;
    this.#size(keys.length, 0x80, 16, 0xdd);
    let omitted = 0;
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string;
      const value = record[key];
      if (typeof value === 'function' || typeof value === 'symbol') {
        omitted += 1;
        this.#items -= 1;
        continue;
      }
      this.#string(key);
      this.#value(value);
    }
    if (omitted > 0) this.#patchCount(sizeAt - started + this.start, keys.length, keys.length - omitted);
    this.#depth -= 1;
  }

  #checkHeaderKeys(keys: readonly string[]): void {
    for (const key of keys) {
      if (key === '__proto__' || key === 'prototype' || key === 'constructor')
        throw new RangeError(`the key ${key}`);
      if (Buffer.byteLength(key) > this.#limits.maxHeaderKeyBytes) {
        throw new RangeError(`a key of ${Buffer.byteLength(key)} bytes (limits.maxHeaderKeyBytes)`);
      }
    }
  }

  /** Writes the count of a map again, in the form that the larger count took. */
  #patchCount(at: number, reserved: number, count: number): void {
    if (reserved < 16) this.buffer[at] = 0x80 | count;
    else if (reserved < 0x1_0000) this.buffer.writeUInt16BE(count, at + 1);
    else this.buffer.writeUInt32BE(count, at + 1);
  }

  #special(value: object): void {
    if (value instanceof Uint8Array) return this.#bytes(value);
    if (value instanceof ArrayBuffer) return this.#bytes(new Uint8Array(value));
    if (value instanceof DataView) {
      return this.#bytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    }
    if (ArrayBuffer.isView(value)) return this.#array(value as unknown as ArrayLike<unknown>);
    if (value instanceof Set) return this.#array([...value]);
    if (value instanceof Map) return this.#map(recordOf(value));
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') return this.#instead(value, toJSON.call(value, ''));
    if (value instanceof Number || value instanceof String || value instanceof Boolean) {
      return this.#instead(value, value.valueOf());
    }
    return this.#map(value);
  }

  /** Writes what an object stands for; one that stands for itself is written as it is. */
  #instead(object: object, value: unknown): void {
    if (value === object) return this.#map(object);
    this.#items -= 1;
    if (++this.#replaced > MAX_REPLACED) throw tooDeep();
    this.#value(value);
    this.#replaced -= 1;
  }

  #bytes(bytes: Uint8Array): void {
    this.#reserve(5);
    this.#size(bytes.length, 0xc4, 0, 0xc4);
    this.#rawOrSplice(bytes);
  }

  #rawOrSplice(bytes: Uint8Array): void {
    if (bytes.length < SPLICE_BYTES || !this.#splicing) return this.#raw(bytes);
    this.splices = [...this.splices, { at: this.end, bytes }];
    this.#spliced += bytes.length;
  }

  /** The size of a string, byte array, array or map: in the token itself, or after it in 1, 2 or 4 bytes. */
  #size(size: number, fixToken: number, fixLimit: number, token8: number): void {
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
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && !('toJSON' in value);
}

function recordOf(map: ReadonlyMap<unknown, unknown>): object {
  const record = Object.create(null) as Record<string, unknown>;
  for (const [key, value] of map) {
    if (typeof key !== 'string' && typeof key !== 'number' && typeof key !== 'bigint') {
      throw new TypeError(`a Map key of type ${typeof key}`);
    }
    record[String(key)] = value;
  }
  return record;
}

function tooLarge(maxBytes: number): Fault {
  return new Fault({
    status: Status.Protocol,
    code: 'ERR_RAP_FRAME_TOO_LARGE',
    message: `frame too large: more than ${maxBytes} bytes (limits.maxFrameBytes)`,
  });
}

function tooManyItems(maxItems: number): Fault {
  return new Fault({
    status: Status.Protocol,
    code: 'ERR_RAP_FRAME_TOO_LARGE',
    message: `frame too large: more than ${maxItems} values (limits.maxItems)`,
  });
}

/** `instanceof` asks the prototype, which a hostile proxy answers with an error. */
function isFault(error: unknown): boolean {
  try {
    return error instanceof Fault;
  } catch {
    return false;
  }
}

function tooDeep(): RangeError {
  return new RangeError('nested too deep, or circular');
}

/** The error of a value that has no form on the wire, with the path to it. */
function explain(error: unknown, what: string, value: unknown, limits: FrameLimits): Fault {
  const reason = reasonOf(error);
  const maxDepth = what === 'header' ? limits.maxHeaderDepth : limits.maxDepth - 1;
  return new Fault({
    status: Status.Server,
    code: 'ERR_RAP_UNSERIALIZABLE',
    message: `the ${what} cannot be sent: ${reason} at ${what}${locate(value, limits, maxDepth)}`,
    cause: error,
  });
}

/** What was thrown may be anything, and throw again when it is looked at. */
function reasonOf(error: unknown): string {
  try {
    const message: unknown = error instanceof Error ? error.message : undefined;
    return typeof message === 'string' ? message : 'unreadable value';
  } catch {
    return 'unreadable value';
  }
}

/** Path from `value` to the innermost part that cannot be encoded, at most eight steps of it. */
function locate(value: unknown, limits: FrameLimits, maxDepth: number): string {
  const probe = new Encoder();
  let path = '';
  for (let step = 1; step <= 8; step++) {
    const culprit = entriesOf(value).find(([, child]) => !encodes(child, probe, limits, maxDepth - step));
    if (!culprit) break;
    path += typeof culprit[0] === 'number' ? `[${culprit[0]}]` : `.${culprit[0]}`;
    value = culprit[1];
  }
  return path.slice(0, 200);
}

function encodes(value: unknown, probe: Encoder, limits: FrameLimits, maxDepth: number): boolean {
  try {
    probe.encode(value, limits, maxDepth);
    return true;
  } catch {
    return false;
  }
}

function entriesOf(value: unknown): [string | number, unknown][] {
  try {
    if (typeof value !== 'object' || value === null) return [];
    return Array.isArray(value) ? value.map((item, i) => [i, item]) : Object.entries(value);
  } catch {
    return []; // a getter or a proxy throws: this object is the place
  }
}

const shared = new Encoder();
let busy = false;

/**
 * Writes a frame with the encoder of the process, sealed where there is a seal; see {@link Encoder.frame}. A sealed frame
 * must be written at once: its place in the order of frames is taken.
 */
export function encodeFrame(
  type: number,
  id: number,
  header: Header | EncodedHeader | null,
  body: unknown,
  limits: FrameLimits,
  seal?: FrameSeal,
): EncodedFrame {
  // a getter or toJSON() of a body may itself send something
  const encoder = busy ? new Encoder() : shared;
  const wasBusy = busy;
  busy = true;
  try {
    const frame = encoder.frame(type, id, header, body, limits);
    return seal ? encoder.seal(seal, limits) : frame;
  } finally {
    busy = wasBusy;
  }
}

/** Encodes a header ahead, for a route that is called again and again. */
export function encodeHeader(header: Header): EncodedHeader {
  return new Encoder().header(header, DEFAULT_FRAME_LIMITS);
}
