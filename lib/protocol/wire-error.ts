import { packDetails, unpackDetails } from './error-details.js';
import { Fault } from './fault.js';
import type { Header } from './frame.js';
import { NAME_BY_STATUS, Status, isErrorStatus } from './status.js';
import { isObject } from './values/unknown.js';

/** Longest text of an error that goes to or comes from a peer, in UTF-8 bytes. */
const MAX_TEXT_BYTES = 1024;
/** Longest exception name and code. */
const MAX_NAME_BYTES = 128;

/** An error as header and body of a frame. */
export interface ErrorFrame {
  readonly header: Header;
  readonly body: unknown;
}

/** An error and the name of its class, as a frame carries them. */
export interface NamedFault {
  readonly fault: Fault;
  readonly name: string;
}

/** The name of a fault on the wire: as the peer that it came from named it, or the name of its status. */
export function nameOf({ errorName, status }: Fault): string {
  return errorName ?? NAME_BY_STATUS[status] ?? 'RapError';
}

/**
 * A fault in the form of the wire: a status with a text, or with `[exception name, message]` for 301. What Python
 * does not know goes into `header.error`, which it ignores.
 */
export function toErrorFrame(fault: Fault, name = nameOf(fault)): ErrorFrame {
  const message = boundedText(fault.message, MAX_TEXT_BYTES);
  const error: Record<string, unknown> = {
    name: boundedText(name, MAX_NAME_BYTES),
    code: boundedText(fault.code, MAX_NAME_BYTES),
    ...packDetails(fault.details),
  };
  if (isHttpErrorStatus(fault.httpStatus)) error['http'] = fault.httpStatus;
  if (fault.refused) error['refused'] = true;
  if (fault.retry === false) error['retry'] = false;
  const body =
    fault.status === Status.Invoke
      ? [boundedText(fault.remoteName ?? 'Error', MAX_NAME_BYTES), message]
      : message;
  return { header: { status_code: fault.status, error }, body };
}

/** Reads the error that a frame carries; `undefined` if it carries none. Nothing of it is trusted or evaluated. */
export function fromErrorFrame(header: Header, body: unknown): Fault | undefined {
  const status = header.status_code;
  if (!isErrorStatus(status)) return undefined;
  const error = (isObject(header.error) ? header.error : {}) as Record<string, unknown>;
  const named = status === Status.Invoke && Array.isArray(body);
  return new Fault({
    status,
    code: text(error['code'], MAX_NAME_BYTES),
    message: text(named ? body[1] : body, MAX_TEXT_BYTES) ?? `status ${status}`,
    remoteName: named ? text(body[0], MAX_NAME_BYTES) : undefined,
    details: unpackDetails(error),
    errorName: text(error['name'], MAX_NAME_BYTES),
    httpStatus: isHttpErrorStatus(error['http']) ? error['http'] : undefined,
    sent: error['refused'] === true ? 'no' : undefined,
    retry: error['retry'] === false ? false : undefined,
    header,
  });
}

/** Whether it is an HTTP status of an error. */
export function isHttpErrorStatus(status: unknown): status is number {
  return Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 599;
}

/** Cuts a text to `maxBytes` of UTF-8, never inside a character. */
export function boundedText(value: string, maxBytes: number): string {
  // a text of more code units than bytes is too long: no need to count its bytes
  const fits =
    value.length * 3 <= maxBytes || (value.length <= maxBytes && Buffer.byteLength(value) <= maxBytes);
  if (fits) return value;
  const bytes = Buffer.from(value.slice(0, maxBytes)).subarray(0, maxBytes);
  return bytes.toString('utf8').replace(/\uFFFD+$/, '');
}

function text(value: unknown, maxBytes: number): string | undefined {
  return typeof value === 'string' ? boundedText(value, maxBytes) : undefined;
}
