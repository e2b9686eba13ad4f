import type { FrameLimits } from './limits.js';
import { type Fault, protocolFault } from './fault.js';
import { keyNeedsCare, textNeedsCare } from './scanned-text.js';
import { extensionSize, holdsValue, isSimple } from './values/values.js';

/** Bytes of a token with its length or number field. */
const HEAD_BYTES = new Uint8Array(256).fill(1);
for (const token of [0xc4, 0xcc, 0xd0, 0xd9]) HEAD_BYTES[token] = 2;
for (const token of [0xc5, 0xcd, 0xd1, 0xda, 0xdc, 0xde]) HEAD_BYTES[token] = 3;
for (const token of [0xc6, 0xca, 0xce, 0xd2, 0xdb, 0xdd, 0xdf]) HEAD_BYTES[token] = 5;
for (const token of [0xcb, 0xcf, 0xd3]) HEAD_BYTES[token] = 9;
// extensions: their type is part of the head
HEAD_BYTES.fill(2, 0xd4, 0xd9);
HEAD_BYTES[0xc7] = 3;
HEAD_BYTES[0xc8] = 4;
HEAD_BYTES[0xc9] = 6;

/** What a token is. Everything from `ARRAY` on is a container. */
const SCALAR = 0;
/** 0xc1 */
const FORBIDDEN = 1;
/** Extension types, which a Python peer does not read: only in bodies, and only if both sides offered `values`. */
const EXTENSION = 2;
const BYTES = 3;
const TEXT = 4;
const ARRAY = 5;
const MAP = 6;
const KIND = new Uint8Array(256)
  .fill(MAP, 0x80, 0x90)
  .fill(ARRAY, 0x90, 0xa0)
  .fill(TEXT, 0xa0, 0xc0)
  .fill(BYTES, 0xc4, 0xc7)
  .fill(TEXT, 0xd9, 0xdc)
  .fill(ARRAY, 0xdc, 0xde)
  .fill(MAP, 0xde, 0xe0)
  .fill(FORBIDDEN, 0xc1, 0xc2)
  .fill(EXTENSION, 0xc7, 0xca)
  .fill(EXTENSION, 0xd4, 0xd9);

/** Indices in the stack of open containers. */
const FRAME_DEPTH = 1;
const HEADER_DEPTH = 2;

/** What an entry of that stack is. */
const IS_MAP = 1;
/** An extension that holds one value, which must end with the extension. */
const IS_EXTENSION = 2;

/** Items of the frame's own array that are still to come when its header, and when its body, begins. */
const AT_HEADER = 2;
const AT_BODY = 1;

/** A string whose payload crossed a chunk boundary, checked when the frame is whole. Offsets count from the frame. */
interface Straddler {
  readonly start: number;
  readonly length: number;
  readonly isKey: boolean;
  readonly inHeader: boolean;
}

/**
 * Finds the end of a frame without decoding it, and refuses everything that `FrameLimits` and the protocol forbid,
 * before anything is buffered or allocated for it.
 *
 * It resumes at the end of the last chunk, so each byte of a frame is read once, however the frame is split.
 */
export class Scanner {
  /** Largest frame that is accepted now. */
  maxFrameBytes: number;
  /** Both sides offered `values`: bodies may hold its extension types. */
  allowsValues = false;
  /** Bytes scanned, for tests that guard the linear cost. */
  scannedBytes = 0;
  /**
   * The last frame holds something that msgpackr does not decode faithfully: a key that would touch a prototype,
   * an integer of exactly ±2^53, a string that starts with a byte order mark. Or a key that may be an index to V8, which
   * takes memory for all that lies below it.
   */
  needsCare = false;
  /** The header of the last frame holds containers of several values: the keys of maps in them are not checked yet. */
  hasNestedHeader = false;
  /** Size of the smallest byte array in the last frame; infinite if it has none. */
  smallestBytes = Infinity;
  /** Offset of the body in the last frame. */
  bodyStart = 0;

