import { Unpackr } from 'msgpackr';
import { carefulFrame, hasDuplicateKeys } from './values/careful-decode.js';
import { Fault, protocolFault } from './fault.js';
import { FrameOpener } from './frame-opener.js';
import { cryptoFault, type FrameSeal } from './frame-seal.js';
import { frameDefect, type Frame, type Header } from './frame.js';
import { ITEM_COST, type FrameLimits } from './limits.js';
import { Scanner } from './scanner.js';
import { Status } from './status.js';
import { Tail } from './bytes/tail.js';

/** Frames that are decoded at once: the most that a socket delivers before other sockets have their turn. */
const RUN_FRAMES = 64;

/** `auto`: 64-bit integers as numbers if they are exact. msgpackr's types do not list it. */
const OPTIONS = { useRecords: false, mapsAsObjects: true, int64AsType: 'auto' } as object;
/** Copies byte arrays: as a view of a chunk, sixteen bytes would keep 64 KiB alive. */
const copying = new Unpackr({ ...OPTIONS, copyBuffers: true });
/** Returns byte arrays as views. */
const viewing = new Unpackr(OPTIONS);

/**
 * Bytes in, frames out: a plain object without I/O. Push chunks as they come, take frames until there are none.
 *
 *     decoder.push(chunk);
 *     for (let frame = decoder.next(); frame; frame = decoder.next()) handle(frame, decoder.frameBytes);
 *
 * Whole frames are decoded in place in the chunk; only the tail of a chunk is kept. When more bytes come, the scan goes on
 * from there, never from the start of the tail.
 */
export class FrameDecoder {
  /** Size on the wire of the frame that `next` returned last. */
  frameBytes = 0;
  /** Memory that the frame that `next` returned last costs: its bytes, and `ITEM_COST` for each value in it. */
  frameCost = 0;
  /** The bytes of the frame that `next` returned last, until `admit`. */
  raw: Buffer | undefined;

  readonly #scanner: Scanner;
  readonly #tail = new Tail();
  #chunk: Buffer | undefined;
  #pos = 0;
  #runLimit = 1;
  #frames: unknown[] = [];
  #ends: number[] = [];
  #items: number[] = [];
  #index = 0;
  #fault: Fault | undefined;
  #opener: FrameOpener | undefined;
  /** One of the frames that are decoded now has maps in its header. */
  #hasNestedHeader = false;

  constructor(private readonly limits: FrameLimits) {
    this.#scanner = new Scanner(limits);
    this.#scanner.restrict();
  }

