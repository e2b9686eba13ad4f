import { detailsTravel } from '../../protocol/error-details.js';
import type { AnyIncoming } from '../../rpc/server/any-incoming.js';
import { handlerFault, isMeantForCaller, maskError, MASKED_MESSAGE } from '../errors/handler-fault.js';
import type { RapContext } from '../handlers/rap-context.js';
import { UnfilteredError } from '../streams/stream-source.js';

export interface CallFailuresOptions {
  readonly exposeErrors: boolean;
  readonly onError: (error: unknown) => void;
  readonly onWarning: (message: string) => void;
}

/** Decides what a caller and the log are told when a handler fails. */
export class CallFailures {
  /** Handlers that the developer has been warned about: details of their errors did not travel. */
  readonly #warned = new Set<string>();

  constructor(private readonly options: CallFailuresOptions) {}

  /** Answers with the error, and ends the call. */
  fail(error: unknown, incoming: AnyIncoming, context: RapContext): void {
    this.answer(this.seen(error, incoming, context), incoming, context);
    incoming.ended();
  }

  /** Answers with an error as it is. */
  answer(error: unknown, incoming: AnyIncoming, context: RapContext): void {
    const { fault, name } = handlerFault(error);
    if (fault.details !== undefined) this.#checkDetails(fault.details, context);
    incoming.fail(fault, name);
  }

  /** The error that the caller sees. */
  seen(error: unknown, incoming: AnyIncoming, context: RapContext): unknown {
    const seen = error instanceof UnfilteredError ? this.masked(error.error) : this.#exposed(error, context);
    const isEvent = incoming.kind === 'call' && incoming.oneWay;
    // an event that fails has no answer, and Nest logs every failure but these
    if (isEvent && isMeantForCaller(seen) && seen === context.failure)
      this.guarded(() => this.options.onError(seen));
    return seen;
  }

  /** Does what Nest's last filter does, for an error that came after the handler had returned. */
  masked(error: unknown): unknown {
    if (this.options.exposeErrors) return error;
    return maskError(error, (it) => this.guarded(() => this.options.onError(it)));
  }

  /** Runs a hook of the application; what it throws is logged. */
  guarded(hook: () => void): void {
    try {
      hook();
    } catch (error) {
      try {
        this.options.onError(error);
      } catch {
        // what was thrown cannot even be logged
      }
    }
  }

  /** Warns once for each handler: details that the caller does not get are found at the server or nowhere. */
  #checkDetails(details: unknown, { target }: RapContext): void {
    if (this.#warned.has(target) || detailsTravel(details)) return;
    this.#warned.add(target);
    this.guarded(() => this.options.onWarning(`${target}: details of an error ${DETAILS_CUT}`));
  }

  /** The error that Nest masked in its own place: an `HttpException` always, any other with `exposeErrors`. */
  #exposed(error: unknown, { failure }: RapContext): unknown {
    if (failure === undefined || !isMasked(error)) return error;
    return this.options.exposeErrors || isMeantForCaller(failure) ? failure : error;
  }
}

const DETAILS_CUT = 'are too large (4 KiB) or have no form on the wire; they were cut or left out';

/** What Nest's last filter makes of an error that it does not know. */
function isMasked(error: unknown): boolean {
  return (
    typeof error === 'object' && error !== null && 'message' in error && error.message === MASKED_MESSAGE
  );
}
