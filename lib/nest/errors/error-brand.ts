/** On the prototype of each class of errors of this package: its name. `Symbol.for`, so that two copies agree. */
const BRAND = Symbol.for('nestjs-rap.errorClass');

const ordinary = Function.prototype[Symbol.hasInstance];

/** Marks a class of errors, so that {@link isInstance} knows those of another copy of the package. */
export function brand(Class: { readonly prototype: object }, name: string): void {
  Object.defineProperty(Class.prototype, BRAND, { value: name });
}

/**
 * `instanceof` that holds across copies of the package, as a monorepo may have them. A class of the application, which has
 * no brand of its own, has the ordinary one.
 */
export function isInstance(Class: { readonly prototype: object }, value: unknown): boolean {
  if (ordinary.call(Class, value)) return true;
  const name = brandOf(Class.prototype);
  if (name === undefined || typeof value !== 'object' || value === null) return false;
  try {
    let it = Object.getPrototypeOf(value) as object | null;
    for (; it; it = Object.getPrototypeOf(it) as object | null) if (brandOf(it) === name) return true;
  } catch {
    // what cannot even be asked is none
  }
  return false;
}

function brandOf(prototype: object | undefined): unknown {
  if (!prototype) return undefined;
  return Object.hasOwn(prototype, BRAND) ? (prototype as { [BRAND]?: unknown })[BRAND] : undefined;
}

/** Nest's `RpcException`, of whatever copy of Nest: what has been told of it is in `getError()`. */
export interface RpcExceptionLike extends Error {
  getError(): string | object;
}

/** By its method: an application may have more than one copy of `@nestjs/microservices`. */
export function isRpcException(error: unknown): error is RpcExceptionLike {
  return error instanceof Error && typeof (error as Partial<RpcExceptionLike>).getError === 'function';
}
