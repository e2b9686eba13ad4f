/** Smaller pieces of an unfinished frame are copied together, so that single bytes do not keep a chunk alive each. */
const COALESCE_BYTES = 4096;

/** Largest buffer that small pieces are copied together in. */
const MAX_SMALL_BYTES = 64 * 1024;

/** The bytes of an unfinished frame: large chunks by reference, small ones copied into one growing buffer. */
export class Tail {
  length = 0;
  #pieces: Buffer[] = [];
  #small: Buffer | undefined;
  #smallUsed = 0;

  get heldBytes(): number {
    return this.#pieces.reduce((sum, { buffer }) => sum + buffer.byteLength, this.#small?.length ?? 0);
  }

  add(piece: Buffer): void {
    this.length += piece.length;
    if (piece.length >= COALESCE_BYTES) {
      this.#closeSmall();
      this.#pieces.push(piece);
      return;
    }
    const small = this.#room(piece.length);
    piece.copy(small, this.#smallUsed);
    this.#smallUsed += piece.length;
  }

  /** Joins everything, once. */
  take(): Buffer {
    this.#closeSmall();
    const pieces = this.#pieces;
    const whole = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, this.length);
    this.#pieces = [];
    this.length = 0;
    return whole;
  }

  /** A buffer with room for `bytes` more; each is twice as large as the one before, so that the cost of copies is linear. */
  #room(bytes: number): Buffer {
    if (this.#small && this.#small.length - this.#smallUsed >= bytes) return this.#small;
    const size = Math.max(256, bytes, Math.min(this.length * 2, MAX_SMALL_BYTES));
    this.#closeSmall();
    this.#small = Buffer.allocUnsafeSlow(size);
    return this.#small;
  }

  #closeSmall(): void {
    if (this.#small && this.#smallUsed > 0) {
      const used = this.#small.subarray(0, this.#smallUsed);
      // one that stayed mostly empty gives its memory back
      this.#pieces.push(used.length * 2 < this.#small.length ? unpooledCopy(used) : used);
    }
    this.#small = undefined;
    this.#smallUsed = 0;
  }
}

/** A copy in memory of its own, not in Node's pool. */
function unpooledCopy(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
