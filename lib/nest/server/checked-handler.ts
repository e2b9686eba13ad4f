import type { MessageHandler } from '@nestjs/microservices';
import {
  concatMap,
  defaultIfEmpty,
  defer,
  from,
  isObservable,
  map,
  type Observable,
  of,
  takeLast,
} from 'rxjs';
import { isThenable } from '../../protocol/values/unknown.js';
import { ChannelError } from '../errors/errors.js';
import type { RapChannel } from '../streams/rap-channel.js';
import type { RapContext } from '../handlers/rap-context.js';
import { isStream, UnfilteredError } from '../streams/stream-source.js';
import { checkedParameters, inputCheck, outputCheck } from '../checks/checks.js';
import { type Check, checked, type StandardSchema } from '../validation/standard-schema.js';
import { CheckedChannel } from '../checks/checked-channel.js';
import { CheckedIterable } from '../checks/checked-iterable.js';

/** What a handler is given and gives, beside its target. */
export interface CheckedHandlerOptions {
  readonly target: string;
  readonly isChannel: boolean;
  /** The handler of an upload: its result is written to the channel. */
  readonly returnsResult: boolean;
  readonly input: StandardSchema | undefined;
  readonly output: StandardSchema | undefined;
}

type Handler = MessageHandler<unknown, unknown, unknown>;

/** Values of an Observable that may wait for an asynchronous schema. */
const MAX_WAITING = 1024;

/** Puts the checks around a handler. Without checks it returns the handler itself, which costs nothing. */
export function checkedHandler(handler: MessageHandler, options: CheckedHandlerOptions): MessageHandler {
  const { target, isChannel, returnsResult } = options;
  const input = options.input && inputChecks(options.input, target);
  const output = options.output && outputCheck(options.output, target);
  if (!input && !output && !returnsResult) return handler;
  const inner = handler as Handler;
  if (returnsResult) return uploadHandler(inner, input, output);
  if (isChannel) {
    return (channel: RapChannel, context: RapContext) =>
      inner(new CheckedChannel(channel, { input: input?.(context), output }), context);
  }
  return async (data: unknown, context: RapContext) => {
    const result: unknown = await inner(
      input ? await received(input(context), data, context) : data,
      context,
    );
    return output ? checkedResult(result, output) : result;
  };
}

/** The check of what a caller sends, which depends on whether its connection carries all values. */
function inputChecks(schema: StandardSchema, target: string): (context: RapContext) => Check {
  const [any, plain] = [inputCheck(schema, target), inputCheck(schema, target, false)];
  return ({ carriesValues }) => (carriesValues ? any : plain);
}

/** The failure of an event is logged only if the context knows it. */
async function received(input: Check, data: unknown, context: RapContext): Promise<unknown> {
  try {
    return await checkedParameters(input, data);
  } catch (error) {
    context.failure = error;
    throw error;
  }
}

function checkedResult(result: unknown, check: Check): unknown {
  if (isObservable(result)) return checkedValues(result, check);
  return isStream(result) ? new CheckedIterable(result, check) : checked(check, result);
}

/** Checks each value of an Observable, in order. No filter has seen a value that fails, so its error must be masked. */
function checkedValues(source: Observable<unknown>, check: Check): Observable<unknown> {
  let waiting = 0;
  return source.pipe(
    concatMapWhereLate((value) => {
      const result = unfiltered(() => checkedResult(value, check));
      if (!isThenable(result)) return result;
      if (++waiting > MAX_WAITING)
        throw new ChannelError(`more than ${MAX_WAITING} values wait for ${check.what}`);
      const late = Promise.resolve(result).then(
        (checkedValue) => {
          waiting -= 1;
          return checkedValue;
        },
        (error: unknown) => {
          throw new UnfilteredError(error);
        },
      );
      late.catch(() => {}); // concatMap handles it later
      return late;
    }),
  );
}

/** Synchronous values stay synchronous, as the source is. */
function concatMapWhereLate(
  work: (value: unknown) => unknown,
): (source: Observable<unknown>) => Observable<unknown> {
  return (source) =>
    source.pipe(
      map(work),
      concatMap((value) => (isThenable(value) ? from(value) : of(value))),
    );
}

function unfiltered<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new UnfilteredError(error);
  }
}

/** An upload: the handler reads items, and what it returns is the one message that the caller gets. */
function uploadHandler(
  inner: Handler,
  input: ((context: RapContext) => Check) | undefined,
  output: Check | undefined,
): MessageHandler {
  return async (channel: RapChannel, context: RapContext) => {
    const items = input ? new CheckedChannel(channel, { input: input(context), output: undefined }) : channel;
    const answer = async (value: unknown): Promise<void> => {
      const result = output ? await checked(output, value) : value;
      // a caller that has gone, or whose item was refused, does not wait for a result
      if (!channel.isClosed) await channel.write(result);
    };
    const result: unknown = await inner(items, context);
    if (!isObservable(result)) return answer(result);
    return result.pipe(
      takeLast(1),
      defaultIfEmpty(undefined),
      concatMap((value) =>
        defer(() =>
          answer(value).catch((error: unknown) => {
            throw new UnfilteredError(error);
          }),
        ),
      ),
    );
  };
}
