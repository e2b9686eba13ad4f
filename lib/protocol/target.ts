import { Status } from './status.js';
import { Fault } from './fault.js';

/** The group of a function that does not name one. */
export const DEFAULT_GROUP = 'default';

/** Longest target in UTF-8 bytes: a limit of Python's rap. */
export const MAX_TARGET_BYTES = 256;

/** The two parts of a target `/<group>/<name>`. */
export interface TargetParts {
  readonly group: string;
  readonly name: string;
}

/**
 * Builds the target of a function.
 *
 * @throws {@link Fault} with status 1004 if a part is empty, the group holds a slash, or the whole is too long.
 */
export function formatTarget(group: string, name: string): string {
  const wrongGroup = 'the group must be text without "/"';
  // it comes from an application's options, and may be anything
  if (typeof group !== 'string') throw invalid(`/${typeof group}/${name}`, wrongGroup);
  const target = `/${group}/${name}`;
  if (group === '' || group.includes('/')) throw invalid(target, wrongGroup);
  if (name === '') throw invalid(target, 'the name is empty');
  if (Buffer.byteLength(target) > MAX_TARGET_BYTES) {
    throw invalid(target, `longer than ${MAX_TARGET_BYTES} bytes`);
  }
  return target;
}

/** Splits `/<group>/<name>`; the name may hold further slashes. `undefined` if the text is not a target. */
export function parseTarget(target: string): TargetParts | undefined {
  if (!target.startsWith('/')) return undefined;
  const slash = target.indexOf('/', 1);
  if (slash < 2 || slash === target.length - 1) return undefined;
  return { group: target.slice(1, slash), name: target.slice(slash + 1) };
}

function invalid(target: string, why: string): Fault {
  const shown = target.length > 80 ? `${target.slice(0, 80)}...` : target;
  return new Fault({ status: Status.Registered, message: `Invalid target "${shown}": ${why}` });
}
