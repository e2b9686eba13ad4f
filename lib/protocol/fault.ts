import type { Header } from './frame.js';
import { CODE_BY_STATUS, Status } from './status.js';

/** Codes of faults that arise on this side and are never sent. */
export const LocalCode = {
  ConnectionLost: 'ERR_RAP_CONNECTION_LOST',
  CallTimeout: 'ERR_RAP_CALL_TIMEOUT',
  CallCancelled: 'ERR_RAP_CALL_CANCELLED',
  Overload: 'ERR_RAP_OVERLOAD',
} as const;

/** Whether a call that was cut off had left this process: `no` is safe to repeat, `unknown` may have run. */
export type Sent = 'no' | 'unknown';

/** What a call was waiting for when its time ran out. */
export type TimeoutPhase = 'connect' | 'queue' | 'response';

/** An attempt of a call that failed. */
export interface FailedAttempt {
  /** Address of the server. */
  readonly server: string;
  /** When it failed, in milliseconds since the call began. */
  readonly afterMs: number;
  readonly code: string;
  readonly message: string;
}

export interface FaultInit {
  status: number;
  message: string;
  code?: string | undefined;
  details?: unknown;
  remoteName?: string | undefined;
  sent?: Sent | undefined;
  phase?: TimeoutPhase | undefined;
  cause?: unknown;
  errorName?: string | undefined;
  httpStatus?: number | undefined;
  attempts?: readonly FailedAttempt[] | undefined;
  refused?: boolean | undefined;
  retry?: false | undefined;
  header?: Header | undefined;
}

/**
 * An error of the layers below Nest. `toRapError` in `nest/errors/to-rap-error.ts` turns a fault into the public class for its name, code or status.
 */
export class Fault extends Error {
  readonly status: number;
  readonly code: string;
  readonly details: unknown;
  /** Name of the exception that the remote function raised (status 301). */
  readonly remoteName: string | undefined;
  readonly sent: Sent | undefined;
  readonly phase: TimeoutPhase | undefined;
  /** Name of the class that the peer threw; it is only compared with known ones. */
  readonly errorName: string | undefined;
  /** The HTTP status of the same meaning, if the peer knew one. */
  readonly httpStatus: number | undefined;
  /** The attempts of a call that had more than one, the last included; of many, the first and the last. */
  readonly attempts: readonly FailedAttempt[] | undefined;
  /** This side refused a call before any handler began; the caller gets `sent: 'no'`. Never set on a fault of the peer. */
  readonly refused: boolean;
  /** `false`: the side that failed asks not to repeat the call, even if it is idempotent. */
  readonly retry: false | undefined;
  /** Not among what a log shows of an error. */
  #header: Header | undefined;

  constructor(init: FaultInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    this.name = 'Fault';
    this.status = init.status;
    this.code = init.code ?? CODE_BY_STATUS[init.status] ?? 'ERR_RAP_UNKNOWN';
    this.details = init.details;
    this.remoteName = init.remoteName;
    this.sent = init.sent;
    this.phase = init.phase;
    this.errorName = init.errorName;
    this.httpStatus = init.httpStatus;
    this.attempts = init.attempts;
    this.refused = init.refused ?? false;
    this.retry = init.retry;
    this.#header = init.header;
  }

  /** The header of the frame that it came with, as the processors have left it; `undefined` if it arose on this side. */
  get header(): Header | undefined {
    return this.#header;
  }

  set header(header: Header | undefined) {
    this.#header = header;
  }
}

/** The same fault of a call that was refused before any handler began. */
export function asRefused(fault: Fault): Fault {
  if (fault.refused) return fault;
  const { status, message, code, details, remoteName, cause, errorName, httpStatus, retry } = fault;
  const rest = { remoteName, cause, errorName, httpStatus, retry };
  return new Fault({ status, message, code, details, ...rest, refused: true });
}

/** The received bytes are not a frame, or break the rules of frames. */
export function protocolFault(message: string, code?: string): Fault {
  return new Fault({ status: Status.Protocol, code, message });
}
