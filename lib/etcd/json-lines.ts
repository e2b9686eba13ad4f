/** Bytes of one message: a few times what 10,000 servers take. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

const NEWLINE = 10;

/**
 * The values of a stream of JSON texts, one a line.
 *
 * @throws Error if a line is longer than `maxBytes`, or no JSON
 */
export async function* jsonLines(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes = MAX_MESSAGE_BYTES,
): AsyncGenerator<unknown, void> {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  const add = (part: Uint8Array): void => {
    bytes += part.length;
    if (bytes > maxBytes) throw new Error(`a message of more than ${maxBytes} bytes`);
    parts.push(part);
  };
  const take = (): string => {
    const line = Buffer.concat(parts).toString();
    parts = [];
    bytes = 0;
    return line;
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      add(chunk.subarray(start, end));
      start = end + 1;
      const line = take();
      if (line.trim() !== '') yield parsed(line);
    }
    if (start < chunk.length) add(chunk.subarray(start));
  }
  const rest = take();
  if (rest.trim() !== '') yield parsed(rest);
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`no JSON: ${JSON.stringify(line.slice(0, 100))}`);
  }
}
