import type { EncodedFrame } from './encoded-frame.js';
import { type Slab, SLAB_BYTES } from './slab.js';

/** Small frames that have to wait are copied into memory of this size, one after another. */
const COPIES_BYTES = 4 * 1024;

/** A larger piece is worth the memory that it lies in. */
const SMALL_BYTES = SLAB_BYTES / 2;

/**
 * What waits to be written to one connection, in as few and as large pieces as possible: frames that lie next to each
 * other in the slab leave as one. A frame that has to wait for a slow reader must not keep memory that is much larger
 * than itself: other connections fill a slab for each frame of this one.
 */
export class Outbox {
  /** Bytes waiting. */
  bytes = 0;

  #pieces: Uint8Array[] = [];
  #buffer: Buffer | undefined;
  #start = 0;
  #end = 0;
  /** Memory that was handed over, or waits. */
  #slabs: Slab[] = [];
  /** Memory of copies, filled up to `#copiesEnd`. */
  #copies: Buffer | undefined;
  #copiesEnd = 0;

  /** @param isBlocked the socket does not accept more now */
  append(frame: EncodedFrame, isBlocked = false): void {
    const { buffer, slab } = frame;
    this.bytes += frame.size;
    const isCopied = isBlocked && (frame.end - frame.start) * 2 < buffer.length;
    if (isBlocked) {
      if (!isCopied) slab.retain(); // for good, see `wait`
    } else if (this.#slabs.at(-1) !== slab) {
      this.#slabs.push(slab);
      slab.retain();
    }
    let { start } = frame;
    for (const { at, bytes } of frame.splices) {
      this.#put(buffer, start, at, isCopied);
      this.#closePiece();
      this.#pieces.push(bytes);
      start = at;
    }
    this.#put(buffer, start, frame.end, isCopied);
  }

  /** Hands over everything that waits. */
  take(): Uint8Array[] {
    this.bytes = 0;
    return this.#takePieces();
  }

  /**
   * The socket does not accept more now. Returns the bytes of `pieces`, which were handed over and have to wait, in memory that may be kept.
   * The slabs that they came from are not written again: a reader that is never done would keep a
   * list of all that it was ever sent.
   */
  wait(pieces: readonly Uint8Array[]): Uint8Array[] {
    this.#slabs = [];
    for (const piece of pieces) {
      if (piece.length < SMALL_BYTES && piece.length * 2 < piece.buffer.byteLength) {
        this.#copy(piece);
      } else {
        this.#closePiece();
        this.#pieces.push(piece);
      }
    }
    return this.#takePieces();
  }

  /** Everything that was handed over has been sent, and nothing waits: its memory may be written again. */
  release(): void {
    for (const slab of this.#slabs) slab.release();
    this.#slabs = [];
    this.#copies = undefined;
  }

  #takePieces(): Uint8Array[] {
    this.#closePiece();
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  #put(buffer: Buffer, start: number, end: number, isCopied: boolean): void {
    if (isCopied) this.#copy(buffer.subarray(start, end));
    else this.#extend(buffer, start, end);
  }

  #copy(bytes: Uint8Array): void {
    if (!this.#copies || this.#copies.length - this.#copiesEnd < bytes.length) {
      this.#copies = Buffer.allocUnsafeSlow(Math.max(COPIES_BYTES, bytes.length));
      this.#copiesEnd = 0;
    }
    const start = this.#copiesEnd;
    this.#copiesEnd += bytes.length;
    this.#copies.set(bytes, start);
    this.#extend(this.#copies, start, this.#copiesEnd);
  }

  #extend(buffer: Buffer, start: number, end: number): void {
    if (buffer === this.#buffer && start === this.#end) {
      this.#end = end;
      return;
    }
    this.#closePiece();
    this.#buffer = buffer;
    this.#start = start;
    this.#end = end;
  }

  #closePiece(): void {
    if (this.#buffer && this.#end > this.#start)
      this.#pieces.push(this.#buffer.subarray(this.#start, this.#end));
    this.#buffer = undefined;
  }
}
