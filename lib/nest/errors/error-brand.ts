import { isObject } from '../../protocol/values/unknown.js';

/** Key of the class name on the prototype of each error class of this package. `Symbol.for`: all copies share it. */
const BRAND = Symbol.for('nestjs-rap.errorClass');

const ordinary = Function.prototype[Symbol.hasInstance];

/** Marks an error class, so that {@link isInstance} recognises errors of another copy of the package. */
export function brand(Class: { readonly prototype: object }, name: string): void {
  Object.defineProperty(Class.prototype, BRAND, { value: name });
}

/**
 * `instanceof` that works across copies of the package, as a monorepo may have. A class of the application has no brand of
 * its own, and keeps the ordinary `instanceof`.
 */
export function isInstance(Class: { readonly prototype: object }, value: unknown): boolean {
  if (ordinary.call(Class, value)) return true;
  const name = brandOf(Class.prototype);
  if (name === undefined || !isObject(value)) return false;
  try {
    let it = Object.getPrototypeOf(value) as object | null;
    for (; it; it = Object.getPrototypeOf(it) as object | null) if (brandOf(it) === name) return true;
  } catch {
    // a proxy that throws is not an instance
  }
  return false;
}

function brandOf(prototype: object | undefined): unknown {
  if (!prototype) return undefined;
  return Object.hasOwn(prototype, BRAND) ? (prototype as { [BRAND]?: unknown })[BRAND] : undefined;
}

/** Nest's `RpcException`, of any copy of Nest. `getError()` returns what it was made with. */
export interface RpcExceptionLike extends Error {
  getError(): string | object;
}

/** Recognised by its method: an application may have more than one copy of `@nestjs/microservices`. */
export function isRpcException(error: unknown): error is RpcExceptionLike {
  return error instanceof Error && typeof (error as Partial<RpcExceptionLike>).getError === 'function';
}
