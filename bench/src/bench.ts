import { type Measurement, Pair } from './pair.js';
import type { PeerName } from './peers.js';
import { type Row, rowsOf } from './rows.js';
import type { Scenario } from './scenario.js';
import { type ScenarioName, scenarios } from './scenarios.js';

export interface BenchOptions {
  scenarios: readonly ScenarioName[];
  /** Default: those of each scenario. */
  peers: readonly PeerName[] | undefined;
  rounds: number;
  seconds: number;
  log: (line: string) => void;
}

export interface BenchResult {
  rows: Row[];
  /** One line for each peer that dropped out of a scenario. */
  failures: string[];
}

/** A peer is warm when a run is at most this much faster than those before: V8 has compiled the code. */
const WARM_UP_GAIN = 1.1;
const WARM_UP_SECONDS = 1;
/** gRPC needs most. */
const MOST_WARM_UPS = 6;

/**
 * While the other peers run, V8 shrinks the heap of an idle process and discards code: a run right after that measures how long it takes
 * to restore both, which says nothing about a service under load.
 */
const RUN_IN_SECONDS = 0.4;

export async function runBench(options: BenchOptions): Promise<BenchResult> {
  const result: BenchResult = { rows: [], failures: [] };
  for (const name of options.scenarios) {
    const { rows, failures } = await runScenario(name, options);
    result.rows.push(...rows);
    result.failures.push(...failures);
  }
  return result;
}

async function runScenario(name: ScenarioName, options: BenchOptions): Promise<BenchResult> {
  const { rounds, seconds, log } = options;
  const scenario: Scenario = scenarios[name];
  const failures: string[] = [];
  // New processes for each scenario: its numbers are the same alone and after others.
  const pairs = new Map<PeerName, Pair>();
  const results = new Map<PeerName, Measurement[]>();

  /** A peer that fails drops out of the scenario; the others continue. */
  const attempt = async (peer: PeerName, action: () => Promise<void>): Promise<void> => {
    try {
      await action();
    } catch (error) {
      failures.push(`${name}, ${peer}`);
      log(`FAILED ${name}, ${peer}: ${error instanceof Error ? error.message : String(error)}`);
      await pairs.get(peer)?.stop();
      pairs.delete(peer);
      results.delete(peer);
    }
  };

  try {
    for (const peer of options.peers ?? scenario.peers) {
      if (!scenario.peers.includes(peer)) {
        log(`skipped ${name}, ${peer}: it has no such calls`);
        continue;
      }
      await attempt(peer, async () => {
        const pair = await Pair.start(peer, name);
        pairs.set(peer, pair);
        results.set(peer, []);
        await warmUp(pair, scenario);
      });
    }
    for (let round = 0; round < rounds; round++) {
      for (const [peer, pair] of rotated([...pairs], round)) {
        await attempt(peer, async () => {
          if (!scenario.isWatched) await pair.run(RUN_IN_SECONDS);
          const measurement = await pair.run(seconds);
          results.get(peer)?.push(measurement);
          log(`${name} ${round + 1}/${rounds} ${peer}: ${Math.round(measurement.result)} ${scenario.unit}`);
        });
      }
    }
  } finally {
    for (const pair of pairs.values()) await pair.stop();
  }
  return { rows: rowsOf(name, results), failures };
}

async function warmUp(pair: Pair, scenario: Scenario): Promise<void> {
  let best = 0;
  for (let i = 0; i < MOST_WARM_UPS; i++) {
    const { result } = await pair.run(WARM_UP_SECONDS);
    // The result of a watched run is not a rate.
    if (scenario.isWatched || result < best * WARM_UP_GAIN) return;
    best = Math.max(best, result);
  }
}

/** A different peer goes first in each round, so that none always runs after the same one. */
function rotated<T>(items: T[], by: number): T[] {
  const split = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(split), ...items.slice(0, split)];
}
