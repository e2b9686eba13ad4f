import { AsyncLocalStorage } from 'node:async_hooks';
import { PROCESS_CONTEXT } from '../../rpc/context/async-context.js';
import type { Incoming } from '../../rpc/server/incoming.js';

/** A call or channel whose time limit and cancellation other calls inherit. */
export type ScopeOwner = Pick<Incoming, 'signal' | 'timeLeftMs'>;

/** A session that code runs in. A client looks for its own among several. */
export interface ScopedSession {
  belongsTo(client: object): boolean;
}

/** What running code inherits from its caller. */
export interface CallScope {
  /** The call or channel of the handler: calls made inside inherit its time limit and its cancellation. */
  readonly incoming?: ScopeOwner | undefined;
  /** The `RapContext` of the handler. */
  readonly context?: object | undefined;
  /** The sessions of `withSession`, the innermost first. */
  readonly sessions?: readonly ScopedSession[];
}

const storage = new AsyncLocalStorage<CallScope>();
let wanted = false;

/**
 * Starts to track scopes, which slows down every promise of the process: a process does not in which no client inherits from them,
 * and nobody asks for the context of the running call.
 */
export function followCallScopes(): void {
  wanted = true;
}

/** The scope of the running code. */
export function currentScope(): CallScope | undefined {
  return storage.getStore();
}

/** Runs a handler in the scope of its call. */
export function runInScope<T>(incoming: ScopeOwner, context: object, work: () => T): T {
  return wanted ? storage.run({ incoming, context }, work) : work();
}

/** Runs code in a session; what it inherits already stays. */
export function runInSession<T>(session: ScopedSession, work: () => T): T {
  const outer = storage.getStore();
  return storage.run({ ...outer, sessions: [session, ...(outer?.sessions ?? [])] }, work);
}

/** Runs code that outlives the call it starts in, such as a connection. */
export function runOutside<T>(work: () => T): T {
  return PROCESS_CONTEXT.run(work, undefined, undefined);
}
