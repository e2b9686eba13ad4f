import { OWN_CLASSES, RapError, RegisteredError } from './errors.js';
import {
  addRegistered,
  registeredClass,
  registeredName,
  type RegistrableError,
} from './registered-errors.js';

/** Longer names are cut on the wire, and would not be recognised. */
const MAX_NAME_BYTES = 128;

/**
 * Registers an error class of the application under its name: if a handler throws it, the caller gets this class with status,
 * code, message and details. Call it in both processes, in code that they share. Without it the caller gets the class of
 * the status, with the same fields.
 *
 *     export class OutOfStockError extends RapError {
 *       constructor(message: string, options?: RapErrorOptions) {
 *         super(message, { code: 'ERR_OUT_OF_STOCK', httpStatus: 409, ...options });
 *       }
 *     }
 *     registerError(OutOfStockError);
 *
 * The caller's error is made with `new Class(message, options)`. A class with another constructor has a static
 * `fromRap(fields)`. If either throws, or returns something else, the caller gets the class of the status.
 *
 * @param options.name the name on the wire; default the name of the class. Set it if a bundler renames classes.
 * @returns the class
 * @throws RegisteredError if it is not a class that extends `RapError`, or another class has the name
 */
export function registerError<C extends RegistrableError>(Class: C, options: { name?: string } = {}): C {
  if (!isRapErrorClass(Class)) {
    throw new RegisteredError(`registerError: ${describe(Class)} is not a class that extends RapError`);
  }
  const name: unknown = options.name ?? Class.name;
  if (typeof name !== 'string' || name === '') {
    throw new RegisteredError(
      'registerError: a class without a name needs one: registerError(Class, { name })',
    );
  }
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw new RegisteredError(
      `registerError: the name "${name.slice(0, 64)}..." has more than ${MAX_NAME_BYTES} bytes`,
    );
  }
  if (OWN_CLASSES.has(name)) {
    throw new RegisteredError(`registerError: ${name} is the name of a class of nestjs-rap`);
  }
  const other = registeredClass(name);
  if (other !== undefined && other !== Class) {
    throw new RegisteredError(
      `registerError: another class is registered as ${name} already; if a bundler has renamed them, name each: registerError(Class, { name })`,
    );
  }
  const otherName = registeredName(Class);
  if (otherName !== undefined && otherName !== name) {
    throw new RegisteredError(`registerError: the class ${name} is registered as ${otherName} already`);
  }
  addRegistered(name, Class);
  return Class;
}

function isRapErrorClass(value: unknown): boolean {
  return typeof value === 'function' && (value as { prototype?: unknown }).prototype instanceof RapError;
}

function describe(value: unknown): string {
  return typeof value === 'function' ? value.name || 'a function' : String(value);
}
