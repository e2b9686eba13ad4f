import { setTimeout as pass } from 'node:timers/promises';
import type { FleetProcesses } from './fleet.js';
import { Load } from './load.js';
import { type Kind, type Operation, unserved } from './operation.js';

/** A call that starts later than this after the kill must not notice it. */
const NOTICE_MS = 100;
const BEFORE_MS = 1_500;
const AFTER_MS = 1_500;
/** Calls that are under way when the server with the most calls dies. */
const HELD = 30;
const HELD_MS = 400;
/** Beyond the ids of the load. */
const HELD_ID = 10_000_000;

export interface KilledServer {
  readonly operations: number;
  readonly perSecond: number;
  readonly unserved: readonly Kind[];
  /** Calls and channels in flight at the server, just before. */
  readonly inFlight: number;
  readonly failed: number;
  /** What the long calls failed with that were under way at the server. */
  readonly held: readonly unknown[];
  /** Failures that do not say `sent: 'unknown'`, or name another server. */
  readonly untold: readonly string[];
  /** Failures of idempotent calls. */
  readonly idempotent: readonly string[];
  /** Failures of calls that started later than 100 ms after the kill. */
  readonly late: readonly string[];
  /** Start of the last operation that failed, in milliseconds after the kill. */
  readonly lastStartMs: number;
  readonly executedTwice: readonly Operation[];
  readonly unapplied: readonly Operation[];
  /** Time from its restart until it gets calls again. */
  readonly backAfterMs: number;
}

/** Kills one server by SIGKILL while a client has work of all kinds on all, and starts it again. */
export async function killedServer(
  fleet: FleetProcesses,
  { perSecond, seed }: { perSecond: number; seed: number },
): Promise<KilledServer> {
  const client = await fleet.client();
  const load = new Load({ client, perSecond, seed });
  await pass(BEFORE_MS);
  const holding = Array.from({ length: HELD }, (_, i) =>
    client.call('apply', { id: HELD_ID + i, body: 'held', ms: HELD_MS }).then(
      () => undefined,
      (error: { sent?: unknown }) => error.sent,
    ),
  );
  await pass(HELD_MS / 4); // they arrive
  const busiest = fleet.servers.toSorted(
    (a, b) => fleet.statsOf(client, b).inFlight - fleet.statsOf(client, a).inFlight,
  );
  const victim = busiest[0] as (typeof fleet.servers)[0];
  const { inFlight } = fleet.statsOf(client, victim);
  const killedAt = performance.now();
  fleet.note(`SIGKILL to ${victim.address}`);
  await victim.end('SIGKILL');
  await pass(AFTER_MS);
  const picksBefore = fleet.statsOf(client, victim).picks;
  await victim.start();
  const startedAt = performance.now();
  while (fleet.statsOf(client, victim).picks === picksBefore) await pass(5);
  const backAfterMs = performance.now() - startedAt;
  const achieved = load.rate;
  await load.stop();
  const executions = await fleet.executions();
  const { failed, operations } = load;
  const told = (list: readonly Operation[]): string[] => list.map((each) => each.describe(killedAt));
  const repeats = (each: Operation): boolean =>
    each.kind !== 'repeatable' && (executions.get(each.id) ?? 0) > 1;
  return {
    operations: operations.length,
    perSecond: achieved,
    unserved: unserved(operations),
    inFlight,
    failed: failed.length,
    held: (await Promise.all(holding)).filter((sent) => sent !== undefined),
    untold: told(failed.filter(({ sent, server }) => sent !== 'unknown' || server !== victim.address)),
    idempotent: told(failed.filter(({ kind }) => kind === 'repeatable')),
    late: told(failed.filter(({ startedAt: at }) => at - killedAt > NOTICE_MS)),
    lastStartMs: Math.max(...failed.map(({ startedAt: at }) => at - killedAt)),
    executedTwice: operations.filter(repeats),
    unapplied: operations.filter((each) => each.hasSucceeded && !executions.has(each.id)),
    backAfterMs,
  };
}
