import { isObject } from '../../protocol/values/unknown.js';
import { bounded, MAX_DETAILS, pathText, type ValidationDetail } from '../validation/issues.js';

/** class-validator's `ValidationError`, also as a plain object. */
interface ValidationErrorLike {
  readonly property: string;
  readonly constraints?: Readonly<Record<string, unknown>>;
  readonly children?: readonly unknown[];
}

/** Errors nested deeper are cut: the tree follows a peer's data. */
const MAX_DEPTH = 32;
/** A text may hold a key of that data. Its path is looked for at its beginning. */
const MAX_READ = 1024;

/**
 * What Nest's validation pipes say, in the one form of this package: `ValidationPipe` gives texts that begin with the
 * path, `StandardSchemaValidationPipe` gives `path: message`, an `exceptionFactory` may hand on class-validator's own
 * errors. A text that shows no path keeps an empty one. `undefined` where nothing of it is known.
 */
export function validationDetails(reasons: readonly unknown[]): ValidationDetail[] | undefined {
  const details: ValidationDetail[] = [];
  for (const reason of reasons) {
    const isFull = details.length >= MAX_DETAILS; // no more than these will travel
    if (typeof reason === 'string') {
      if (!isFull) details.push(detailOfText(reason.slice(0, MAX_READ)));
    } else if (isValidationError(reason)) collect(reason, [], details);
    else return undefined;
  }
  return bounded(details);
}

/** Whether these are class-validator's errors. */
export function areValidationErrors(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length > 0 && value.every(isValidationError);
}

function isValidationError(value: unknown): value is ValidationErrorLike {
  if (typeof value !== 'object' || value === null) return false;
  const { property, constraints, children } = value as Record<string, unknown>;
  return (
    typeof property === 'string' &&
    (isObject(constraints) || (Array.isArray(children) && children.length > 0))
  );
}

function collect(error: ValidationErrorLike, above: readonly unknown[], into: ValidationDetail[]): void {
  if (above.length >= MAX_DEPTH || into.length >= MAX_DETAILS) return;
  const segments = [...above, segmentOf(error.property)];
  for (const message of Object.values(error.constraints ?? {})) {
    into.push({ path: pathText(segments), message: String(message) });
  }
  for (const child of error.children ?? []) if (isValidationError(child)) collect(child, segments, into);
}

const WORD = String.raw`[\p{ID_Start}$_\d][\p{ID_Continue}$]*`;
/** `address.each value in tags must be ...`: Nest writes the path of the parent before the text of class-validator. */
const CLASS_VALIDATOR = new RegExp(
  String.raw`^((?:${WORD}\.)*)(?:each value in (?:nested property )?|nested property |property )?(${WORD})` +
    String.raw`(?:'s)? (?:must|should|has|is|can|does|contains)\b`,
  'u',
);
const STANDARD = new RegExp(String.raw`^(${WORD}(?:\.${WORD})*): ([^]*)$`, 'u');

function detailOfText(text: string): ValidationDetail {
  const [, path, message] = STANDARD.exec(text) ?? [];
  if (path !== undefined && message !== undefined) return { path: dotted(path), message };
  const [, parents = '', property] = CLASS_VALIDATOR.exec(text) ?? [];
  return { path: property === undefined ? '' : dotted(parents + property), message: text };
}

function dotted(path: string): string {
  return pathText(path.split('.').map(segmentOf));
}

/** The index of an array is a property like any other to class-validator. */
function segmentOf(property: string): string | number {
  return /^\d{1,9}$/.test(property) ? Number(property) : property;
}
