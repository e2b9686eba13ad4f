import { Logger } from '@nestjs/common';
import type { ModulesContainer, NestApplicationContext } from '@nestjs/core';

/** How each server drains. Weak: an application and its servers may come and go in one process. */
const drains = new WeakMap<object, () => Promise<void>>();

/** Parts of Nest's application that are not in its public types; the same in Nest 11 and 12. */
interface ShutdownSteps {
  readonly container: { getModules(): ModulesContainer };
  callDestroyHook(): Promise<void>;
}

/** Drains a server as the first step of the shutdown of its application, while all providers live. */
export function drainFirst(server: object, drain: () => Promise<void>): void {
  drains.set(server, drain);
}

/**
 * On SIGTERM, and at any close of a hybrid application, Nest destroys the providers before it closes the transports: calls
 * that run would lose what they work with. Nest has no hook before that, so its first step is wrapped.
 */
export function drainBeforeDestroy(prototype: NestApplicationContext): void {
  const steps = prototype as unknown as ShutdownSteps;
  // oxlint-disable-next-line typescript/unbound-method -- called with its `this` below
  const original = steps.callDestroyHook;
  if (typeof original !== 'function') return; // a later Nest: `RapModule.drainOnShutdown` still works
  steps.callDestroyHook = async function (this: ShutdownSteps): Promise<void> {
    const ends = await Promise.allSettled(serversOf(this).map(async (server) => drains.get(server)?.()));
    // a server that cannot drain must not keep the providers from being destroyed
    for (const end of ends) if (end.status === 'rejected') new Logger('RapServer').error(end.reason);
    return original.call(this);
  };
}

/** The servers of the application: Nest registers the strategy of each microservice. */
function serversOf({ container }: ShutdownSteps): object[] {
  const servers = new Set<object>();
  container
    .getModules()
    .getRpcTargetRegistry<object>()
    .subscribe((server) => servers.add(server)) // replays all at once
    .unsubscribe();
  return [...servers];
}
