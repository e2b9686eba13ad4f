import { onAbort } from '../../rpc/context/listeners.js';
import type { Clock, Timer } from '../../protocol/clock.js';
import { messageOf } from '../errors/shown.js';

/** A value, or a function that returns it and is called for each connection: for what changes while the process runs. */
export type PerConnection<T> = T | (() => T | Promise<T>);

/** How the function of an option is called, and its result checked. */
export interface Question {
  /** The option's name. */
  readonly name: string;
  /** What its function must return, for messages. */
  readonly expected: string;
  readonly isExpected: (value: unknown) => boolean;
  /** Time limit of its function. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Aborts if nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/**
 * The value of an option for the next connection.
 *
 * @throws Error that names the option, if its function fails, takes too long, or returns something else
 */
export async function askedFor<T>(given: PerConnection<T>, question: Question): Promise<T> {
  if (typeof given !== 'function') return given;
  const { name, expected, isExpected } = question;
  let value: T;
  try {
    value = await answerOf(given as () => T | Promise<T>, question);
  } catch (error) {
    throw new Error(`${name}() failed: ${messageOf(error)}`, { cause: error });
  }
  if (!isExpected(value)) throw new TypeError(`${name}() gave ${kindOf(value)}, not ${expected}`);
  return value;
}

/** What was given, without its content, which may be a secret. */
function kindOf(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'string' ? 'text' : `a ${typeof value}`;
}

async function answerOf<T>(
  ask: () => T | Promise<T>,
  { timeoutMs, clock, signal }: Pick<Question, 'timeoutMs' | 'clock' | 'signal'>,
): Promise<T> {
  let timer: Timer | undefined;
  let unlisten: (() => void) | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = clock.after(timeoutMs, () => reject(new Error(`no answer within ${timeoutMs} ms`)));
    timer.hold(true); // calls wait
    unlisten = onAbort(signal, () => reject(new Error('nobody waits for the answer any more')));
  });
  try {
    return await Promise.race([ask(), late]);
  } finally {
    timer?.cancel();
    unlisten?.();
  }
}
