import { Packr } from 'msgpackr';
import { median } from './rows.js';
import { table } from './table.js';

/** Decodes one frame from the pieces that a socket would deliver, with a new decoder. */
export type Feed = (chunks: Buffer[]) => void;

/** Cost of one frame in pieces of one size. */
export interface DecoderRow {
  frameMiB: number;
  pieces: string;
  pieceCount: number;
  /** CPU time of one frame, median of the repetitions. */
  cpuMs: number;
  /** Relative to the same frame in one piece. */
  toOnePiece: number;
  /** Relative to the smallest frame in pieces of this size, per byte: 1 if the cost is linear in the bytes. */
  perByteToSmallest: number;
}

const MIB = 1024 * 1024;
const FRAME_MIB = [4, 16];
const REPETITIONS = 5;

const PIECES: readonly { label: string; bytes: number }[] = [
  { label: 'one piece', bytes: Number.POSITIVE_INFINITY },
  { label: '64 KiB', bytes: 64 * 1024 },
  // The payload of a TCP segment in an Ethernet frame
  { label: '1448 B', bytes: 1448 },
];

/** Measures the CPU time that a decoder needs for long frames of small rows, whole and in pieces. */
export function measureDecoder(feed: Feed): DecoderRow[] {
  warmUp(feed);
  const rows: DecoderRow[] = [];
  for (const frameMiB of FRAME_MIB) {
    const frame = frameOfRows(frameMiB * MIB);
    for (const { label, bytes } of PIECES) {
      const chunks = cut(frame, bytes);
      const cpuMs = median(Array.from({ length: REPETITIONS }, () => cpuMsOf(() => feed(chunks))));
      const onePiece = rows.find((row) => row.frameMiB === frameMiB)?.cpuMs ?? cpuMs;
      const smallest = rows.find((row) => row.pieces === label);
      const perByte = smallest ? cpuMs / smallest.cpuMs / (frameMiB / smallest.frameMiB) : 1;
      rows.push({
        frameMiB,
        pieces: label,
        pieceCount: chunks.length,
        cpuMs,
        toOnePiece: cpuMs / onePiece,
        perByteToSmallest: perByte,
      });
    }
  }
  return rows;
}

/** The rows of {@link measureDecoder} for the terminal. */
export function decoderReport(rows: readonly DecoderRow[]): string {
  return table(
    ['frame', 'pieces', 'count', 'CPU ms', 'to one piece', `per byte, to ${FRAME_MIB[0]} MiB`],
    rows.map((row) => [
      `${row.frameMiB} MiB`,
      row.pieces,
      String(row.pieceCount),
      row.cpuMs.toFixed(1),
      row.toOnePiece.toFixed(2),
      row.perByteToSmallest.toFixed(2),
    ]),
  );
}

/** The targets of a decoder, and the measured values. */
export function decoderTargets(rows: readonly DecoderRow[]): string {
  const cpuMs = (frameMiB: number, pieces: string): number =>
    rows.find((row) => row.frameMiB === frameMiB && row.pieces === pieces)?.cpuMs ?? Number.NaN;
  const inPieces = cpuMs(4, '1448 B') / cpuMs(4, 'one piece');
  const fourTimes = cpuMs(16, '1448 B') / cpuMs(4, '1448 B');
  return [
    `4 MiB in pieces of 1448 B to one piece: ${inPieces.toFixed(2)} (at most 2.5)`,
    `16 MiB to 4 MiB, in pieces of 1448 B: ${fourTimes.toFixed(2)} (at most 4.4)`,
  ].join('\n');
}

function warmUp(feed: Feed): void {
  const frame = frameOfRows(MIB);
  for (let i = 0; i < REPETITIONS; i++) {
    for (const { bytes } of PIECES) feed(cut(frame, bytes));
  }
}

/** The frame of an answer whose body is a list of rows, of about the given length. */
function frameOfRows(bytes: number): Buffer {
  const packr = new Packr({ useRecords: false });
  const sample = Array.from({ length: 1000 }, (_, i) => dataRow(i + 100_000));
  const rowBytes = packr.pack(sample).length / sample.length;
  return packr.pack([101, 3, {}, Array.from({ length: Math.round(bytes / rowBytes) }, (_, i) => dataRow(i))]);
}

function dataRow(id: number): object {
  return { id, name: `row ${id}`, active: id % 2 === 0, score: id / 8 };
}

/** Copies, as every chunk that a socket reads is memory of its own. */
function cut(frame: Buffer, bytes: number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < frame.length; at += bytes) chunks.push(Buffer.from(frame.subarray(at, at + bytes)));
  return chunks;
}

function cpuMsOf(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