  readonly #limits: FrameLimits;
  #maxItems: number;
  #maxDepth: number;
  /** Items left in each open container; keys and values of a map count separately. Entry 0 is the connection. */
  readonly #left: Int32Array;
  readonly #isMap: Uint8Array;
  /** Ends of the open extensions, as offsets in the frame. */
  readonly #extensionEnd: Int32Array;
  /** Index of the innermost open container; -1 between frames. */
  #depth = -1;
  #items = 0;
  #headerStart = 0;
  /** Bytes of the current frame that earlier chunks held. */
  #before = 0;
  /** Payload bytes of a string or byte array still to skip. */
  #skip = 0;
  /** A token whose length or number field the chunk cut off. */
  #head: Buffer | undefined;
  #straddlers: Straddler[] = [];

  constructor(limits: FrameLimits) {
    this.#limits = limits;
    this.maxFrameBytes = limits.maxFrameBytes;
    this.#maxItems = limits.maxItems;
    this.#maxDepth = limits.maxDepth;
    this.#left = new Int32Array(limits.maxDepth + 1);
    this.#isMap = new Uint8Array(limits.maxDepth + 1);
    this.#extensionEnd = new Int32Array(limits.maxDepth + 1);
  }

  /** Applies the lower limits of the time before DECLARE is done, until {@link admit}. */
  restrict(): void {
    const { maxFrameBytes, maxFrameBytesBeforeDeclare, maxItems, maxItemsBeforeDeclare } = this.#limits;
    const { maxDepth, maxDepthBeforeDeclare } = this.#limits;
    this.maxFrameBytes = Math.min(maxFrameBytes, maxFrameBytesBeforeDeclare);
    this.#maxItems = Math.min(maxItems, maxItemsBeforeDeclare);
    this.#maxDepth = Math.min(maxDepth, maxDepthBeforeDeclare);
  }

  /** DECLARE is done: the limits of all other frames apply. */
  admit(maxFrameBytes: number): void {
    this.maxFrameBytes = maxFrameBytes;
    this.#maxItems = this.#limits.maxItems;
    this.#maxDepth = this.#limits.maxDepth;
  }

  /** Values in the last frame, its own array included. */
  get items(): number {
    return this.#items;
  }

  /** Whether a frame has begun and not ended. */
  get midFrame(): boolean {
    return this.#depth >= 0;
  }

