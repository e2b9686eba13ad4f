import { isUtf8 } from 'node:buffer';
import { protocolFault } from './fault.js';

/** Shorter strings are checked byte by byte; for longer ones the native check is cheaper. */
const NATIVE_CHECK_BYTES = 48;

/** Digits of the largest index of an array, 2^32 - 2. */
const MAX_INDEX_DIGITS = 10;

/**
 * Checks a string in a frame.
 *
 * @returns whether msgpackr may change it: it may start with a byte order mark
 * @throws {@link Fault} 1003 if it is not UTF-8
 */
export function textNeedsCare(bytes: Buffer, start: number, length: number): boolean {
  const end = start + length;
  if (!(length < NATIVE_CHECK_BYTES && isAscii(bytes, start, end)) && !isUtf8(bytes.subarray(start, end)))
    throw protocolFault('a string is not UTF-8');
  return bytes[start] === 0xef;
}

function isAscii(bytes: Buffer, start: number, end: number): boolean {
  let bits = 0;
  for (let i = start; i < end; i++) bits |= bytes[i] as number;
  return bits < 0x80;
}

/**
 * Checks a string that is the key of a map.
 *
 * @returns whether it would touch a prototype, or may be an index to V8
 * @throws {@link Fault} 1003 if it would touch a prototype and is in a header
 */
export function keyNeedsCare(bytes: Buffer, start: number, length: number, inHeader: boolean): boolean {
  if (length > 0 && length <= MAX_INDEX_DIGITS && isDigit(bytes[start] as number)) return true;
  if (length !== 9 && length !== 11) return false;
  const key = bytes.toString('latin1', start, start + length);
  if (inHeader && (key === '__proto__' || key === 'prototype' || key === 'constructor'))
    throw protocolFault(`header key ${key}`);
  return key === '__proto__';
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
