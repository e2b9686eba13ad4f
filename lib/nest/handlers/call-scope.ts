import { AsyncLocalStorage } from 'node:async_hooks';
import { PROCESS_CONTEXT } from '../../rpc/context/async-context.js';
import type { Incoming } from '../../rpc/server/incoming.js';

/** Whose time and cancellation calls inherit. */
export type ScopeOwner = Pick<Incoming, 'signal' | 'timeLeftMs'>;

/** A session that code runs in, as the client looks for its own. */
export interface ScopedSession {
  belongsTo(client: object): boolean;
}

/** What code knows of where it was called from. */
export interface CallScope {
  /** The call or channel that a handler works on: calls made inside inherit its time and its cancellation. */
  readonly incoming?: ScopeOwner | undefined;
  /** The sessions of `withSession`, the innermost first. */
  readonly sessions?: readonly ScopedSession[];
}

const storage = new AsyncLocalStorage<CallScope>();
let wanted = false;

/** Following a scope costs every promise of the process a little: a server without clients does not pay it. */
export function followCallScopes(): void {
  wanted = true;
}

/** The scope of the running code. */
export function currentScope(): CallScope | undefined {
  return storage.getStore();
}

/** Runs a handler in the scope of its call. */
export function runInScope<T>(incoming: ScopeOwner, work: () => T): T {
  return wanted ? storage.run({ incoming }, work) : work();
}

/** Runs code in a session, beside what it had inherited. */
export function runInSession<T>(session: ScopedSession, work: () => T): T {
  const outer = storage.getStore();
  return storage.run({ ...outer, sessions: [session, ...(outer?.sessions ?? [])] }, work);
}

/** Runs code that outlives the call it happens to start in, such as a connection. */
export function runOutside<T>(work: () => T): T {
  return PROCESS_CONTEXT.run(work, undefined, undefined);
}
