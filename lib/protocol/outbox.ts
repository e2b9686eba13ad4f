import type { EncodedFrame } from './encoded-frame.js';
import type { Slab } from './slab.js';

/**
 * What waits to be written to one connection, as few and as large pieces as can be: frames that lie next to each
 * other in the slab leave as one.
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

  append(frame: EncodedFrame): void {
    this.bytes += frame.size;
    if (this.#slabs.at(-1) !== frame.slab) {
      this.#slabs.push(frame.slab);
      frame.slab.retain();
    }
    let { start } = frame;
    for (const { at, bytes } of frame.splices) {
      this.#extend(frame.buffer, start, at);
      this.#closePiece();
      this.#pieces.push(bytes);
      start = at;
    }
    this.#extend(frame.buffer, start, frame.end);
  }

  /** Hands over everything that waits. */
  take(): Uint8Array[] {
    this.#closePiece();
    const pieces = this.#pieces;
    this.#pieces = [];
    this.bytes = 0;
    return pieces;
  }

  /** Everything that was handed over has been sent, and nothing waits: its memory may be written again. */
  release(): void {
    for (const slab of this.#slabs) slab.release();
    this.#slabs = [];
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
