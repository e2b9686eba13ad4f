import type { Slab } from './slab.js';

/** A header that was encoded in advance, such as the target of a route that is called again and again. */
export class EncodedHeader {
  constructor(
    readonly bytes: Buffer,
    /** Values in it. */
    readonly items: number,
  ) {}
}

/** A byte array that goes between the encoded bytes at `at`. */
export interface Splice {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** The last frame that was written: `buffer` from `start` to `end`, with `splices` in between. */
export interface EncodedFrame {
  readonly buffer: Buffer;
  /** Whose memory `buffer` is: retain it while the frame waits. */
  readonly slab: Slab;
  readonly start: number;
  readonly end: number;
  /** Size on the wire, splices included. */
  readonly size: number;
  readonly splices: readonly Splice[];
}

/** The bytes from `start` to the frame's end, splices in their places: pieces that together are what goes on the wire. */
export function piecesFrom({ buffer, end, splices }: EncodedFrame, start: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let from = start;
  for (const { at, bytes } of splices) {
    pieces.push(buffer.subarray(from, at), bytes);
    from = at;
  }
  pieces.push(buffer.subarray(from, end));
  return pieces;
}

/** A copy of the bytes of a frame. */
export function bytesOf(frame: EncodedFrame): Buffer {
  return Buffer.concat(piecesFrom(frame, frame.start));
}
