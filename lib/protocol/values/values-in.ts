import { isObject } from './unknown.js';

/** Number of values in a decoded body, keys included, as a scanner counts them. Not for circular values. */
export function valuesIn(body: unknown): number {
  let count = 0;
  const parts: unknown[] = [body];
  while (parts.length > 0) {
    const part = parts.pop();
    count += 1;
    if (!isObject(part) || ArrayBuffer.isView(part)) continue;
    const values: unknown[] = Array.isArray(part) ? part : Object.values(part);
    if (!Array.isArray(part)) count += values.length;
    for (const value of values) parts.push(value);
  }
  return count;
}
