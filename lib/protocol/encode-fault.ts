import { Fault } from './fault.js';
import type { SendLimits } from './limits.js';
import { Status } from './status.js';
import { isObject } from './values/unknown.js';

/** Limits of the path to a value that cannot be sent. */
const MAX_STEPS = 8;
const MAX_PATH_CHARS = 200;

export function tooLarge({ maxFrameBytes, isPeers }: SendLimits): Fault {
  const why = isPeers
    ? `the peer takes at most ${maxFrameBytes} bytes (its limits.maxFrameBytes)`
    : `more than ${maxFrameBytes} bytes (limits.maxFrameBytes)`;
  return new Fault({
    status: Status.Protocol,
    code: 'ERR_RAP_FRAME_TOO_LARGE',
    message: `frame too large: ${why}`,
  });
}

export function tooManyItems(maxItems: number): Fault {
  return new Fault({
    status: Status.Protocol,
    code: 'ERR_RAP_FRAME_TOO_LARGE',
    message: `frame too large: more than ${maxItems} values (limits.maxItems)`,
  });
}

export function tooDeep(): RangeError {
  return new RangeError('nested too deep, or circular');
}

/** `instanceof` reads the prototype, at which a hostile proxy may throw. */
export function isFault(error: unknown): error is Fault {
  try {
    return error instanceof Fault;
  } catch {
    return false;
  }
}

/** A value that could not be encoded. */
export interface Unencodable {
  /** `header` or `body` */
  readonly what: string;
  readonly value: unknown;
  /** Whether a part can be encoded that lies `level` levels below `value`. */
  readonly encodes: (part: unknown, level: number) => boolean;
}

/** The error of a value that has no form on the wire, with the path to it. */
export function explain(error: unknown, { what, value, encodes }: Unencodable): Fault {
  return new Fault({
    status: Status.Server,
    code: 'ERR_RAP_UNSERIALIZABLE',
    message: `the ${what} cannot be sent: ${reasonOf(error)} at ${what}${locate(value, encodes)}`,
    cause: error,
  });
}

/** What was thrown may be anything, and reading it may throw again. */
function reasonOf(error: unknown): string {
  try {
    const message: unknown = error instanceof Error ? error.message : undefined;
    return typeof message === 'string' ? message : 'unreadable value';
  } catch {
    return 'unreadable value';
  }
}

/** Path from `value` to the innermost part that cannot be encoded, the first steps of it. */
function locate(value: unknown, encodes: Unencodable['encodes']): string {
  let path = '';
  for (let step = 1; step <= MAX_STEPS; step++) {
    const culprit = entriesOf(value).find(([, child]) => !encodes(child, step));
    if (!culprit) break;
    path += typeof culprit[0] === 'number' ? `[${culprit[0]}]` : `.${culprit[0]}`;
    value = culprit[1];
  }
  return path.slice(0, MAX_PATH_CHARS);
}

function entriesOf(value: unknown): [string | number, unknown][] {
  try {
    if (!isObject(value)) return [];
    return Array.isArray(value) ? value.map((item, i) => [i, item]) : Object.entries(value);
  } catch {
    return []; // a getter or a proxy throws: the path ends at this object
  }
}
