/** Parts of a value that are looked at: more of them are never sent in one frame. */
const MAX_PARTS = 262_144;

/** About what a value holds in memory: its texts and byte arrays, and a little for each part. Circles end with the budget. */
export function roughSize(value: unknown): number {
  let bytes = 0;
  const parts: unknown[] = [value];
  for (let seen = 0; parts.length > 0 && seen < MAX_PARTS; seen++) {
    const part = parts.pop();
    bytes += 8;
    if (typeof part === 'string') bytes += part.length;
    else if (ArrayBuffer.isView(part) || part instanceof ArrayBuffer) bytes += part.byteLength;
    else if (typeof part === 'object' && part !== null) pushParts(part, parts);
  }
  return bytes;
}

function pushParts(object: object, parts: unknown[]): void {
  try {
    // not by spreading: a long list is too many arguments
    for (const part of object instanceof Map || object instanceof Set
      ? object.values()
      : Object.values(object))
      parts.push(part);
  } catch {
    // a getter or a proxy throws: that it cannot be sent is found out when its turn comes
  }
}
