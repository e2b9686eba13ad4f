import { isObject } from '../../protocol/values/unknown.js';
import { boundedText } from '../../protocol/wire-error.js';
import type { StandardIssue } from './standard-schema.js';

/** The path of an invalid value, and the reason: an item of the `details` of a `ParseError`. */
export interface ValidationDetail {
  /** Such as `items[0].name`; empty for the value as a whole. */
  readonly path: string;
  readonly message: string;
}

/** Details are sent in a header. The list is cut to fit. */
export const MAX_DETAILS = 32;
const MAX_DETAILS_BYTES = 3 * 1024;
const MAX_PATH_BYTES = 256;
const MAX_MESSAGE_BYTES = 256;
/** Overhead of a detail: its keys and its place in the list. */
const BYTES_AROUND = 24;
/** Longer paths are cut. */
const MAX_SEGMENTS = 64;

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;

/** The first issues, as many as fit. Nothing of an issue is trusted: it may contain text of the invalid value. */
export function detailsOf(issues: readonly StandardIssue[]): ValidationDetail[] {
  return bounded(issues.slice(0, MAX_DETAILS).map(detailOf));
}

/** Cuts texts and list so that they fit into a header. */
export function bounded(details: readonly ValidationDetail[]): ValidationDetail[] {
  const kept: ValidationDetail[] = [];
  let bytes = 0;
  for (const detail of details.slice(0, MAX_DETAILS)) {
    const path = boundedText(detail.path, MAX_PATH_BYTES);
    const message = boundedText(detail.message, MAX_MESSAGE_BYTES);
    bytes += Buffer.byteLength(path) + Buffer.byteLength(message) + BYTES_AROUND;
    if (bytes > MAX_DETAILS_BYTES) break;
    kept.push({ path, message });
  }
  return kept;
}

/** The details as one line, with the number of those that were cut. */
export function summaryOf(details: readonly ValidationDetail[], total: number): string {
  const lines = details.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`));
  const more = total > details.length ? ` (and ${total - details.length} more)` : '';
  const text = lines.length > 0 ? lines.join('; ') : 'the value is not valid';
  return boundedText(text, 900) + more;
}

/** `items[0].name`, `["a key"].b`. */
export function pathText(segments: readonly unknown[]): string {
  let text = '';
  for (const segment of segments.slice(0, MAX_SEGMENTS)) {
    const key = isObject(segment) ? (segment as { key?: unknown }).key : segment;
    if (typeof key === 'number') text += `[${key}]`;
    else if (typeof key !== 'string') text += `[${String(key)}]`;
    else if (IDENTIFIER.test(key)) text += text === '' ? key : `.${key}`;
    else text += `[${JSON.stringify(key.slice(0, MAX_PATH_BYTES))}]`;
  }
  return text;
}

function detailOf(issue: StandardIssue): ValidationDetail {
  try {
    const { path, message }: { path?: unknown; message: unknown } = issue;
    return { path: Array.isArray(path) ? pathText(path) : '', message: String(message) };
  } catch {
    return { path: '', message: 'not valid' };
  }
}
