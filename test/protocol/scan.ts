import { Fault } from '../../lib/protocol/fault.js';
import { DEFAULT_FRAME_LIMITS, type FrameLimits } from '../../lib/protocol/limits.js';
import { Scanner } from '../../lib/protocol/scanner.js';
import { everyCut, hex, pieces } from './frames.js';

/** Type 101, id 3, empty header: a body follows. */
export const HEAD = '94 65 03 80';
/** Type 101 and id 3: a header and a body follow. */
export const BEFORE_HEADER = '94 65 03';

/** An unsigned integer as this many bytes. */
export const uint = (value: number, bytes: number): string => value.toString(16).padStart(bytes * 2, '0');
export const ascii = (text: string): string => Buffer.from(text, 'latin1').toString('hex');
export const str16 = (length: number): string => `da ${uint(length, 2)} ${'61'.repeat(length)}`;
export const bin16 = (length: number): string => `c5 ${uint(length, 2)} ${'00'.repeat(length)}`;
export const array16 = (count: number, item: string): string => `dc ${uint(count, 2)} ${item.repeat(count)}`;
/** A map of `count` keys of three bytes, each with this value. */
export const map16 = (count: number, value: string): string => {
  const keys = Array.from({ length: count }, (_, i) => `a3 ${ascii(uint(i, 2).slice(1))}`);
  return `de ${uint(count, 2)} ${keys.map((key) => `${key} ${value}`).join(' ')}`;
};

export interface ScanResult {
  /** Ends of the frames, counted from the first byte of all. */
  readonly ends: number[];
  readonly fault: string | undefined;
  /** Bytes that the scanner had been given when it refused them. */
  readonly faultAt: number;
  readonly scanner: Scanner;
}

/** Scans chunks as the decoder does. */
export function scanAll(chunks: readonly Buffer[], limits: Partial<FrameLimits> = {}): ScanResult {
  const scanner = new Scanner({ ...DEFAULT_FRAME_LIMITS, ...limits });
  const all = Buffer.concat(chunks);
  const ends: number[] = [];
  let before = 0;
  let given = 0;
  try {
    for (const chunk of chunks) {
      given += chunk.length;
      for (let pos = 0; pos < chunk.length;) {
        const resumed = scanner.midFrame;
        const end = scanner.scan(chunk, pos);
        if (end < 0) break;
        if (resumed) scanner.verify(all.subarray(ends.at(-1) ?? 0, before + end));
        ends.push(before + end);
        pos = end;
      }
      before += chunk.length;
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    expect(error.status).toBe(1003);
    return { ends, fault: error.message, faultAt: given, scanner };
  }
  return { ends, fault: undefined, faultAt: -1, scanner };
}

export interface ScanOptions {
  readonly limits?: Partial<FrameLimits>;
  /** Ways to cut the frame; all of them by default. */
  readonly cuts?: (bytes: Buffer) => Iterable<Buffer[]>;
  /** Bytes after which a frame that comes byte by byte must be refused. */
  readonly at?: number | undefined;
}

/** The frame ends at its last byte, however it is cut. */
export function accepts(digits: string, { limits, cuts = everyCut }: ScanOptions = {}): void {
  const bytes = hex(digits);
  for (const chunks of cuts(bytes)) {
    const { scanner, ends, fault } = scanAll(chunks, limits);
    const { midFrame, scannedBytes } = scanner;
    expect({ ends, fault, midFrame, scannedBytes }).toEqual({
      ends: [bytes.length],
      fault: undefined,
      midFrame: false,
      scannedBytes: bytes.length,
    });
  }
}

/** The frame is refused for this reason, however it is cut. */
export function refuses(
  digits: string,
  reason: string,
  { limits, cuts = everyCut, at }: ScanOptions = {},
): void {
  const bytes = hex(digits);
  for (const chunks of cuts(bytes)) {
    const { ends, fault } = scanAll(chunks, limits);
    expect({ ends, fault }).toEqual({ ends: [], fault: reason });
  }
  if (at !== undefined) expect(scanAll(pieces(bytes, 1), limits).faultAt).toBe(at);
}

/** A large frame in one piece, in pieces of odd sizes, and byte by byte. */
export function* fewCuts(bytes: Buffer): Generator<Buffer[]> {
  yield [bytes];
  for (const size of [1, 7, 1448]) yield pieces(bytes, size);
}
