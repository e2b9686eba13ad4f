import type { Socket } from 'node:net';
import type { Clock, Timer } from '../protocol/clock.js';
import type { EncodedFrame } from '../protocol/bytes/encoded-frame.js';
import { Fault } from '../protocol/fault.js';
import type { FrameSeal } from '../protocol/frame-seal.js';
import { Outbox } from '../protocol/bytes/outbox.js';
import { RecordWriter } from '../protocol/record.js';
import { nextTick, setImmediate } from './runtime.js';

/** Bytes that are given to the socket at a time. A batch that is taken is progress: a slow reader is not a dead one. */
const BATCH_BYTES = 64 * 1024;

/**
 * A stall is a number of checks in a row without progress. A check that is late, because this process or the whole machine
 * was blocked, counts as one, however much time has passed: the peer gets the rest of its time.
 */
const STALL_LOOKS = 4;

/** A batch of more pieces is copied into one: each may keep a slab alive while the socket does not take it. */
const MAX_PIECES = 4;

export interface SocketWriterOptions {
  readonly clock: Clock;
  /** Time in which a blocked socket must take a batch. */
  readonly stallTimeoutMs: number;
  /** The kernel has taken everything that was written. */
  readonly onDrain: () => void;
  /** A batch was not taken in time. */
  readonly onStall: () => void;
  /** Nothing more can be sealed. */
  readonly onUnsealable: (fault: Fault) => void;
}

/**
 * The writing half of a connection. Frames of one tick are written at once; while the kernel does not accept more, they wait
 * here, so that they are counted.
 */
export class SocketWriter {
  readonly #outbox = new Outbox();
  /** Pieces that have left the outbox and wait for the socket. */
  #pieces: Uint8Array[] = [];
  #piecesBytes = 0;
  #scheduled = false;
  #blocked = false;
  #ending = false;
  #stall: Timer | undefined;
  #looksLeft = 0;
  #records: RecordWriter | undefined;
  readonly #flushSoon = (): void => this.#flush();

  constructor(
    private readonly socket: Socket,
    private readonly options: SocketWriterOptions,
  ) {}

  /** Bytes that the kernel has not taken. */
  get pendingBytes(): number {
    return this.#outbox.bytes + this.#piecesBytes + this.socket.writableLength;
  }

  write(frame: EncodedFrame): void {
    this.#outbox.append(frame, this.#blocked);
    if (this.#scheduled || this.#blocked) return;
    this.#scheduled = true;
    nextTick(this.#flushSoon);
  }

  /** From now on, everything is written in sealed records. What waits is written first, unsealed. */
  secure(seal: FrameSeal): void {
    for (const piece of [...this.#pieces, ...this.#outbox.take()]) this.socket.write(piece);
    this.#pieces = [];
    this.#piecesBytes = 0;
    this.#records = new RecordWriter(seal);
  }

  /** Closes the socket after everything was written. */
  end(): void {
    this.#ending = true;
    this.#flush();
  }

  stop(): void {
    this.#stall?.cancel();
    this.#stall = undefined;
    this.#pieces = [];
    this.#piecesBytes = 0;
  }

  #flush(): void {
    this.#scheduled = false;
    if (this.#blocked || this.socket.destroyed) return;
    const bytes = this.#outbox.bytes;
    if (bytes > 0) {
      const pieces = this.#outbox.take();
      if (this.#piecesBytes === 0) this.#pieces = pieces;
      else this.#pieces.push(...pieces);
      this.#piecesBytes += bytes;
    }
    try {
      while (this.#piecesBytes > 0 && !this.#blocked) this.#writeBatch();
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return this.options.onUnsealable(error);
    }
    if (this.#blocked) return;
    this.#outbox.release();
    if (this.#ending) this.socket.end();
    else this.options.onDrain();
  }

  #writeBatch(): void {
    const batch = this.#records
      ? [this.#records.record(this.#takeBatch(this.#records.room))]
      : joined(this.#takeBatch(BATCH_BYTES));
    if (batch.length === 1) this.socket.write(batch[0] as Uint8Array, this.#written);
    else {
      this.socket.cork();
      batch.forEach((piece, i) =>
        this.socket.write(piece, i === batch.length - 1 ? this.#written : undefined),
      );
      this.socket.uncork();
    }
    if (this.socket.writableLength === 0) {
      this.#records?.sent();
      return;
    }
    this.#blocked = true;
    this.#pieces = this.#outbox.wait(this.#pieces);
    this.#looksLeft = STALL_LOOKS;
    this.#lookLater();
  }

  #lookLater(): void {
    this.#stall = this.options.clock.after(this.options.stallTimeoutMs / STALL_LOOKS, this.#onTime);
  }

  /** Sockets are polled before the last check decides: what the peer has read may not be known here yet. */
  readonly #onTime = (): void => {
    this.#looksLeft -= 1;
    if (this.#looksLeft > 0) return this.#lookLater();
    const timer = this.#stall;
    setImmediate(() => {
      if (timer && this.#stall === timer) this.options.onStall();
    });
  };

  /** The next pieces, at most `bytes` bytes together; a larger piece is split. */
  #takeBatch(bytes: number): Uint8Array[] {
    const batch: Uint8Array[] = [];
    let room = bytes;
    let taken = 0;
    for (const piece of this.#pieces) {
      if (piece.length > room) {
        batch.push(piece.subarray(0, room));
        this.#pieces[taken] = piece.subarray(room);
        room = 0;
        break;
      }
      batch.push(piece);
      room -= piece.length;
      taken += 1;
      if (room === 0) break;
    }
    this.#pieces.splice(0, taken);
    this.#piecesBytes -= bytes - room;
    return batch;
  }

  readonly #written = (error?: Error | null): void => {
    if (error || !this.#blocked) return; // an error closes the socket, and is reported there
    if (this.socket.writableLength > 0) return;
    this.#stall?.cancel();
    this.#stall = undefined;
    this.#records?.sent();
    this.#blocked = false;
    this.#flush();
  };
}

function joined(pieces: Uint8Array[]): Uint8Array[] {
  if (pieces.length <= MAX_PIECES) return pieces;
  const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
  const whole = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return [whole];
}
