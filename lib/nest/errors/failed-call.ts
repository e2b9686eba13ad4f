import { Fault } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import { parseTarget } from '../../protocol/target.js';
import type { Clock } from '../../protocol/clock.js';
import type { Channel } from '../../rpc/channel/channel.js';
import { ThrownFault } from '../../pipeline/thrown-fault.js';
import type { FailedCall } from './errors.js';
import { toRapError } from './to-rap-error.js';

/** A call, stream or channel of a client, and when it began. */
export interface MadeCall {
  readonly target: string;
  /** The server in messages. */
  readonly where: string;
  /** When it began, on the clock, if that is known. */
  readonly since: number | undefined;
  readonly clock: Clock;
}

/** Stack frames of the code that waits for a call, by its error. */
const waiting = new WeakMap<object, { stack?: unknown }>();
const madeAs = new WeakMap<Channel, MadeCall>();
const NOTHING = (): void => {};

/** Remembers what a channel was opened as, for its errors. */
export function remember(channel: Channel, made: MadeCall): void {
  madeAs.set(channel, made);
}

/** As {@link callError}, for the failure of a channel. */
export function channelError(channel: Channel, error: unknown): unknown {
  const made = madeAs.get(channel);
  return made ? callError(error, made) : toRapError(error);
}

/** The public error of a call: it says which call failed. An error that the user's own code has thrown stays as it is. */
export function callError(error: unknown, { target, where, since, clock }: MadeCall): unknown {
  const shown = toRapError(error);
  if (!(error instanceof Fault) || error instanceof ThrownFault || !(shown instanceof Error)) return shown;
  nameGroup(shown, error, target);
  const afterMs = since === undefined ? undefined : Math.round(clock.now() - since);
  const server = error.attempts?.at(-1)?.server ?? where;
  const call: FailedCall = { target, server, ...(Number.isFinite(afterMs) && { afterMs }) };
  Reflect.defineProperty(shown, 'call', { value: call, configurable: true, writable: true });
  let stack: unknown;
  Reflect.defineProperty(shown, 'stack', {
    configurable: true,
    // made on the first access, as Node's own
    get: () => (stack ??= stackOf(shown, call)),
    set: (value: unknown) => {
      stack = value;
    },
  });
  return shown;
}

/**
 * Adds the async functions that wait for a call to its error. Called by the code that they wait for: frames up to that of
 * `inside` are left out.
 */
export function traced(error: unknown, inside: Function = traced): unknown {
  const { call } = (error ?? {}) as { call?: unknown };
  if (call === undefined) return error;
  const frames: { stack?: unknown } = {};
  Error.captureStackTrace(frames, inside);
  waiting.set(error as object, frames);
  return error;
}

/**
 * A promise that rejects with the error of a call, after the promise that is resolved with it follows it: then V8 knows what
 * waits for that one. A call that succeeds costs nothing.
 */
export function rejection(error: unknown): Promise<never> {
  const fail = (): never => {
    throw traced(error, fail);
  };
  return Promise.resolve().then(NOTHING).then(fail);
}

function stackOf(error: Error, { target, server, afterMs }: FailedCall): string {
  const after = afterMs === undefined ? '' : `, after ${afterMs} ms`;
  const frames = waiting.get(error)?.stack;
  const lines = typeof frames === 'string' ? frames.split('\n') : []; // Error.prepareStackTrace may make anything
  const callers = lines.filter((line) => /^\s+at (?!.*node:internal)/.test(line));
  return [`${error.name}: ${error.message}`, `    in ${target} on ${server}${after}`, ...callers].join('\n');
}

/** Adds the group: the message on the wire names the function alone. */
function nameGroup(error: Error, { status, message }: Fault, target: string): void {
  const { group, name } = parseTarget(target) ?? {};
  if (status !== Status.FuncNotFound || message !== `Not found func. name: ${name}`) return;
  Reflect.set(error, 'message', `${message}, group: ${group}`);
}
