import type { MessageHandler } from '@nestjs/microservices';
import { isObservable, type Observable, throwError } from 'rxjs';
import { runInScope } from '../handlers/call-scope.js';
import type { Route } from '../handlers/handler.js';
import { HandlerTimeLimit } from './handler-time-limit.js';
import { HandlerContext, type RapContext } from '../handlers/rap-context.js';
import { SharedRequest } from './shared-request.js';

/**
 * One route of all handlers of an event. Each keeps its own extras: callers on other machines reach those that are not
 * private, and each has its own time limit.
 *
 * @param runTimeoutMs time limit of a handler that has none of its own
 */
export function routeOfAll(members: readonly Route[], runTimeoutMs: number): Route {
  const [first] = members as [Route, ...Route[]];
  if (members.length === 1) return first;
  const open = members.filter((member) => !member.isPrivate);
  return {
    ...joined(members, runTimeoutMs),
    members,
    publicPart: open.length > 0 ? joined(open, runTimeoutMs) : undefined,
    routeOfSome: (allowed) => joined(allowed, runTimeoutMs),
  };
}

function joined(members: readonly Route[], runTimeoutMs: number): Route {
  const [first] = members as [Route, ...Route[]];
  const isTimed = members.some(({ timeoutMs }) => timeoutMs !== undefined);
  const msOf = ({ timeoutMs = runTimeoutMs }: Route): number => timeoutMs;
  return {
    ...first,
    isPrivate: members.every((member) => member.isPrivate),
    idempotent: members.every((member) => member.idempotent),
    doc: members.find(({ doc }) => doc !== '')?.doc ?? '',
    timeoutMs: isTimed ? Math.max(...members.map(msOf)) : undefined,
    handler: allOf(members, isTimed ? msOf : () => Infinity),
  };
}

/**
 * Makes one handler of several for the same event. Each runs to its end even if others fail: Nest's own chain stops at the
 * first failure. A peer that does not know events, and called it as a function, gets the first failure.
 *
 * @param msOf time limit of a handler; Infinity if that of the message is enough
 */
function allOf(members: readonly Route[], msOf: (member: Route) => number): MessageHandler {
  return async (data: unknown, context: RapContext) => {
    const shared = new SharedRequest();
    const runs: { readonly own: RapContext; readonly failure: Promise<Failure | undefined> }[] = [];
    for (const member of members) {
      const ms = msOf(member);
      const [call] = context.origin;
      const limit = ms === Infinity ? undefined : new HandlerTimeLimit(call, ms);
      const own = new HandlerContext(context, limit);
      shared.join(own);
      const work = (): Promise<Failure | undefined> => failureOf(() => member.handler(data, own));
      const run = runInScope(limit ?? call, own, work);
      const failure = limit ? run.finally(() => limit.end()) : run;
      runs.push({ own, failure });
      await shared.handedOn(failure);
    }
    await Promise.all(runs.map(({ failure }) => failure));
    for (const { own, failure } of runs) {
      const failed = await failure;
      if (!failed) continue;
      context.failure = own.failure;
      return failed.inNestsForm();
    }
    return undefined;
  };
}

interface Failure {
  /** Throws what no filter has seen; returns anything else as Nest does. */
  inNestsForm(): Observable<never>;
}

/** Runs a handler to its end. Never rejects. */
async function failureOf(run: () => unknown): Promise<Failure | undefined> {
  let result: unknown;
  try {
    result = await run();
  } catch (error) {
    // Nest's handlers never reject: no filter has seen this error
    return {
      inNestsForm: () => {
        throw error;
      },
    };
  }
  if (!isObservable(result)) return undefined;
  const source: Observable<unknown> = result;
  // an Observable runs only when it is subscribed to
  return new Promise((resolve) => {
    source.subscribe({
      error: (error: unknown) => resolve({ inNestsForm: () => throwError(() => error) }),
      complete: () => resolve(undefined),
    });
  });
}
