import { type FailedAttempt, Fault } from '../../protocol/fault.js';
import { boundedText } from '../../protocol/wire-error.js';

/** Attempts that are kept: the first ones, and the last. */
const MAX_KEPT = 8;
const MAX_SERVER_BYTES = 128;
const MAX_CODE_BYTES = 64;
const MAX_MESSAGE_BYTES = 256;

/** The failed attempts of one call, bounded in number and text. Made when the first attempt fails. */
export class Attempts {
  readonly #kept: FailedAttempt[] = [];
  #count = 0;

  /** @param startedAt when the call began, in milliseconds */
  constructor(private readonly startedAt: number) {}

  get count(): number {
    return this.#count;
  }

  failed(server: string, { code, message }: Fault, now: number): void {
    const attempt: FailedAttempt = {
      server: boundedText(server, MAX_SERVER_BYTES),
      afterMs: Math.max(0, Math.round(now - this.startedAt)),
      code: boundedText(code, MAX_CODE_BYTES),
      message: boundedText(message, MAX_MESSAGE_BYTES),
    };
    this.#count += 1;
    if (this.#kept.length === MAX_KEPT) this.#kept[MAX_KEPT - 1] = attempt;
    else this.#kept.push(attempt);
  }

  list(): readonly FailedAttempt[] {
    return [...this.#kept];
  }

  /** `3 attempts: a:9000 after 12 ms: ERR_RAP_CONNECTION_LOST; ...` */
  toString(): string {
    const texts = this.#kept.map(({ server, afterMs, code }) => `${server} after ${afterMs} ms: ${code}`);
    const left = this.#count - texts.length;
    if (left > 0) texts.splice(-1, 0, `${left} more`);
    return `${this.#count} attempts: ${texts.join('; ')}`;
  }
}

/** The fault of a call with its attempts, in its message too; the same one if it had only one. */
export function withAttempts(fault: Fault, attempts: Attempts | undefined): Fault {
  // what a processor of this side has thrown (`ThrownFault`) reaches the caller as it is
  if (!attempts || attempts.count < 2 || fault.attempts || 'thrown' in fault) return fault;
  // a copy: all calls of a lost connection have the same fault
  const message = `${fault.message} (${attempts.toString()})`;
  return new Fault(Object.assign({}, fault, { message, cause: fault.cause, attempts: attempts.list() }));
}
