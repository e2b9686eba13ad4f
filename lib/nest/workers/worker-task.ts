import { HttpException } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { Fault, type FaultInit } from '../../protocol/fault.js';
import { toRapError } from '../errors/to-rap-error.js';

/** What a worker thread is given to do. */
export interface WorkerTask {
  /** URL of the module. */
  readonly url: string;
  /** Name of the function that it exports. */
  readonly name: string;
  readonly args: readonly unknown[];
  /** Hand large buffers of the result over instead of copying them. */
  readonly transfer: boolean;
  /** For the objects that are hidden among the arguments. */
  readonly token?: string | undefined;
}

/** What a function threw in a worker thread. */
export interface ThrownInWorker {
  readonly name: string;
  readonly message: string;
  readonly stack?: string;
  /** Fields of a `RapError`. */
  readonly rap?: Omit<FaultInit, 'message'> | undefined;
  /** What a `RpcException` was made of. */
  readonly rpc?: string | object | undefined;
  readonly http?: { status: number; response: string | object | undefined; errorCode?: unknown };
}

export type WorkerAnswer =
  { readonly value: unknown; readonly token?: string | undefined } | { readonly error: ThrownInWorker };

/** The error that a function threw in a thread, with its class where that is one of rap's or Nest's. */
export function revive(thrown: ThrownInWorker): Error {
  const error = construct(thrown);
  if (thrown.stack !== undefined) error.stack = thrown.stack;
  return error;
}

function construct({ name, message, rap, rpc, http }: ThrownInWorker): Error {
  if (rap) return toRapError(new Fault({ ...rap, message, errorName: name })) as Error;
  if (rpc !== undefined) return Object.assign(new RpcException(rpc), { name });
  if (!http) return Object.assign(new Error(message), { name });
  // Nest 11 has no errorCode to hand on
  const options = http.errorCode === undefined ? undefined : { errorCode: http.errorCode as string };
  return Object.assign(new HttpException(http.response ?? message, http.status, options), { name });
}
