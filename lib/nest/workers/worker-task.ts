import { HttpException } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { Fault, type FaultInit } from '../../protocol/fault.js';
import { toRapError } from '../errors/to-rap-error.js';

/** A task of a worker thread. */
export interface WorkerTask {
  /** URL of the module. */
  readonly url: string;
  /** Name of the function that it exports. */
  readonly name: string;
  readonly args: readonly unknown[];
  /** Transfer large buffers of the result instead of copying them. */
  readonly transfer: boolean;
  /** Marks the objects that are hidden in the arguments. */
  readonly token?: string | undefined;
}

/** An error that a function threw in a worker thread. */
export interface ThrownInWorker {
  readonly name: string;
  readonly message: string;
  readonly stack?: string;
  /** Fields of a `RapError`. */
  readonly rap?: Omit<FaultInit, 'message'> | undefined;
  /** What an `RpcException` was made with. */
  readonly rpc?: string | object | undefined;
  readonly http?: { status: number; response: string | object | undefined; errorCode?: unknown };
}

export type WorkerAnswer =
  { readonly value: unknown; readonly token?: string | undefined } | { readonly error: ThrownInWorker };

/** The error that a function threw in a thread; of its class if that belongs to rap or Nest. */
export function revive(thrown: ThrownInWorker): Error {
  const error = construct(thrown);
  if (thrown.stack !== undefined) error.stack = thrown.stack;
  return error;
}

function construct({ name, message, rap, rpc, http }: ThrownInWorker): Error {
  if (rap) return toRapError(new Fault({ ...rap, message, errorName: name })) as Error;
  if (rpc !== undefined) return Object.assign(new RpcException(rpc), { name });
  if (!http) return Object.assign(new Error(message), { name });
  // Nest 11 has no errorCode
  const options = http.errorCode === undefined ? undefined : { errorCode: http.errorCode as string };
  return Object.assign(new HttpException(http.response ?? message, http.status, options), { name });
}
