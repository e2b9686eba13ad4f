import { tooLarge } from './encode-fault.js';
import type { Splice } from './bytes/encoded-frame.js';
import { DEFAULT_FRAME_LIMITS, type SendLimits } from './limits.js';
import { Slab, SLAB_BYTES } from './bytes/slab.js';

/** Byte arrays from this size on are copied into memory of their own, not into the slab: that would have to grow. */
const SPLICE_BYTES = 64 * 1024;

/** A short text reserves three bytes a character, and a number nine: a frame may seem that much larger than it is. */
const RESERVE_SLACK = 256;

const NO_SPLICES: readonly Splice[] = [];

/** The memory that a frame is written into, from `start` to `end`. */
export abstract class SlabWriter {
  slab = new Slab();
  buffer = this.slab.buffer;
  start = 0;
  end = 0;
  splices: readonly Splice[] = NO_SPLICES;

  protected limits: SendLimits = DEFAULT_FRAME_LIMITS;
  /** Bytes of all splices. */
  protected spliced = 0;
  protected splicing = true;
  /** Byte arrays belong to the caller, who may change them as soon as the frame was written. */
  protected copying = true;

  /** A new frame goes after the last one, or to the start of memory that is no longer in use. */
  protected place(): void {
    if (this.buffer.length > SLAB_BYTES) {
      // a small frame that waits must not keep the memory of a large one
      this.#take(new Slab());
      this.end = 0;
    } else if (this.slab.isFree) this.end = 0;
    this.slab.isFree = false;
    this.start = this.end;
  }

  protected dropSplices(): void {
    this.splices = NO_SPLICES;
    this.spliced = 0;
  }

  /** Makes room; a frame that outgrows the slab moves to a larger one. */
  protected reserve(bytes: number): void {
    if (this.end + bytes > this.buffer.length) this.#grow(bytes);
  }

  protected byte(byte: number): void {
    this.reserve(1);
    this.buffer[this.end++] = byte;
  }

  protected raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.end);
    this.end += bytes.length;
  }

  protected rawOrSplice(bytes: Uint8Array): void {
    if (bytes.length < SPLICE_BYTES || !this.splicing) return this.raw(bytes);
    const { maxFrameBytes } = this.limits;
    if (this.end - this.start + this.spliced + bytes.length > maxFrameBytes) throw tooLarge(this.limits);
    this.splices = [...this.splices, { at: this.end, bytes: this.copying ? copyOf(bytes) : bytes }];
    this.spliced += bytes.length;
  }

  #grow(bytes: number): void {
    const used = this.end - this.start;
    const { maxFrameBytes } = this.limits;
    // short texts reserve more than they need
    if (used + this.spliced + bytes > maxFrameBytes + RESERVE_SLACK) throw tooLarge(this.limits);
    const next = new Slab(Math.max(SLAB_BYTES, used * 2 + bytes));
    this.buffer.copy(next.buffer, 0, this.start, this.end);
    if (this.spliced > 0) {
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
}

function copyOf(bytes: Uint8Array): Uint8Array {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