  /**
   * Scans from `from`: a frame's first byte, or the start of a chunk that continues a frame.
   *
   * @returns the offset after the frame's last byte, or -1 if the frame continues in the next chunk.
   * @throws {@link Fault} with status 1003: the bytes are not a frame that rap allows. The scanner must not be used after that.
   */
  scan(chunk: Buffer, from: number): number {
    if (this.#depth < 0) this.#begin();
    let pos = from;
    if (this.#head) pos = this.#completeHead(this.#head, chunk, pos);
    if (this.#skip > 0) {
      const skipped = Math.min(this.#skip, chunk.length - pos);
      this.#skip -= skipped;
      pos += skipped;
    }
    let end = -1;
    if (this.#depth < 0) end = pos;
    else if (!this.#head && this.#skip === 0) end = this.#walk(chunk, pos, this.#before - from);

    const taken = (end < 0 ? chunk.length : end) - from;
    this.scannedBytes += taken;
    if (end < 0) {
      this.#before += taken;
      if (this.#inHeader() && this.#before - this.#headerStart > this.#limits.maxHeaderBytes) {
        throw refuse('header too large');
      }
    }
    return end;
  }

  /** Checks the strings that crossed chunk boundaries. `frame` is the whole frame. Call it once after `scan` ended. */
  verify(frame: Buffer): void {
    for (const { start, length, isKey, inHeader } of this.#straddlers) {
      if (textNeedsCare(frame, start, length)) this.needsCare = true;
      if (isKey && keyNeedsCare(frame, start, length, inHeader)) this.needsCare = true;
    }
    this.#straddlers = [];
  }

  #begin(): void {
    this.#depth = 0;
    this.#left[0] = 1;
    this.#items = 0;
    this.#before = 0;
    this.needsCare = false;
    this.hasNestedHeader = false;
    this.smallestBytes = Infinity;
  }

  #inHeader(): boolean {
    return this.#depth >= HEADER_DEPTH && this.#left[FRAME_DEPTH] === AT_BODY;
  }

  /** Completes a token that the last chunk cut off and walks over it. @returns the offset in `chunk` to go on at */
  #completeHead(head: Buffer, chunk: Buffer, pos: number): number {
    const size = HEAD_BYTES[head[0] as number] as number;
    const taken = Math.min(size - head.length, chunk.length - pos);
    const token = Buffer.concat([head, chunk.subarray(pos, pos + taken)]);
    if (token.length < size) {
      this.#head = token;
    } else {
      this.#head = undefined;
      this.#walk(token, 0, this.#before - head.length);
    }
    return pos + taken;
  }

  /**
   * The loop: one token a turn, refused at its length bytes if it breaks a limit. `base` is the offset in the frame
   * of the chunk's first byte. Returns the frame's end in this chunk, or -1.
   */
  #walk(chunk: Buffer, pos: number, base: number): number {
    const end = chunk.length;
    const left = this.#left;
    const isMap = this.#isMap;
    const maxItems = this.#maxItems;
    const maxEnd = this.maxFrameBytes - base;
    let depth = this.#depth;
    let items = this.#items;

    for (;;) {
      while (depth >= 0 && left[depth] === 0) {
        if (isMap[depth] === IS_EXTENSION && this.#extensionEnd[depth] !== base + pos)
          throw refuse('an extension does not end where its value does');
        depth -= 1;
      }
      if (depth < 0 || pos >= end) break;

      const token = chunk[pos] as number;
      const kind = KIND[token] as number;
      const itemsLeft = left[depth] as number;
      const isKey = isMap[depth] === IS_MAP && (itemsLeft & 1) === 0;
      if (isKey && kind !== TEXT) this.#checkOddKey(depth);
      if (depth < HEADER_DEPTH) this.#checkFrameItem(token, depth, base + pos);
      const headBytes = HEAD_BYTES[token] as number;
      if (pos + headBytes > end) {
        if (kind === EXTENSION) this.#checkExtension(token, depth);
        this.#head = Buffer.from(chunk.subarray(pos));
        break;
      }
      if (pos + headBytes > maxEnd) throw refuse('frame too large');
      if (++items > maxItems) throw refuse('too many items');
      left[depth] = itemsLeft - 1;
      if (kind === SCALAR) {
        if (headBytes === 9 && isTwoTo53(chunk, pos)) this.needsCare = true;
        pos += headBytes;
        continue;
      }
      if (kind === FORBIDDEN) throw refuse(`token 0x${token.toString(16)} is not allowed`);

      if (kind === EXTENSION) {
        this.#checkExtension(token, depth);
        const extensionBytes = extensionSize(chunk, pos, token);
        const type = chunk[pos + headBytes - 1] as number;
        pos += headBytes;
        if (pos + extensionBytes > maxEnd) throw refuse('frame too large');
        if (holdsValue(type)) {
          this.needsCare = true;
          if (depth + 1 > this.#maxDepth) throw refuse('too deep');
          depth += 1;
          left[depth] = 1;
          isMap[depth] = IS_EXTENSION;
          this.#extensionEnd[depth] = base + pos + extensionBytes;
          continue;
        }
        if (!isSimple(type, extensionBytes)) this.needsCare = true;
        if (pos + extensionBytes > end) {
          this.#skip = extensionBytes - (end - pos);
          break;
        }
        pos += extensionBytes;
        continue;
      }

      const size =
        headBytes === 1 ? (token < 0xa0 ? token & 0x0f : token & 0x1f) : declaredSize(chunk, pos, headBytes);
      pos += headBytes;
      if (kind >= ARRAY) {
        const count = kind === MAP ? size * 2 : size;
        if (items + count > maxItems) throw refuse('too many items');
        this.#checkContainer(count, base + pos, depth + 1);
        if (count === 0) continue;
        depth += 1;
        left[depth] = count;
        isMap[depth] = kind === MAP ? IS_MAP : 0;
        continue;
      }

      const inHeader = depth >= HEADER_DEPTH && left[FRAME_DEPTH] === AT_BODY;
      if (pos + size > maxEnd) throw refuse('frame too large');
      if (inHeader) this.#checkHeaderBytes(base + pos, size, isKey);
      if (kind === BYTES && size < this.smallestBytes) this.smallestBytes = size;
      if (pos + size <= end) {
        if (kind === TEXT) {
          if (textNeedsCare(chunk, pos, size)) this.needsCare = true;
          if (isKey && keyNeedsCare(chunk, pos, size, inHeader)) this.needsCare = true;
        }
        pos += size;
      } else {
        if (kind === TEXT) this.#straddlers.push({ start: base + pos, length: size, isKey, inHeader });
        this.#skip = size - (end - pos);
        break;
      }
    }
    this.#depth = depth;
    this.#items = items;
    return depth < 0 ? pos : -1;
  }

  /** The frame's own array and its four items: what each may be. */
  #checkFrameItem(token: number, depth: number, offset: number): void {
    if (depth < FRAME_DEPTH) {
      if (token !== 0x94) throw refuse('a frame is an array of four');
      return;
    }
    const itemsLeft = this.#left[FRAME_DEPTH];
    if (itemsLeft === AT_HEADER) {
      if (KIND[token] !== MAP) throw refuse('the header is not a map');
      this.#headerStart = offset;
    } else if (itemsLeft === AT_BODY) {
      this.bodyStart = offset;
      if (offset - this.#headerStart > this.#limits.maxHeaderBytes) throw refuse('header too large');
    } else if (token >= 0x80 && (token < 0xcc || token > 0xcf)) {
      throw refuse('message type and correlation id are unsigned integers');
    }
  }

  /** Extension types are for bodies, and for peers that both offered `values`. */
  #checkExtension(token: number, depth: number): void {
    const left = this.#left[FRAME_DEPTH];
    const isInBody = left === 0 || (depth === FRAME_DEPTH && left === AT_BODY);
    if (!this.allowsValues || !isInBody) throw refuse(`token 0x${token.toString(16)} is not allowed`);
  }

  #checkHeaderBytes(offset: number, size: number, isKey: boolean): void {
    if (offset + size - this.#headerStart > this.#limits.maxHeaderBytes) throw refuse('header too large');
    if (isKey && size > this.#limits.maxHeaderKeyBytes) throw refuse('header key too long');
  }

  #checkContainer(count: number, offset: number, depth: number): void {
    // an item is at least one byte, so a count says how many bytes must follow
    if (offset + count > this.maxFrameBytes) throw refuse('frame too large');
    if (depth > this.#maxDepth) throw refuse('too deep');
    if (this.#left[FRAME_DEPTH] !== AT_BODY || depth < HEADER_DEPTH) return;
    const headerDepth = depth - FRAME_DEPTH;
    if (headerDepth > this.#limits.maxHeaderDepth) throw refuse('header too deep');
    if (headerDepth === 1 && count / 2 > this.#limits.maxHeaderEntries)
      throw refuse('too many header entries');
    if (headerDepth > 1 && count > 2) this.hasNestedHeader = true;
  }

  /** A key that is not a text, as a dict of Python may have, fails the call of its body; the rest of the frame is sound. */
  #checkOddKey(depth: number): void {
    const inHeader = depth >= HEADER_DEPTH && this.#left[FRAME_DEPTH] === AT_BODY;
    if (inHeader) throw refuse('a map key is not a string');
    this.needsCare = true;
  }
}

/** Length in bytes, or count of entries, that follows a token. */
function declaredSize(chunk: Buffer, pos: number, headBytes: number): number {
  if (headBytes === 2) return chunk[pos + 1] as number;
  return headBytes === 3 ? chunk.readUInt16BE(pos + 1) : chunk.readUInt32BE(pos + 1);
}

/** Whether the 64-bit integer at `pos` is 2^53 or -2^53, which msgpackr decodes as a number though it is not a safe one. */
function isTwoTo53(chunk: Buffer, pos: number): boolean {
  const high = chunk.readUInt32BE(pos + 1);
  return (
    (high === 0x0020_0000 || (chunk[pos] === 0xd3 && high === 0xffe0_0000)) &&
    chunk.readUInt32BE(pos + 5) === 0
  );
}

function refuse(why: string): Fault {
  return protocolFault(why, why === 'frame too large' ? 'ERR_RAP_FRAME_TOO_LARGE' : undefined);
}
