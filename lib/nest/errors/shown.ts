const MAX_SHOWN = 80;

/** A value of the user as a short text for a message. */
export function shown(value: unknown): string {
  let text: string;
  try {
    text = String(value);
  } catch {
    text = typeof value; // an object without a text, or whose `toString` throws
  }
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text;
}

/** The message of what was thrown. */
export function messageOf(error: unknown): string {
  return (error as Partial<Error> | null | undefined)?.message ?? shown(error);
}
