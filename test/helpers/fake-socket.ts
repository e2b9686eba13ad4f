import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

/** Memory that frames are written into is no larger; a larger one is sent from where it is, and tests look for it. */
const SLAB_BYTES = 64 * 1024;

/** A socket without a network: it shows each write that reaches the kernel, and takes as much as the test lets it. */
export class FakeSocket extends Duplex {
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort = 1;
  readonly localAddress = '127.0.0.1';
  readonly localPort = 2;
  /** What each write to the kernel held, piece by piece. */
  readonly writes: Buffer[][] = [];
  /** Whether the writing half was ended. */
  finished = false;

  #blocked = false;
  #waiting: (() => void)[] = [];

  constructor() {
    super({ allowHalfOpen: true });
  }

  /** Itself, as the code under test takes it. */
  get asSocket(): Socket {
    return this as unknown as Socket;
  }

  /** Everything that was written. */
  get written(): Buffer {
    return Buffer.concat(this.writes.flat());
  }

  setNoDelay(): this {
    return this;
  }

  /** The kernel takes nothing more: a write stays pending. */
  block(): void {
    this.#blocked = true;
  }

  /** The kernel takes what is pending; it goes on to block. */
  takeOne(): void {
    this.#waiting.shift()?.();
  }

  /** The kernel takes everything again. */
  unblock(): void {
    this.#blocked = false;
    for (const done of this.#waiting.splice(0)) done();
  }

  /** Bytes come in. Resolves when they have been handed on. */
  async arrive(...chunks: Buffer[]): Promise<void> {
    for (const chunk of chunks) this.push(chunk);
    await turn();
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.#take([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error) => void): void {
    this.#take(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: () => void): void {
    this.finished = true;
    done();
  }

  #take(pieces: Buffer[], done: () => void): void {
    const write = this.writes.push(pieces) - 1;
    // what was taken is the kernel's: the memory that it came from may be written again
    const taken = (): void => {
      this.writes[write] = pieces.map((piece) =>
        piece.buffer.byteLength > SLAB_BYTES ? piece : Buffer.from(piece),
      );
      done();
    };
    if (this.#blocked) this.#waiting.push(taken);
    else taken();
  }
}

/** Lets everything run that was due: microtasks, ticks and immediates. */
export function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
