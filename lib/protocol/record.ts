import type { FrameDecoder } from './frame-decoder.js';
import { cryptoFault, type FrameSeal } from './frame-seal.js';
import type { Frame } from './frame.js';
import { Tail } from './bytes/tail.js';

/*
 * A record is a frame that carries a piece of the stream of frames, sealed: `[104, 1, {}, bin]`. Frames may
 * begin and end anywhere in it. One seal for all that is sent in one write is what makes it cheap.
 */

/** The array, type 104, id 1, the empty header. */
const HEAD = Buffer.from([0x94, 0x68, 0x01, 0x80]);
const BOUND = HEAD.subarray(1);
const MAX_SEALED_BYTES = 0xffff;
/** Largest record before the other side is known. */
const MAX_FIRST_BYTES = 16 * 1024;
/** Most that the first record of a side holds, so that it is accepted in any case. */
const FIRST_BYTES = 1024;

/** Most empty records in a row: each costs an opening and carries nothing. */
const MAX_EMPTY = 16;

/** The array, type, id, header, and the longest head of a `bin` that a record has. */
const MAX_HEAD_BYTES = HEAD.length + 3;

/** Memory that the next record of the process can be written into, when the last one has been sent. */
let spare: Buffer | undefined;

/** Writes records. */
export class RecordWriter {
  #isFirst = true;
  /** The memory of the last record. */
  #last: Buffer | undefined;

  constructor(private readonly seal: FrameSeal) {}

  /** Bytes of the stream that fit into the next record. */
  get room(): number {
    return this.#isFirst ? FIRST_BYTES : MAX_SEALED_BYTES - this.seal.overheadBytes;
  }

  /** Seals pieces of the stream, at most `room` bytes together. */
  record(pieces: readonly Uint8Array[]): Buffer {
    this.#isFirst = false;
    const sealed = this.seal.seal(BOUND, pieces);
    const buffer = spare ?? Buffer.allocUnsafeSlow(MAX_HEAD_BYTES + MAX_SEALED_BYTES);
    spare = undefined;
    this.#last = buffer;
    let bytes = 0;
    for (const piece of sealed) bytes += piece.length;
    buffer.set(HEAD);
    let at = HEAD.length;
    if (bytes < 0x100) buffer[at++] = 0xc4;
    else {
      buffer[at++] = 0xc5;
      buffer[at++] = bytes >>> 8;
    }
    buffer[at++] = bytes & 0xff;
    for (const piece of sealed) {
      buffer.set(piece, at);
      at += piece.length;
    }
    return buffer.subarray(0, at);
  }

  /** The last record has been sent: its memory may be written again. */
  sent(): void {
    if (this.#last) spare = this.#last;
    this.#last = undefined;
  }
}

/** Reads records, and passes what was in them to the decoder of frames. Its interface is that of a {@link FrameDecoder}. */
export class RecordDecoder {
  readonly raw: undefined;
  #maxSealedBytes = MAX_FIRST_BYTES;
  #empty = 0;
  #tail = new Tail();
  #chunk: Buffer | undefined;
  /** Size of the record that the tail belongs to; 0 while its head is not whole. */
  #needed = 0;

  constructor(
    private readonly frames: FrameDecoder,
    private readonly seal: FrameSeal,
  ) {
    const rest = frames.takeRest();
    if (rest) this.push(rest);
  }

  get frameBytes(): number {
    return this.frames.frameBytes;
  }

  get frameCost(): number {
    return this.frames.frameCost;
  }

  get unfinishedBytes(): number {
    return this.#tail.length + this.frames.unfinishedBytes;
  }

  admit(maxFrameBytes: number, allowsValues = false): void {
    this.#maxSealedBytes = MAX_SEALED_BYTES;
    this.frames.admit(maxFrameBytes, allowsValues);
  }

  /** All frames of the last chunk must have been taken. */
  push(chunk: Buffer): void {
    this.#chunk = chunk;
  }

  /** @throws as {@link FrameDecoder.next}; 1007 if a record does not open */
  next(): Frame | undefined {
    for (;;) {
      const frame = this.frames.next();
      if (frame) return frame;
      const record = this.#nextRecord();
      if (!record) return undefined;
      this.frames.push(this.#open(record));
    }
  }

  #nextRecord(): Buffer | undefined {
    let chunk = this.#chunk;
    this.#chunk = undefined;
    if (!chunk) return undefined;
    if (this.#tail.length > 0) {
      if (this.#needed > 0 && this.#tail.length + chunk.length < this.#needed) {
        this.#tail.add(chunk);
        return undefined;
      }
      this.#tail.add(chunk);
      chunk = this.#tail.take();
    }
    this.#needed = this.#sizeOf(chunk);
    if (this.#needed === 0 || chunk.length < this.#needed) {
      this.#tail.add(chunk);
      return undefined;
    }
    if (chunk.length > this.#needed) this.#chunk = chunk.subarray(this.#needed);
    const record = chunk.subarray(0, this.#needed);
    this.#needed = 0;
    return record;
  }

  /** Size of the record that begins here, or 0 if it is not known yet. There is only one valid form. */
  #sizeOf(bytes: Buffer): number {
    const known = Math.min(bytes.length, HEAD.length);
    if (bytes.compare(HEAD, 0, known, 0, known) !== 0) throw cryptoFault('a record was expected');
    if (bytes.length <= HEAD.length) return 0;
    const token = bytes[HEAD.length] as number;
    if (token !== 0xc4 && token !== 0xc5) throw cryptoFault('a record is not sealed');
    const headBytes = HEAD.length + (token === 0xc4 ? 2 : 3);
    if (bytes.length < headBytes) return 0;
    const size = token === 0xc4 ? (bytes[HEAD.length + 1] as number) : bytes.readUInt16BE(HEAD.length + 1);
    if (token === 0xc5 && size < 0x100)
      throw cryptoFault('the length of a record is not in its shortest form');
    if (size > this.#maxSealedBytes) throw cryptoFault('a record is too large');
    return headBytes + size;
  }

  #open(record: Buffer): Buffer {
    const headBytes = HEAD.length + (record[HEAD.length] === 0xc4 ? 2 : 3);
    const plaintext = this.seal.open(BOUND, record.subarray(headBytes));
    if (!plaintext) throw cryptoFault('a record does not open');
    this.#empty = plaintext.length === 0 ? this.#empty + 1 : 0;
    if (this.#empty > MAX_EMPTY) throw cryptoFault('too many records of no bytes');
    return plaintext;
  }
}
