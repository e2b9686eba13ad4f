import { Fault } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import { DEFAULT_GROUP, formatTarget, parseTarget } from '../../protocol/target.js';
import { isObject } from '../../protocol/values/unknown.js';

/** Nest's `normalizePattern`. */
export type NormalizePattern = (pattern: never) => string;

/**
 * Target of a pattern, the same on either side:
 *
 * - `'sum'` is `/default/sum`, or `/<group>/sum` if a group is given
 * - `'/math/sum'` and `{ group: 'math', name: 'sum' }` are `/math/sum`
 * - any other object is Nest's normalised route as the name, such as `/default/{"cmd":"sum"}`
 *
 * @throws Fault with status 1004 if the pattern does not make a valid target
 */
export function targetOf(
  pattern: unknown,
  normalize: (pattern: never) => string,
  group = DEFAULT_GROUP,
): string {
  if (typeof pattern === 'string' && pattern.startsWith('/')) {
    const parts = parseTarget(pattern);
    if (parts) return formatTarget(parts.group, parts.name);
  }
  if (typeof pattern === 'symbol' || typeof pattern === 'function') {
    throw new Fault({
      status: Status.Registered,
      message: `Invalid pattern: a ${typeof pattern} makes no target`,
    });
  }
  if (isNamed(pattern)) return formatTarget(pattern.group ?? group, pattern.name);
  return formatTarget(group, normalize(pattern as never));
}

function isNamed(pattern: unknown): pattern is { name: string; group?: string } {
  if (!isObject(pattern)) return false;
  const { name, group } = pattern as { name?: unknown; group?: unknown };
  return typeof name === 'string' && typeof group === 'string' && Object.keys(pattern).length === 2;
}
