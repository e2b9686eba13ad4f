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
  /** Why the last one has failed. */
  last: Fault | undefined;
  /** Whether one of them may have run. */
  mayHaveRun = false;

  /** @param startedAt when the call began, in milliseconds */
  constructor(private readonly startedAt: number) {}

  get count(): number {
    return this.#count;
  }

  failed(server: string, fault: Fault, now: number): void {
    const { code, message } = fault;
    this.last = fault;
    if (fault.sent !== 'no') this.mayHaveRun = true;
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
    return `${this.#count} attempt${this.#count === 1 ? '' : 's'}: ${texts.join('; ')}`;
  }
}

/**
 * The fault of a call with its attempts; the same one if it is that of its only attempt. They are in its message too, unless that
 * is the answer of a handler, whose message is not changed. It says that the call was not sent only if that holds for all of them.
 */
export function withAttempts(fault: Fault, attempts: Attempts | undefined): Fault {
  // what a processor of this side has thrown (`ThrownFault`) reaches the caller as it is
  if (!attempts?.last || fault.attempts || 'thrown' in fault) return fault;
  if (attempts.count < 2 && attempts.last === fault) return fault;
  // a copy: all calls of a lost connection have the same fault
  const message = fault.sent === undefined ? fault.message : `${fault.message} (${attempts.toString()})`;
  const sent = fault.sent === 'no' && attempts.mayHaveRun ? 'unknown' : fault.sent;
  const { cause, header } = fault;
  return new Fault(Object.assign({}, fault, { message, sent, cause, header, attempts: attempts.list() }));
}
