import { explain, isFault, tooLarge } from './encode-fault.js';
import { EncodedHeader, piecesFrom, type EncodedFrame } from './bytes/encoded-frame.js';
import type { Fault } from './fault.js';
import type { FrameSeal } from './frame-seal.js';
import type { Header } from './frame.js';
import { DEFAULT_FRAME_LIMITS, type FrameLimits, type SendLimits } from './limits.js';
import { EncodedBody } from './held-body.js';
import { Snapshot, snapshotOf } from './snapshot.js';
import { ValueWriter } from './value-writer.js';
import { isObject } from './values/unknown.js';

/**
 * Writes frames as msgpack, smallest form first. Any rap peer reads them: extension types go only to one that offered `values`,
 * and then stand for `undefined` outside of properties, `bigint`, `Date`, `Map`, `Set`, `Error`, `URL` and `RegExp`.
 *
 * | JavaScript | msgpack |
 * |---|---|
 * | `null`; `undefined`, a function or a symbol as an item of an array or as the whole value | nil |
 * | safe integer | int (also beyond 32 bits) |
 * | other number | float64 |
 * | `bigint` | uint64 / int64; beyond that an error |
 * | string | str |
 * | `Uint8Array`, `Buffer`, `ArrayBuffer`, `DataView` | bin |
 * | other typed array, `Set`, array | array |
 * | `Map` | map; its keys must be strings, numbers or bigints and become text |
 * | an object with `toJSON()` (`Date`, ...) | what `toJSON()` returns |
 * | other object, class instance | map of its own enumerable properties; `undefined`, functions and symbols left out |
 *
 * One instance serves the process: a frame is written without interruption.
 */
export class Encoder extends ValueWriter implements EncodedFrame {
  size = 0;

  /** Offset of the body, from the start of the frame. */
  #bodyOffset = 0;

  /**
   * Writes one frame after the last one. What the peer's scanner would refuse is refused here: then it fails one call,
   * and not the connection.
   *
   * @returns itself as {@link EncodedFrame}, valid until the next frame.
   * @throws {@link Fault} if the frame is too large, nested too deep or circular, or holds a value that msgpack has
   * no form for. Nothing is written then.
   */
  frame(
    type: number,
    id: number,
    header: Header | EncodedHeader | null,
    body: unknown,
    limits: SendLimits,
    seals = false,
    values = false,
  ): EncodedFrame {
    this.#begin(limits);
    this.values = values;
    // a body that is sealed at once need not be copied first
    this.copying = !seals;
    this.place();
    try {
      this.reserve(16);
      this.buffer[this.end++] = 0x94;
      this.unsigned(type);
      this.unsigned(id);
      this.items = 3; // the frame's array, its type and id
      if (header === null) {
        this.buffer[this.end++] = 0x80;
        this.items += 1;
      } else if (header instanceof EncodedHeader) {
        this.raw(header.bytes);
        this.items += header.items;
      } else this.#header(header);
      this.maxDepth = limits.maxDepth - 1;
      this.#bodyOffset = this.end - this.start;
      // a missing body is nil for every peer
      this.value(body === undefined ? null : body);
      this.size = this.end - this.start + this.spliced;
      if (this.size > limits.maxFrameBytes) throw tooLarge(limits);
      return this;
    } catch (error) {
      this.end = this.start;
      if (isFault(error)) throw error;
      throw this.inHeader
        ? unencodable(error, 'header', header, limits)
        : unencodable(error, 'body', body, limits, values);
    }
  }

  /**
   * Seals the frame that was written last: the sealed body takes the place of the plain one.
   *
   * @throws {@link Fault} if it is too large then; nothing is written, and nothing was sealed.
   */
  seal(seal: FrameSeal, limits: SendLimits): EncodedFrame {
    const bodyStart = this.start + this.#bodyOffset;
    const bytes = this.size - this.#bodyOffset + seal.overheadBytes;
    const headBytes = bytes < 0x100 ? 2 : bytes < 0x1_0000 ? 3 : 5;
    this.size = this.#bodyOffset + headBytes + bytes;
    try {
      if (this.size > limits.maxFrameBytes) throw tooLarge(limits);
      const bound = this.buffer.subarray(this.start + 1, bodyStart);
      const pieces = seal.seal(bound, piecesFrom(this, bodyStart));
      this.end = bodyStart;
      this.dropSplices();
      this.copying = false;
      this.reserve(5);
      this.head(bytes, 0xc4, 0, 0xc4);
      for (const piece of pieces) this.rawOrSplice(piece);
      return this;
    } catch (error) {
      this.end = this.start;
      throw error;
    }
  }

  /** Encodes a header in advance. @throws {@link Fault} as `frame` */
  header(header: Header, limits: FrameLimits): EncodedHeader {
    this.#begin(limits);
    this.start = this.end = 0;
    try {
      this.#header(header);
    } catch (error) {
      throw isFault(error) ? error : unencodable(error, 'header', header, limits);
    }
    return new EncodedHeader(Buffer.from(this.buffer.subarray(0, this.end)), this.items);
  }

