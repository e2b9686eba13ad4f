const MAX_SHOWN = 80;

/** A value of the user's as text for a message: short, whatever it is. */
export function shown(value: unknown): string {
  let text: string;
  try {
    text = String(value);
  } catch {
    text = typeof value; // an object that has no text, or will not give it
  }
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text;
}

/** What was thrown, in words. */
export function messageOf(error: unknown): string {
  return (error as Partial<Error> | null | undefined)?.message ?? shown(error);
}
