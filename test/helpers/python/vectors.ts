import { readFileSync } from 'node:fs';
import type { RawFrame } from '../raw-socket.js';

/** One frame of a recorded conversation, or the end of one side's half of it. */
export type VectorStep =
  | {
      readonly from: 'client' | 'server';
      readonly bytes: Buffer;
      readonly frame: RawFrame;
      readonly eof?: never;
    }
  | { readonly from: 'client' | 'server'; readonly eof: true };

/** A frame of a recorded conversation. */
export type VectorFrame = Extract<VectorStep, { bytes: Buffer }>;

/**
 * A conversation between a Python client and a Python server, as it was on the wire. `bytes` is what counts; `frame`
 * says the same for people, with `Buffer` for bytes and `bigint` for integers that a number does not hold exactly.
 */
export function loadVector(name: 'plain' | 'limit' | 'drain' | 'crypto'): VectorStep[] {
  const file = new URL(`../../fixtures/vectors/${name}.json`, import.meta.url);
  const { frames } = JSON.parse(readFileSync(file, 'utf8')) as {
    frames: { from: 'client' | 'server'; hex?: string; frame?: unknown; eof?: true }[];
  };
  return frames.map(({ from, hex, frame }): VectorStep => {
    if (hex === undefined) return { from, eof: true };
    return { from, bytes: Buffer.from(hex, 'hex'), frame: revive(frame) as RawFrame };
  });
}

/** The frames of a vector that `side` sent. */
export function framesFrom(steps: readonly VectorStep[], side: 'client' | 'server'): VectorFrame[] {
  return steps.filter((step): step is VectorFrame => step.from === side && !step.eof);
}

/** The bytes of a frame under another id. Both ids must be below 128. */
export function withId(bytes: Buffer, id: number): Buffer {
  const at = bytes[1] === 0xcc ? 3 : 2;
  if (id >= 0x80 || (bytes[at] as number) >= 0x80) throw new RangeError(`id ${id} needs more than one byte`);
  const copy = Buffer.from(bytes);
  copy[at] = id;
  return copy;
}

function revive(value: unknown): unknown {
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value))
    return BigInt(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(revive);
  const { $bin } = value as { $bin?: unknown };
  if (typeof $bin === 'string') return Buffer.from($bin, 'hex');
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, revive(child)]));
}
