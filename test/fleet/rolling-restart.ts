import type { RapClient } from '../../lib/index.js';
import type { FleetProcesses } from './fleet.js';
import { Load } from './load.js';
import { type Kind, unserved } from './operation.js';

export interface RollingRestart {
  readonly rounds: number;
  readonly operations: number;
  readonly perSecond: number;
  readonly unserved: readonly Kind[];
  /** Operations without their whole answer: calls and events that failed, streams and channels that were cut. */
  readonly lost: readonly string[];
  /** Ids that more than one handler has begun to work on. */
  readonly executedTwice: readonly number[];
  /** Ids of operations that succeeded without being executed. */
  readonly unapplied: readonly number[];
  /** How each feed that observes `ctx.draining` has ended with its server. */
  readonly observant: readonly string[];
  /** How each feed that does not end by itself has ended with its server. */
  readonly endless: readonly string[];
}

/** Ids of the feeds; those of the load are lower. */
const FIRST_FEED = 1e9;
const OPEN = 'open';

/** Restarts one server after the other by SIGTERM, while a client has work of all kinds on them. */
export async function rollingRestart(
  fleet: FleetProcesses,
  { rounds, perSecond, seed }: { rounds: number; perSecond: number; seed: number },
): Promise<RollingRestart> {
  const client = await fleet.client();
  const since = performance.now();
  const load = new Load({ client, perSecond, seed });
  const feeds = new Feeds(client);
  for (let round = 0; round < rounds; round += 1) {
    for (const server of fleet.servers) {
      await feeds.openOn(fleet, round === 0);
      fleet.note(`SIGTERM to ${server.address}`);
      await server.end('SIGTERM');
      fleet.note(`${server.address} has ended`);
      await server.start();
      await fleet.ready(client);
    }
  }
  const achieved = load.rate;
  await load.stop();
  feeds.close();
  const executions = await fleet.executions();
  const { operations } = load;
  return {
    rounds,
    operations: operations.length,
    perSecond: achieved,
    unserved: unserved(operations),
    lost: load.failed.map((each) => each.describe(since)),
    executedTwice: [...executions].filter(([, times]) => times > 1).map(([id]) => id),
    unapplied: operations.filter((each) => each.hasSucceeded && !executions.has(each.id)).map(({ id }) => id),
    observant: feeds.ends('watch'),
    endless: feeds.ends('endless'),
  };
}

/** Streams that last until their server drains. */
class Feeds {
  readonly #ends: { readonly target: string; end: string }[] = [];
  readonly #abort = new AbortController();

  constructor(private readonly client: RapClient) {}

  /** Opens some on each server. */
  async openOn({ servers }: FleetProcesses, withEndless: boolean): Promise<void> {
    const targets = withEndless ? ['watch', 'endless'] : ['watch'];
    await Promise.all(
      servers.flatMap(() =>
        targets.map((target) => new Promise<void>((begun) => void this.#follow(target, begun))),
      ),
    );
  }

  ends(target: string): string[] {
    return this.#ends.filter((feed) => feed.target === target && feed.end !== OPEN).map(({ end }) => end);
  }

  close(): void {
    this.#abort.abort();
  }

  async #follow(target: string, begun: () => void): Promise<void> {
    const { signal } = this.#abort;
    const feed = { target, end: OPEN };
    this.#ends.push(feed);
    const id = FIRST_FEED + this.#ends.length;
    let next = 0;
    try {
      for await (const item of this.client.stream<{ id: number; i: number }>(target, { id }, { signal })) {
        if (item.id !== id || item.i !== next) throw new Error(`item ${next} is ${JSON.stringify(item)}`);
        next += 1;
        begun();
      }
      feed.end = 'regular';
    } catch (error) {
      if (!signal.aborted) feed.end = `${(error as Error).name}: ${(error as Error).message}`;
    }
    begun();
  }
}
