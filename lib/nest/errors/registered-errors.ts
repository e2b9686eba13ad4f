import type { Fault } from '../../protocol/fault.js';
import { type RapError, type RapErrorOptions, shownStatus } from './errors.js';

/** What of an error came over the wire. */
export interface RapErrorFields extends RapErrorOptions {
  readonly message: string;
  readonly status: number;
  readonly code: string;
}

/** A class whose constructor takes what `RapError` takes, or that says itself how it is made. */
export type RegistrableError =
  | (new (message: string, options?: RapErrorOptions) => RapError)
  | ((new (...args: never[]) => RapError) & { fromRap(fields: RapErrorFields): RapError });

/** Classes of the application, by the name that travels, and the names by class. */
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
 * The error of a registered class that a fault came from. `undefined` where there is none, and where the class cannot
 * make one: a constructor that throws must not lose the answer.
 */
export function registeredErrorOf(fault: Fault): RapError | undefined {
  const Class = fault.errorName === undefined ? undefined : classes.get(fault.errorName);
  if (!Class) return undefined;
  const { message, status, code, details, httpStatus, remoteName, sent, phase, cause } = fault;
  const options = { status, code, details, httpStatus, remoteName, sent, phase, cause };
  try {
    const error =
      'fromRap' in Class ? Class.fromRap({ message, ...options }) : construct(Class, message, options);
    return error instanceof Class ? error : undefined;
  } catch {
    return undefined;
  }
}

/** Whatever the constructor does with its options, the error says what was sent. */
function construct(
  Class: new (message: string, options: RapErrorOptions) => RapError,
  message: string,
  options: RapErrorOptions & { readonly status: number },
): RapError {
  const { status: wireStatus, code, details, httpStatus } = options;
  const error = new Class(message, options);
  const status = shownStatus({ wireStatus, httpStatus });
  return Object.assign(error, { message, status, wireStatus, code, details, httpStatus });
}
