import { setTimeout as pass } from 'node:timers/promises';
import type { RapClient } from '../../lib/index.js';
import type { FleetProcesses } from './fleet.js';
import { Load } from './load.js';
import { type Kind, type Operation, unserved } from './operation.js';

/** So that no call is over for another reason: the default is as long as a client waits for a silent server. */
const PATIENT = { callTimeoutMs: 25_000 };
const BEFORE_MS = 2_000;
const WATCH_MS = 10;
const IDLE_PER_SECOND = 4;
/** Ids of the client with few calls. */
const FIRST_IDLE = 1e8;

export interface StoppedServer {
  readonly perSecond: number;
  readonly unserved: readonly Kind[];
  readonly stoppedMs: number;
  readonly failed: number;
  /** Longest time until an operation on the stopped server was over, in milliseconds after the stop or its start. */
  readonly settledMs: number;
  /** Failures that do not say `sent: 'unknown'`. */
  readonly untold: readonly string[];
  /** Failures of idempotent calls. */
  readonly idempotent: readonly string[];
  /** When the server was picked last, in milliseconds after the stop: by a client with many calls, by one with few. */
  readonly lastPickMs: { readonly busy: number; readonly idle: number };
  /** Time from SIGCONT until it gets calls again. */
  readonly backAfterMs: number;
  readonly executedTwice: readonly Operation[];
}

/** Stops one server by SIGSTOP while a client has work of all kinds on all, and lets it go on. */
export async function stoppedServer(
  fleet: FleetProcesses,
  { perSecond, seed, stoppedMs }: { perSecond: number; seed: number; stoppedMs: number },
): Promise<StoppedServer> {
  const [client, idleClient] = await Promise.all([fleet.client(PATIENT), fleet.client(PATIENT)]);
  const [victim] = fleet.servers as [(typeof fleet.servers)[0]];
  const load = new Load({ client, perSecond, seed });
  const idle = new Load({ client: idleClient, perSecond: IDLE_PER_SECOND, seed, firstId: FIRST_IDLE });
  await pass(BEFORE_MS);
  const picks = (of: RapClient): number => fleet.statsOf(of, victim).picks;
  const busyWatch = new PickWatch(() => picks(client));
  const idleWatch = new PickWatch(() => picks(idleClient));
  const stoppedAt = performance.now();
  fleet.note(`SIGSTOP to ${victim.address}`);
  victim.signal('SIGSTOP');
  await pass(stoppedMs);
  const lastPickMs = { busy: busyWatch.lastAt - stoppedAt, idle: idleWatch.lastAt - stoppedAt };
  fleet.note(`SIGCONT to ${victim.address}`);
  victim.signal('SIGCONT');
  const wentOnAt = performance.now();
  while (busyWatch.lastAt < wentOnAt) await pass(WATCH_MS);
  const backAfterMs = busyWatch.lastAt - wentOnAt;
  busyWatch.stop();
  idleWatch.stop();
  const achieved = load.rate;
  await Promise.all([load.stop(), idle.stop()]);
  const executions = await fleet.executions();
  const operations = [...load.operations, ...idle.operations];
  const failed = operations.filter(({ hasFailed }) => hasFailed);
  const told = (list: readonly Operation[]): string[] => list.map((each) => each.describe(stoppedAt));
  return {
    perSecond: achieved,
    unserved: unserved(operations),
    stoppedMs,
    failed: failed.length,
    settledMs: Math.max(
      ...operations.map(({ startedAt, endedAt = Infinity }) => endedAt - Math.max(startedAt, stoppedAt)),
    ),
    untold: told(failed.filter(({ sent }) => sent !== 'unknown')),
    idempotent: told(failed.filter(({ kind }) => kind === 'repeatable')),
    lastPickMs,
    backAfterMs,
    executedTwice: operations.filter(
      ({ id, kind }) => kind !== 'repeatable' && (executions.get(id) ?? 0) > 1,
    ),
  };
}

/** When a count has changed last. */
class PickWatch {
  lastAt = -Infinity;
  #count: number;
  readonly #timer: NodeJS.Timeout;

  constructor(private readonly count: () => number) {
    this.#count = count();
    this.#timer = setInterval(() => this.#look(), WATCH_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const count = this.count();
    if (count !== this.#count) this.lastAt = performance.now();
    this.#count = count;
  }
}
