import type { Fault } from '../../protocol/fault.js';
import { type RapError, type RapErrorOptions, shownStatus } from './errors.js';

/** The fields of an error that came over the wire. */
export interface RapErrorFields extends RapErrorOptions {
  readonly message: string;
  readonly status: number;
  readonly code: string;
}

/** A class with the constructor of `RapError`, or with a static `fromRap`. */
export type RegistrableError =
  | (new (message: string, options?: RapErrorOptions) => RapError)
  | ((new (...args: never[]) => RapError) & { fromRap(fields: RapErrorFields): RapError });

/** Classes of the application by their names on the wire, and the names by class. */
const classes = new Map<string, RegistrableError>();
const names = new Map<unknown, string>();

export function registeredClass(name: string): RegistrableError | undefined {
  return classes.get(name);
}

/** The name under which a class was registered. */
export function registeredName(Class: unknown): string | undefined {
  return names.get(Class);
}

export function addRegistered(name: string, Class: RegistrableError): void {
  classes.set(name, Class);
  names.set(Class, name);
}

/**
 * The error of a fault whose class is registered. `undefined` if the class is not registered, or cannot make one: a
 * constructor that throws must not lose the answer.
 */
export function registeredErrorOf(fault: Fault): RapError | undefined {
  const Class = fault.errorName === undefined ? undefined : classes.get(fault.errorName);
  if (!Class) return undefined;
  const { message, status, code, details, httpStatus, remoteName, sent, phase, cause, retry } = fault;
  const options = { status, code, details, httpStatus, remoteName, sent, phase, cause, retry };
  try {
    const error =
      'fromRap' in Class ? Class.fromRap({ message, ...options }) : construct(Class, message, options);
    return error instanceof Class ? error : undefined;
  } catch {
    return undefined;
  }
}

/** The error has the fields that were sent, even if the constructor ignores its options. */
function construct(
  Class: new (message: string, options: RapErrorOptions) => RapError,
  message: string,
  options: RapErrorOptions & { readonly status: number },
): RapError {
  const { status: wireStatus, code, details, httpStatus, sent, retry } = options;
  const error = new Class(message, options);
  const status = shownStatus({ wireStatus, httpStatus });
  Object.assign(error, { message, status, wireStatus, code, details, httpStatus });
  // present only if they say something
  return Object.assign(error, sent && { sent }, retry === false && { retry });
}
