import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import type { EncodedFrame } from '../../lib/protocol/bytes/encoded-frame.js';
import { encodeFrame } from '../../lib/protocol/encoder.js';
import { Fault } from '../../lib/protocol/fault.js';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import type { Frame, Header } from '../../lib/protocol/frame.js';
import { DEFAULT_FRAME_LIMITS, type FrameLimits } from '../../lib/protocol/limits.js';

/** Bytes of a text of hex digits; white space is for the reader. */
export function hex(text: string): Buffer {
  const digits = text.replaceAll(/\s/g, '');
  if (digits.length % 2 === 1 || /[^0-9a-f]/.test(digits)) throw new Error(`not hex: ${text}`);
  return Buffer.from(digits, 'hex');
}

/** A frame of the recorded Python traffic. */
export interface Vector {
  readonly name: string;
  readonly bytes: Buffer;
  readonly frame: unknown[];
}

/** Every frame that was recorded, in order. */
export function vectors(): Vector[] {
  const folder = new URL('../fixtures/vectors/', import.meta.url);
  return readdirSync(folder).flatMap((file) => {
    // JSON.parse would round what does not fit a number
    const text = readFileSync(new URL(file, folder), 'utf8').replaceAll(
      /^( *(?:"[^"]*": )?)(-?\d{16,})(?=,?$)/gm,
      '$1{"$int":"$2"}',
    );
    const { frames } = JSON.parse(text, revive) as { frames: { hex?: string; frame: unknown[] }[] };
    return frames.flatMap(({ hex: digits, frame }, i) =>
      digits === undefined ? [] : [{ name: `${file} ${i}`, bytes: hex(digits), frame }],
    );
  });
}

function revive(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if ('$bin' in value) return hex(value.$bin as string);
  if (!('$int' in value)) return value;
  const exact = BigInt(value.$int as string);
  return Number.isSafeInteger(Number(exact)) ? Number(exact) : exact;
}

/** What a decoder gave for some chunks. */
export interface Outcome {
  readonly frames: Frame[];
  /** `frameBytes` of each frame. */
  readonly sizes: number[];
  readonly fault: Fault | undefined;
  /** Bytes that had been pushed when the fault came. */
  readonly faultAt: number;
}

export function decoderWith(limits: Partial<FrameLimits> = {}): FrameDecoder {
  const all = { ...DEFAULT_FRAME_LIMITS, ...limits };
  const decoder = new FrameDecoder(all);
  decoder.admit(all.maxFrameBytes);
  return decoder;
}

/** Pushes the chunks one by one and takes every frame as soon as it is there. */
export function decode(chunks: Iterable<Buffer>, decoder = decoderWith()): Outcome {
  const frames: Frame[] = [];
  const sizes: number[] = [];
  let pushed = 0;
  for (const chunk of chunks) {
    decoder.push(chunk);
    pushed += chunk.length;
    try {
      for (let frame = decoder.next(); frame; frame = decoder.next()) {
        frames.push(frame);
        sizes.push(decoder.frameBytes);
      }
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return { frames, sizes, fault: error, faultAt: pushed };
    }
  }
  return { frames, sizes, fault: undefined, faultAt: -1 };
}

/** Copies of the bytes in pieces of one size: each has memory of its own, as chunks of a socket have. */
export function pieces(bytes: Buffer, size: number): Buffer[] {
  const cuts = Array.from({ length: Math.ceil(bytes.length / size) - 1 }, (_, i) => (i + 1) * size);
  return cut(bytes, cuts);
}

/** Copies of the bytes, cut at these places. */
export function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [0, ...[...new Set(at)].toSorted((a, b) => a - b), bytes.length];
  return places
    .slice(1)
    .map((end, i) => Buffer.from(bytes.subarray(places[i], end)))
    .filter(({ length }) => length > 0);
}

/** The bytes whole, byte by byte, and cut in two at every place. */
export function* everyCut(bytes: Buffer): Generator<Buffer[]> {
  yield [Buffer.from(bytes)];
  yield pieces(bytes, 1);
  for (let at = 1; at < bytes.length; at++) yield cut(bytes, [at]);
}

/** An encoded frame as the bytes that go on the wire. */
export function wire({ buffer, start, end, splices }: EncodedFrame): Buffer {
  const parts: Uint8Array[] = [];
  let from = start;
  for (const { at, bytes } of splices) {
    parts.push(buffer.subarray(from, at), bytes);
    from = at;
  }
  return Buffer.concat([...parts, buffer.subarray(from, end)]);
}

/** The fault that `act` throws; anything else fails the test. */
export function faultOf(act: () => unknown): Fault {
  try {
    act();
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  throw new Error('no fault');
}

/** A frame as the encoder of this project writes it. */
export function encodeOwn([type, id, header, body]: readonly unknown[]): Buffer {
  return wire(encodeFrame(type as number, id as number, header as Header, body, DEFAULT_FRAME_LIMITS));
}

/** Frames that are encoded and then cut at random places decode to themselves, each with its size. */
export function decodesCut(
  list: readonly unknown[][],
  encode: (frame: readonly unknown[]) => Buffer,
  places: readonly number[],
): void {
  const encoded = list.map(encode);
  const bytes = Buffer.concat(encoded);
  const decoder = decoderWith();
  const { frames, sizes, fault } = decode(
    cut(
      bytes,
      places.map((place) => place % bytes.length),
    ),
    decoder,
  );
  assert.equal(fault, undefined);
  assert.deepEqual(frames, list);
  assert.deepEqual(
    sizes,
    encoded.map(({ length }) => length),
  );
  assert.equal(decoder.unfinishedBytes, 0);
}
