import { Fault } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';
import { InvokeError, RapError } from './errors.js';

/** The text by which Nest masks an error that no filter knows. */
export const MASKED_MESSAGE = 'Internal server error';
/** The text of the `RpcException` by which Nest refuses what a guard does not let through. */
const FORBIDDEN_MESSAGE = 'Forbidden resource';

/** What a handler failed with, as the wire has it, and the class name that a peer of this project sees. */
export interface HandlerFault {
  readonly fault: Fault;
  readonly name: string;
}

/**
 * Turns whatever came out of a handler and its filters into a fault. Nest hands on what `RpcException.getError()`
 * returned, or `{ status: 'error', message }`; a user's filter may hand on anything. Nothing of it is trusted: a getter
 * may throw, a text may be long, and no stack ever leaves.
 */
export function handlerFault(error: unknown): HandlerFault {
  try {
    return read(error);
  } catch {
    return { fault: new Fault({ status: Status.Server, message: MASKED_MESSAGE }), name: 'ServerError' };
  }
}

function read(error: unknown): HandlerFault {
  if (error instanceof RapError) {
    const { status, code, message, details, name } = error;
    const remoteName = error instanceof InvokeError ? error.remoteName : undefined;
    return { fault: new Fault({ status, code, message, details, remoteName }), name };
  }
  if (error instanceof Fault) return { fault: error, name: 'RapError' };
  if (error instanceof Error) return invokeFault(error.name, error.message);
  if (typeof error === 'string') return invokeFault('RpcException', error);
  if (typeof error !== 'object' || error === null) return invokeFault('Error', String(error));
  const { message, name } = error as { message?: unknown; name?: unknown };
  const text = typeof message === 'string' ? message : 'the function failed';
  if (isNestError(error)) {
    if (text === MASKED_MESSAGE) {
      return { fault: new Fault({ status: Status.Server, message: text }), name: 'ServerError' };
    }
    if (text === FORBIDDEN_MESSAGE) {
      return { fault: new Fault({ status: Status.Auth, message: text }), name: 'AuthError' };
    }
    return invokeFault('RpcException', text);
  }
  return invokeFault(typeof name === 'string' ? name : 'RpcException', text, error);
}

/** `{ status: 'error', message }`: what Nest makes of an `RpcException` with a text, and of everything it masks. */
function isNestError(error: object): boolean {
  return (error as { status?: unknown }).status === 'error' && Object.keys(error).length === 2;
}

function invokeFault(remoteName: string, message: string, details?: unknown): HandlerFault {
  return { fault: new Fault({ status: Status.Invoke, message, remoteName, details }), name: 'InvokeError' };
}
