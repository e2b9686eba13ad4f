import { inspect } from 'node:util';
import { nearestName } from './nearest-name.js';
import { isRecord } from './unknown.js';

/**
 * @param what owner of the options, for the message
 * @throws RangeError that names a key which is not an option, and the nearest that is
 */
export function assertNames(what: string, given: object, known: Readonly<Record<string, unknown>>): void {
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(known, name)) continue;
    const near = nearestOption(name, known);
    const hint = near === undefined ? '' : `; did you mean ${what}.${near}?`;
    throw new RangeError(`${what}.${name} is not an option${hint}`);
  }
}

/**
 * As `assertNames`, for what a function of the package is called with.
 *
 * @throws RangeError also if that is no object
 */
export function assertOptionsOf(
  what: string,
  given: unknown,
  known: Readonly<Record<string, unknown>>,
): asserts given is object {
  if (!isRecord(given))
    throw new RangeError(`${what}() needs an object with its options, got ${inspect(given, { depth: 0 })}`);
  assertNames(what, given, known);
}

/** The option whose name is nearest; `undefined` if none is alike. */
export function nearestOption(name: string, known: Readonly<Record<string, unknown>>): string | undefined {
  const names = Object.keys(known).map((each) => ({ name: each }));
  return nearestName(name, names)?.name;
}
