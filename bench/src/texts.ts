/** Items of 1 KiB that a server has for a slow reader. */
export const TEXT_COUNT = 500_000;

const TEXT_BYTES = 1024;
const INDEX_DIGITS = 8;

/** Number of texts that this server process has made in this run. */
export const produced = { texts: 0 };

const text = Buffer.alloc(TEXT_BYTES, '.');

/** A string of 1 KiB that begins with its index: each has its own memory, like a server's answers. */
export function produceText(index: number): string {
  produced.texts += 1;
  text.write(String(index).padStart(INDEX_DIGITS, '0'), 'latin1');
  return text.toString('latin1');
}

/** The index of a text; NaN for anything else. */
export function textIndex(item: unknown): number {
  return typeof item === 'string' && item.length === TEXT_BYTES
    ? Number(item.slice(0, INDEX_DIGITS))
    : Number.NaN;
}