  /** Encodes one value on its own, in new memory. @throws the plain error, without a path */
  encode(
    value: unknown,
    limits = DEFAULT_FRAME_LIMITS,
    maxDepth = limits.maxDepth - 1,
    values = false,
  ): Buffer {
    this.#begin(limits);
    this.values = values;
    this.start = this.end = 0;
    this.maxDepth = maxDepth;
    this.splicing = false;
    this.value(value);
    return Buffer.from(this.buffer.subarray(0, this.end));
  }

  /** Encodes a body in advance, for a frame that leaves later. @throws {@link Fault} as `frame` */
  body(body: unknown, limits: SendLimits): EncodedBody {
    this.#begin(limits);
    // the peer that it will go to is not known yet
    this.values = true;
    // the encoder keeps nothing of it
    this.slab.isFree = true;
    this.place();
    this.copying = false;
    this.maxDepth = limits.maxDepth - 1;
    try {
      this.value(body);
      return new EncodedBody(Buffer.concat(piecesFrom(this, this.start)), this.items, this.usesValues);
    } catch (error) {
      throw isFault(error) ? error : unencodable(error, 'body', body, limits, true);
    }
  }

  #begin(limits: SendLimits): void {
    this.limits = limits;
    this.splicing = true;
    this.copying = true;
    this.values = false;
    this.dropSplices();
    this.resetValues();
  }

  #header(header: Header): void {
    const { maxHeaderDepth, maxHeaderBytes, maxHeaderEntries } = this.limits;
    this.inHeader = true;
    this.splicing = false;
    this.maxDepth = maxHeaderDepth;
    const before = this.end - this.start;
    const entries = Object.keys(header).length;
    if (entries > maxHeaderEntries) throw new RangeError(`${entries} entries (limits.maxHeaderEntries)`);
    this.value(header);
    const size = this.end - this.start - before + this.spliced;
    if (size > maxHeaderBytes) throw new RangeError(`${size} bytes (limits.maxHeaderBytes)`);
    this.inHeader = false;
    this.splicing = true;
  }
}

/** The fault of a header or body that cannot be encoded: a second encoder finds the path to the value. */
function unencodable(
  error: unknown,
  what: 'header' | 'body',
  value: unknown,
  limits: FrameLimits,
  values = false,
): Fault {
  const probe = new Encoder();
  const maxDepth = what === 'header' ? limits.maxHeaderDepth : limits.maxDepth - 1;
  const encodes = (part: unknown, level: number): boolean => {
    try {
      probe.encode(part, limits, maxDepth - level, values);
      return true;
    } catch {
      return false;
    }
  };
  return explain(error, { what, value, encodes });
}

const shared = new Encoder();
let busy = false;

/**
 * Writes a frame with the encoder of the process, sealed if there is a seal; see {@link Encoder.frame}. A sealed frame
 * must be written at once: its position in the order of frames is fixed.
 */
export function encodeFrame(
  type: number,
  id: number,
  header: Header | EncodedHeader | null,
  body: unknown,
  limits: SendLimits,
  seal?: FrameSeal,
  values = false,
): EncodedFrame {
  // a getter or toJSON() of a body may send something itself
  const encoder = busy ? new Encoder() : shared;
  const wasBusy = busy;
  busy = true;
  try {
    const frame = encoder.frame(type, id, header, body, limits, seal !== undefined, values);
    return seal ? encoder.seal(seal, limits) : frame;
  } finally {
    busy = wasBusy;
  }
}

/** Encodes a header in advance, for a route that is called again and again. */
export function encodeHeader(header: Header): EncodedHeader {
  return new Encoder().header(header, DEFAULT_FRAME_LIMITS);
}

/** Encodes bodies that are not sent at once. */
const aside = new Encoder();
let isAsideBusy = false;

/**
 * A body as it is now, for a frame that waits: encoded, or as a copy if processors work on it first. What is not an object
 * cannot change, and is returned as it is; so is what is held already.
 *
 * @throws {@link Fault} if it cannot be encoded; see {@link Encoder.frame}
 */
export function hold(body: unknown, limits: FrameLimits, asValue = false): unknown {
  if (!isObject(body)) return body;
  if (body instanceof EncodedBody || body instanceof Snapshot) return body;
  if (asValue) return snapshot(body, limits);
  const encoder = isAsideBusy ? new Encoder() : aside;
  const wasBusy = isAsideBusy;
  isAsideBusy = true;
  try {
    return encoder.body(body, limits);
  } finally {
    isAsideBusy = wasBusy;
  }
}

function snapshot(body: object, limits: FrameLimits): Snapshot {
  try {
    return snapshotOf(body, limits.maxItems);
  } catch (error) {
    throw isFault(error) ? error : unencodable(error, 'body', body, limits);
  }
}
