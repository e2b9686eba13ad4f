/** Memory that small frames of all connections are written into, one after another. */
export const SLAB_BYTES = 64 * 1024;

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