  /** DECLARE is done: frames may now be as large as `maxFrameBytes` allows, and are decoded many at a time. */
  admit(maxFrameBytes: number, allowsValues = false): void {
    this.#scanner.admit(maxFrameBytes);
    if (this.#opener) this.#opener.allowsValues = allowsValues;
    else this.#scanner.allowsValues = allowsValues;
    this.#runLimit = RUN_FRAMES;
    this.raw = undefined;
  }

  /** Frames are sealed from the next one on. Only before `admit`, while no frame is decoded ahead. */
  secure(seal: FrameSeal): void {
    this.#opener = new FrameOpener(seal, this.limits);
  }

  /** Takes back the pushed bytes that were not scanned yet; `undefined` if there are none. */
  takeRest(): Buffer | undefined {
    const rest = this.#chunk?.subarray(this.#pos);
    this.#chunk = undefined;
    return rest;
  }

  /** Bytes held of a frame that is not whole yet; 0 between frames. */
  get unfinishedBytes(): number {
    return this.#tail.length;
  }

  /** Memory that these bytes keep alive, for tests. */
  get heldBytes(): number {
    return this.#tail.heldBytes;
  }

  /** Bytes that were scanned to find the ends of frames, for tests. */
  get scannedBytes(): number {
    return this.#scanner.scannedBytes;
  }

  /** Takes bytes as they come. All frames of the last chunk must have been taken. */
  push(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#pos = 0;
  }

  /**
   * The next frame, or `undefined` if it is not whole yet.
   *
   * @throws {@link Fault} with status 1003 if the bytes are not a frame. All frames before have been returned then,
   * and none follows.
   */
  next(): Frame | undefined {
    if (this.#index === this.#frames.length && !this.#fill()) {
      if (this.#fault) throw this.#fault;
      return undefined;
    }
    const index = this.#index++;
    this.frameBytes = (this.#ends[index] as number) - (index === 0 ? 0 : (this.#ends[index - 1] as number));
    this.frameCost = this.frameBytes + ITEM_COST * (this.#items[index] as number);
    return this.#frames[index] as Frame;
  }

  /** Scans ahead over whole frames and decodes them together. @returns whether there is one */
  #fill(): boolean {
    this.#frames = [];
    this.#ends = [];
    this.#items = [];
    this.#index = 0;
    const chunk = this.#chunk;
    if (!chunk || this.#fault) return false;
    try {
      if (this.#opener) this.#opener.authentic = false;
      if (this.#scanner.midFrame) this.#finishTail(chunk);
      else this.#scanRun(chunk);
    } catch (error) {
      this.#fault = this.#faultOf(error);
    }
    if (this.#pos >= chunk.length) this.#chunk = undefined;
    return this.#frames.length > 0;
  }

  #finishTail(chunk: Buffer): void {
    const end = this.#scanner.scan(chunk, 0);
    this.#pos = end < 0 ? chunk.length : end;
    this.#tail.add(end < 0 ? chunk : chunk.subarray(0, end));
    if (end < 0) return;
    const bytes = this.#tail.take();
    this.#scanner.verify(bytes);
    this.#hasNestedHeader = this.#scanner.hasNestedHeader;
    if (this.#runLimit === 1) this.raw = bytes;
    if (this.#opener) return this.#addSealed(this.#opener, bytes, this.#scanner.bodyStart, bytes.length);
    this.#items.push(this.#scanner.items);
    this.#add(decodeOwn(bytes, this.#scanner), bytes, 0, bytes.length);
  }

  #scanRun(chunk: Buffer): void {
    if (this.#opener) return this.#openRun(this.#opener, chunk);
    const start = this.#pos;
    const ends: number[] = [];
    let runEnd = start;
    let careful = false;
    this.#hasNestedHeader = false;
    try {
      while (ends.length < this.#runLimit && this.#pos < chunk.length) {
        const end = this.#scanner.scan(chunk, this.#pos);
        if (end < 0) {
          this.#tail.add(chunk.subarray(this.#pos));
          this.#pos = chunk.length;
          break;
        }
        careful = this.#scanner.needsCare;
        if (careful && ends.length > 0) {
          // it is decoded in a run of its own, after the frames before it
          break;
        }
        runEnd = end;
        ends.push(end);
        this.#items.push(this.#scanner.items);
        this.#pos = end;
        this.#hasNestedHeader ||= this.#scanner.hasNestedHeader;
        if (careful) break;
      }
    } finally {
      if (ends.length > 0) this.#decodeRun(chunk.subarray(start, runEnd), careful && ends.length === 1);
    }
  }

  /** The same for sealed frames, which are opened and decoded one by one. */
  #openRun(opener: FrameOpener, chunk: Buffer): void {
    const start = this.#pos;
    for (let count = 0; count < this.#runLimit && this.#pos < chunk.length; count++) {
      opener.authentic = false;
      const end = this.#scanner.scan(chunk, this.#pos);
      if (end < 0) {
        this.#tail.add(chunk.subarray(this.#pos));
        this.#pos = chunk.length;
        return;
      }
      const frame = chunk.subarray(this.#pos, end);
      this.#pos = end;
      this.#hasNestedHeader = this.#scanner.hasNestedHeader;
      this.#addSealed(opener, frame, this.#scanner.bodyStart, end - start);
    }
  }

  #addSealed(opener: FrameOpener, frame: Buffer, bodyStart: number, wireEnd: number): void {
    const bytes = opener.open(frame, bodyStart);
    this.#items.push(opener.found.items);
    this.#add(decodeOwn(bytes, opener.found), bytes, 0, bytes.length, wireEnd);
  }

  #decodeRun(bytes: Buffer, careful: boolean): void {
    if (this.#runLimit === 1) this.raw = bytes;
    if (careful) this.#add(carefulFrame(bytes), bytes, 0, bytes.length);
    else
      copying.unpackMultiple(bytes, (value: unknown, start?: number, end?: number) =>
        this.#add(value, bytes, start as number, end as number),
      );
  }

  /** Checks what only the decoded frame shows, and queues it. */
  #add(value: unknown, bytes: Buffer, start: number, end: number, wireEnd = end): void {
    const frame = value as unknown[];
    const defect = frameDefect(frame);
    if (defect) throw protocolFault(defect);
    const header = frame[2] as Header;
    // duplicate keys have collapsed into one
    const at = headerStart(bytes, start);
    const declared = entriesAt(bytes, at);
    if (declared > 1 && Object.keys(header).length !== declared) throw protocolFault('duplicate header key');
    if (this.#hasNestedHeader && hasDuplicateKeys(bytes.subarray(at)))
      throw protocolFault('duplicate header key');
    this.#frames.push(frame);
    this.#ends.push(wireEnd);
  }

  #faultOf(error: unknown): Fault {
    const fault = error instanceof Fault ? error : undecodable(error);
    if (fault.status === Status.Crypto) return fault;
    // a frame that did not open may not be the peer's
    return this.#opener && !this.#opener.authentic ? cryptoFault(fault.message, fault) : fault;
  }
}

/**
 * Decodes a frame in memory of its own. Its byte arrays may be views if none of them is small: sixteen bytes that the
 * application keeps must not keep a frame of megabytes.
 */
function decodeOwn(bytes: Buffer, { needsCare, smallestBytes }: Scanner): unknown {
  if (needsCare) return carefulFrame(bytes);
  return (smallestBytes * 2 < bytes.length ? copying : viewing).unpack(bytes);
}

/** Offset of the header in the frame at `start`: after the array, type and id. */
function headerStart(bytes: Buffer, start: number): number {
  let pos = start + 1;
  for (let i = 0; i < 2; i++) {
    const token = bytes[pos] as number;
    pos += token < 0x80 ? 1 : 1 + 2 ** (token - 0xcc);
  }
  return pos;
}

/** Entries that the map at `pos` declares. */
function entriesAt(bytes: Buffer, pos: number): number {
  const token = bytes[pos] as number;
  if (token < 0x90) return token & 0x0f;
  return token === 0xde ? bytes.readUInt16BE(pos + 1) : bytes.readUInt32BE(pos + 1);
}

function undecodable(cause: unknown): Fault {
  return new Fault({ status: Status.Protocol, message: 'undecodable frame', cause });
}
