import { setImmediate } from '../net/runtime.js';
import type { Clock, Timer } from '../protocol/clock.js';

/** Bytes that a kernel would hold for one direction of a connection: a writer waits while its reader is that far behind. */
const CAPACITY_BYTES = 256 * 1024;

interface Piece {
  /** `undefined`: the end. */
  readonly bytes: Buffer | undefined;
  /** When it arrives. */
  readonly at: number;
}

/** Takes a piece, or the end; false: no more for now. */
type Deliver = (bytes: Buffer | null) => boolean;

/** One direction of a connection in memory: bytes arrive in order, after the latency, while their reader takes them. */
export class OneWay {
  /** Called when the writer may go on. */
  #taken: (() => void) | undefined;
  #queue: Piece[] = [];
  #bytes = 0;
  #latencyMs = 0;
  #isStalled = false;
  #isWanted = false;
  #isScheduled = false;
  #timer: Timer | undefined;
  #deliver: Deliver | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly onMove: () => void,
  ) {}

  /** Sets who gets the bytes. */
  to(deliver: Deliver): void {
    this.#deliver = deliver;
  }

  /** Takes what was written, and calls back when there is room for more. What was written may change after that. */
  write(pieces: readonly Buffer[], taken: () => void): void {
    this.#taken = taken;
    for (const piece of pieces) this.#put(Buffer.from(piece));
    this.#release();
  }

  end(): void {
    this.#put(undefined);
  }

  /** The reader wants more. */
  want(): void {
    this.#isWanted = true;
    this.#schedule();
  }

  /** The reader has closed its end: what is still written goes nowhere. */
  drop(): void {
    this.#deliver = undefined;
    this.#timer?.cancel();
    this.#queue = [];
    this.#bytes = 0;
    this.#release();
  }

  /** Time of what is written from now on. */
  set latencyMs(ms: number) {
    this.#latencyMs = ms;
  }

  /** Whether the reader reads nothing, though it lives. */
  set isStalled(isStalled: boolean) {
    this.#isStalled = isStalled;
    this.#schedule();
  }

  /** What is on its way arrives now. */
  hurry(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const at = this.clock.now();
    this.#queue = this.#queue.map((piece) => ({ ...piece, at }));
    this.#schedule();
  }

  #put(bytes: Buffer | undefined): void {
    if (!this.#deliver) return;
    const last = this.#queue.at(-1);
    this.#queue.push({ bytes, at: Math.max(last?.at ?? 0, this.clock.now() + this.#latencyMs) });
    this.#bytes += bytes?.length ?? 0;
    this.#schedule();
  }

  /** As with a socket, bytes are delivered when the event loop comes to it, never while they are written. */
  #schedule(): void {
    if (this.#isScheduled || this.#timer || this.#queue.length === 0) return;
    this.#isScheduled = true;
    setImmediate(this.#pump);
  }

  readonly #pump = (): void => {
    this.#isScheduled = false;
    for (let next = this.#next(); next; next = this.#next()) {
      const waitMs = next.at - this.clock.now();
      if (waitMs > 0) {
        this.#timer ??= this.clock.after(waitMs, () => {
          this.#timer = undefined;
          this.#pump();
        });
        break;
      }
      this.#queue.shift();
      this.#bytes -= next.bytes?.length ?? 0;
      this.onMove();
      this.#isWanted = this.#deliver?.(next.bytes ?? null) ?? false;
    }
    this.#release();
  };

  #next(): Piece | undefined {
    return this.#isWanted && !this.#isStalled ? this.#queue[0] : undefined;
  }

  #release(): void {
    const taken = this.#taken;
    if (!taken || this.#bytes > CAPACITY_BYTES) return;
    this.#taken = undefined;
    taken();
  }
}
