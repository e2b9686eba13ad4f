import type { ChannelOptions, RapCallOptions } from '../calls/rap-session.js';
import { copyOfBody } from '../../../protocol/body-copy.js';
import type { RapChannel } from '../../streams/rap-channel.js';
import { IteratedStream } from '../../streams/rap-stream.js';
import { CheckedChannel } from '../../checks/checked-channel.js';
import { CheckedIterable } from '../../checks/checked-iterable.js';
import { parseError } from '../../checks/checks.js';
import type { AnyRapMethod, RapMethodKind } from '../../contract/contract.js';
import type { MethodCaller } from './method-caller.js';
import {
  type Check,
  checked,
  type StandardIssue,
  type StandardSchema,
} from '../../validation/standard-schema.js';
import { extendedIn, plainOf, uncarriedIn } from '../../checks/uncarried.js';
import { isIterable, type Items } from './upload.js';

/** Whether the connection carries values such as a `Date` unchanged: the extension `values`. */
export interface ValuesCarried {
  /** `undefined` without a connection. */
  now(): boolean | undefined;
  /** Waits for a connection; the error names the target if there is none in time. */
  soon(target: string, timeoutMs: number | undefined): Promise<boolean>;
}

/**
 * Wraps the caller of a method whose contract has schemas: if the contract requires a value that the connection does not
 * carry, the call fails and says so. Any other call costs one check of the connection. The rest, the server has checked.
 */
export function carriedCaller(
  caller: MethodCaller,
  target: string,
  { kind, input, output, timeoutMs }: AnyRapMethod,
  carried: ValuesCarried,
): MethodCaller {
  const sent = input && sentCheck(input, target, carried);
  const received = output && receivedCheck(output, target, carried);
  const call = caller as (...args: unknown[]) => unknown;
  const mayBeSent = async (
    check: Check,
    value: unknown,
    options: RapCallOptions | undefined,
  ): Promise<unknown> => {
    await carried.soon(target, options?.timeoutMs ?? timeoutMs);
    return checked(check, value);
  };
  const callers: Record<RapMethodKind, MethodCaller> = {
    unary: async (value: unknown, options?: RapCallOptions) => {
      const body = sent && plainOf(value) !== value ? await mayBeSent(sent, heldOf(value), options) : value;
      const answer = await call(body, options);
      return received ? checked(received, answer) : answer;
    },
    serverStream: (value: unknown, options?: RapCallOptions) => {
      const items = call(value, options) as AsyncIterable<unknown>;
      const shown = received ? new CheckedIterable(items, received) : items;
      const iterate = (): AsyncIterator<unknown> => shown[Symbol.asyncIterator]();
      if (!sent || plainOf(value) === value) return new IteratedStream(iterate);
      const held = heldOf(value);
      return new IteratedStream(() => after(iterate(), () => mayBeSent(sent, held, options)));
    },
    clientStream: async (items: Items<unknown>, options?: ChannelOptions) => {
      const given = sent && isIterable(items) ? new CheckedIterable(items, sent) : items;
      const result = await call(given, options);
      return received ? checked(received, result) : result;
    },
    duplex: async (options?: ChannelOptions) => {
      const channel = (await call(options)) as RapChannel;
      return carried.now() === false
        ? new CheckedChannel(channel, { input: received, output: sent, isClient: true })
        : channel;
    },
  };
  const careful = callers[kind] as (...args: unknown[]) => unknown;
  // a method takes two arguments at most
  return (a: unknown, b: unknown) => (carried.now() === true ? call(a, b) : careful(a, b));
}

/** A copy of a value that is sent later. If it cannot be encoded, the call says so. */
function heldOf(value: unknown): unknown {
  try {
    return copyOfBody(value);
  } catch {
    return value;
  }
}

/** Refuses what the connection does not carry. The rest, the server checks. */
function sentCheck(schema: StandardSchema, target: string, carried: ValuesCarried): Check {
  return checkOf(`the input of ${target}`, carried, async (value) => {
    const plain = plainOf(value);
    if (plain === value) return [];
    const { issues } = await schema['~standard'].validate(plain);
    if (!issues) return [];
    const lost = await uncarriedIn(schema, plain, issues);
    return lost.map(({ segments, type }) => ({
      path: segments,
      message: `a ${type} does not arrive at a server that does not offer the extension "values"`,
    }));
  });
}

/** Refuses an answer that is not what the contract says. */
function receivedCheck(schema: StandardSchema, target: string, carried: ValuesCarried): Check {
  return checkOf(`the output of ${target}`, carried, async (value) => {
    const result = await schema['~standard'].validate(value);
    // a schema may convert a string to the contract's type, but the caller would get the string
    const lost = result.issues
      ? await uncarriedIn(schema, value, result.issues, true)
      : extendedIn(result.value);
    return lost.map(({ segments, type }) => ({
      path: segments,
      message: `a ${type} does not come from a server that does not offer the extension "values"`,
    }));
  });
}

function checkOf(
  what: string,
  carried: ValuesCarried,
  issuesOf: (value: unknown) => Promise<readonly StandardIssue[]>,
): Check {
  const validate = async (value: unknown): Promise<{ value: unknown } | { issues: StandardIssue[] }> => {
    if (carried.now() !== false) return { value };
    const issues = await issuesOf(value);
    return issues.length > 0 ? { issues: [...issues] } : { value };
  };
  const schema: StandardSchema = { '~standard': { version: 1, vendor: 'nestjs-rap', validate } };
  return { schema, what, refuse: (issues) => parseError(issues, what) };
}

/** The same items, once `first` has resolved. Leaving early does not wait for that. */
function after(iterator: AsyncIterator<unknown>, first: () => Promise<unknown>): AsyncIterator<unknown> {
  let begun: Promise<unknown> | undefined;
  let leave: (() => void) | undefined;
  let isOver = false;
  const begin = (): Promise<void> =>
    new Promise((resolve, reject) => {
      leave = resolve;
      begun ??= first();
      begun.then(() => resolve(), reject);
    });
  return {
    async next() {
      if (!isOver) await begin();
      return isOver ? { done: true, value: undefined } : iterator.next();
    },
    async return() {
      isOver = true;
      leave?.();
      await iterator.return?.();
      return { done: true, value: undefined };
    },
  };
}
