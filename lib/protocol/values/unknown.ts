/** Anything but a primitive or a function: arrays and bytes too. */
export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** An object that is not an array. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return isObject(value) && !Array.isArray(value);
}

export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return isObject(value) && typeof (value as { then?: unknown }).then === 'function';
}

/** The message of what was thrown, which may be anything, for a log. */
export function textOf(thrown: unknown, maxChars = Infinity): string {
  try {
    return (thrown instanceof Error ? thrown.message : String(thrown)).slice(0, maxChars);
  } catch {
    return 'it cannot be shown';
  }
}
