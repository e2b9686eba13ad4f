import { Encoder } from './encoder.js';
import { DEFAULT_FRAME_LIMITS } from './limits.js';
import { isObject } from './values/unknown.js';

/** Largest `details`, in bytes: they share the header with other things. */
const MAX_DETAILS_BYTES = 4096;
/** Deepest `details`, as deep as a body may be. Only those that are sent as JSON can reach it. */
const MAX_DETAILS_DEPTH = DEFAULT_FRAME_LIMITS.maxDepth;

/** The keys of `header.error` that carry details. */
export interface WireDetails {
  /** As they are: at most 4 KiB and two levels, which is as deep as a header goes. */
  details?: unknown;
  /** JSON, of those that are deeper. */
  details_json?: string;
}

/**
 * Puts details into the form in which they fit into a header. A list that is too long loses its end, everything else
 * that is too large is left out.
 */
export function packDetails(details: unknown): WireDetails {
  if (details === undefined) return {};
  if (fits(details)) return { details };
  const json = toJson(details);
  if (json !== undefined && isShort(json)) return { details_json: json };
  try {
    return Array.isArray(details) ? beginningOf(details) : {};
  } catch {
    return {}; // a list that cannot be read
  }
}

/** Whether details arrive as a whole. */
export function detailsTravel(details: unknown): boolean {
  if (details === undefined || fits(details)) return true;
  const json = toJson(details);
  return json !== undefined && isShort(json);
}

/** The details of a received `header.error`, within the limits of those that are sent: others are left out. */
export function unpackDetails({ details, details_json: json }: WireDetails): unknown {
  if (details !== undefined) return isSmall(details) ? details : undefined;
  if (typeof json !== 'string' || !isShort(json)) return undefined;
  try {
    const parsed = JSON.parse(json, withoutPrototype) as unknown;
    return isDeeper(parsed, MAX_DETAILS_DEPTH) ? undefined : parsed;
  } catch {
    return undefined;
  }
}

/** Whether details can go into a header: small and shallow enough, and of values that have a form on the wire. */
function fits(details: unknown): boolean {
  try {
    new Encoder().header({ error: { details } }, DEFAULT_FRAME_LIMITS);
    return isSmall(details);
  } catch {
    return false;
  }
}

/** @throws what cannot be encoded; what was received can */
function isSmall(details: unknown): boolean {
  return new Encoder().encode(details).length <= MAX_DETAILS_BYTES;
}

/** The first elements of a list, as many as fit. */
function beginningOf(list: readonly unknown[]): WireDetails {
  const kept: string[] = [];
  let bytes = 2;
  for (const element of list) {
    const json = toJson([element]);
    if (json === undefined) break;
    bytes += Buffer.byteLength(json) - 1; // without the brackets, with a comma
    if (bytes > MAX_DETAILS_BYTES) break;
    kept.push(json.slice(1, -1));
  }
  if (kept.length === 0) return {};
  const short = list.slice(0, kept.length);
  return fits(short) ? { details: short } : { details_json: `[${kept.join(',')}]` };
}

function isShort(json: string): boolean {
  return json.length <= MAX_DETAILS_BYTES && Buffer.byteLength(json) <= MAX_DETAILS_BYTES;
}

/** `undefined` for what has no form in JSON: a circular value, a getter that throws, a function. */
function toJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value, plain);
  } catch {
    return undefined;
  }
}

/** Values that JSON has no form for, as close as possible to what msgpack makes of them. */
function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Map) return Object.fromEntries(value);
  return value instanceof Set ? [...value] : value;
}

/** The receiver may merge details into another object. */
function withoutPrototype(key: string, value: unknown): unknown {
  return key === '__proto__' ? undefined : value;
}

function isDeeper(value: unknown, levels: number): boolean {
  if (!isObject(value)) return false;
  return levels === 0 || Object.values(value).some((each) => isDeeper(each, levels - 1));
}
