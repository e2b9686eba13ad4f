import { isObject } from '../../protocol/values/unknown.js';
import { pathText } from '../validation/issues.js';
import type { StandardIssue, StandardResult, StandardSchema } from '../validation/standard-schema.js';

/** A place of a value for which the schema requires a type that only peers with the extension `values` send. */
export interface Uncarried {
  /** As in messages: `items[0].at`. */
  readonly path: string;
  readonly segments: readonly PropertyKey[];
  readonly type: string;
}

/** Further issues are not examined. */
const MAX_ISSUES = 32;
/** Longer lists and maps are not converted to a Set or Map: a peer may choose keys that make this slow. */
const MAX_ENTRIES = 1024;
/** Deeper values cannot be sent. */
const MAX_DEPTH = 128;

/**
 * Finds the issues that are there because the connection does not carry `Date`, `bigint`, `Map`, `Set` and `URL`: those that
 * disappear when the substitute of such a value is converted back. That needs no knowledge of the schema.
 *
 * @param isKept only if the output of the schema has such a value, too
 */
export async function uncarriedIn(
  schema: StandardSchema,
  value: unknown,
  issues: readonly StandardIssue[],
  isKept = false,
): Promise<readonly Uncarried[]> {
  const found: Uncarried[] = [];
  const copies = new WeakSet<object>();
  let revived = value;
  for (const { path = [] } of issues.slice(0, MAX_ISSUES)) {
    const segments = path.map((segment) => (typeof segment === 'object' ? segment.key : segment));
    revived = replaced(revived, segments, copies, (standIn) => {
      const [type, made] = revive(standIn) ?? [];
      if (type === undefined) return standIn;
      found.push({ path: pathText(segments), segments, type });
      return made;
    });
  }
  if (found.length === 0) return found;
  const result = await validate(schema, revived);
  const left = new Set(result?.issues?.map(({ path = [] }) => pathText(path)));
  if (!result) return [];
  const isAsBefore = ({ segments, type }: Uncarried): boolean =>
    !result.issues && typeNameOf(at(result.value, segments)) === type;
  return found.filter((each) => !left.has(each.path) && (!isKept || isAsBefore(each)));
}

/** `undefined` if the schema itself fails. */
async function validate(
  schema: StandardSchema,
  value: unknown,
): Promise<StandardResult<unknown> | undefined> {
  try {
    return await schema['~standard'].validate(value);
  } catch {
    return undefined;
  }
}

/** The value with the part at a path replaced. Objects on the path are copied once. */
function replaced(
  value: unknown,
  path: readonly PropertyKey[],
  copies: WeakSet<object>,
  make: (value: unknown) => unknown,
): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return make(value);
  if (!isObject(value) || !Object.hasOwn(value, key)) return value;
  let copy = value as Record<PropertyKey, unknown>;
  if (!copies.has(copy)) {
    copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as typeof copy;
    copies.add(copy);
  }
  copy[key] = replaced(copy[key], rest, copies, make);
  return copy;
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let it = value;
  for (const key of path) it = (it as Record<PropertyKey, unknown> | null | undefined)?.[key];
  return it;
}

/** What the value may have been before it was sent. */
function revive(value: unknown): readonly [type: string, value: unknown] | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? ['bigint', BigInt(value)] : undefined;
  if (typeof value === 'string') {
    const date = new Date(value);
    if (date.toJSON() === value) return ['Date', date];
    return URL.canParse(value) ? ['URL', new URL(value)] : undefined;
  }
  if (!isObject(value)) return undefined;
  if (Array.isArray(value)) return value.length > MAX_ENTRIES ? undefined : ['Set', new Set(value)];
  const entries = isMapLike(value) ? Object.entries(value) : undefined;
  return entries && entries.length <= MAX_ENTRIES ? ['Map', new Map(entries)] : undefined;
}

/** What a peer without the extension gets in place of a value; the value itself if it has no substitute. */
export function plainOf(value: unknown): unknown {
  return new Plain().of(value);
}

class Plain {
  /** Bounds the work: a cyclic value, or one that is too large to send, fails when it is encoded. */
  #left = 1_000_000;

  of(value: unknown, depth = 0): unknown {
    if ((this.#left -= 1) < 0 || depth > MAX_DEPTH) return value;
    if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    if (!isObject(value)) return value;
    switch (typeNameOf(value)) {
      case 'Date':
      case 'URL':
        return (value as Date | URL).toJSON();
      case 'Set':
        return Array.from(value as Set<unknown>, (item) => this.of(item, depth + 1));
      case 'Map':
        return Object.fromEntries(
          Array.from(value as Map<unknown, unknown>, ([key, item]) => [
            String(key),
            this.of(item, depth + 1),
          ]),
        );
    }
    return Array.isArray(value) || isMapLike(value) ? this.#parts(value, depth) : value;
  }

  #parts(value: object, depth: number): unknown {
    const parts = value as Record<string, unknown>;
    let copy: Record<string, unknown> | undefined;
    for (const key of Object.keys(parts)) {
      const part = this.of(parts[key], depth + 1);
      if (Object.is(part, parts[key])) continue;
      copy ??= (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as Record<string, unknown>;
      copy[key] = part;
    }
    return copy ?? value;
  }
}

/** The places of a value with types that only the extension carries. */
export function extendedIn(value: unknown): readonly Uncarried[] {
  const found: Uncarried[] = [];
  const look = (part: unknown, segments: readonly PropertyKey[]): void => {
    if (found.length === MAX_ISSUES || segments.length > MAX_DEPTH) return;
    const type = typeNameOf(part);
    if (EXTENDED.has(type)) found.push({ path: pathText(segments), segments, type });
    else if (Array.isArray(part)) for (const [i, item] of part.entries()) look(item, [...segments, i]);
    else if (isObject(part) && isMapLike(part))
      for (const [key, item] of Object.entries(part)) look(item, [...segments, key]);
  };
  look(value, []);
  return found;
}

const EXTENDED: ReadonlySet<string> = new Set(['Date', 'bigint', 'Map', 'Set', 'URL']);

/** An object that is sent as a map of its fields. */
function isMapLike(value: object): value is Record<string, unknown> {
  return !ArrayBuffer.isView(value) && !('toJSON' in value) && typeNameOf(value) === 'Object';
}

/** `Date`, `Map`, `Object`, ..., of any realm; `bigint` and the like for a primitive. */
function typeNameOf(value: unknown): string {
  return typeof value === 'object' ? Object.prototype.toString.call(value).slice(8, -1) : typeof value;
}
