import type { Measurement } from './pair.js';
import type { PeerName } from './peers.js';
import type { Scenario } from './scenario.js';
import { type ScenarioName, scenarios } from './scenarios.js';

/** One line of the result. Scripts outside this repository depend on the names of these fields. */
export interface Row {
  scenario: ScenarioName;
  peer: PeerName;
  unit: string;
  /** Of the results of all rounds, as `min` and `max`. */
  median: number;
  min: number;
  max: number;
  /** The median of the ratios to `ratioTo` in the same round; null if that was not measured. */
  ratio: number | null;
  /** The peer that all ratios are relative to; null if the scenario has none. */
  ratioTo: PeerName | null;
  p50Us: number;
  p99Us: number;
  /** CPU time of the process for one call, item or round trip. */
  serverCpuUs: number;
  clientCpuUs: number;
  /** As `ratio`, to Nest gRPC, if `ratioTo` is another peer that has the same kind of stream. */
  ratioToGrpc?: number;
  /** Peak memory and items of the processes during the run: the median of the rounds. */
  serverMemoryMiB?: number;
  clientMemoryMiB?: number;
}

export function rowsOf(name: ScenarioName, measured: ReadonlyMap<PeerName, readonly Measurement[]>): Row[] {
  const scenario: Scenario = scenarios[name];
  return [...measured].map(([peer, rounds]) => {
    const results = rounds.map((round) => round.result);
    const medianOf = (field: keyof Measurement): number => median(rounds.map((round) => round[field] ?? NaN));
    const toGrpc = scenario.alsoToGrpc ? medianRatio(rounds, measured.get('nest-grpc')) : null;
    return {
      scenario: name,
      peer,
      unit: scenario.unit,
      median: rounded(median(results), 1),
      min: rounded(Math.min(...results), 1),
      max: rounded(Math.max(...results), 1),
      ratio: scenario.base ? medianRatio(rounds, measured.get(scenario.base)) : null,
      ratioTo: scenario.base,
      p50Us: rounded(medianOf('p50Us'), 1),
      p99Us: rounded(medianOf('p99Us'), 1),
      serverCpuUs: rounded(medianOf('serverCpuUs'), 2),
      clientCpuUs: rounded(medianOf('clientCpuUs'), 2),
      ...(toGrpc !== null && { ratioToGrpc: toGrpc }),
      ...(scenario.isWatched && {
        serverMemoryMiB: rounded(medianOf('serverMemoryMiB'), 1),
        clientMemoryMiB: rounded(medianOf('clientMemoryMiB'), 1),
      }),
    };
  });
}

/** Round by round, since the load of the machine affects both. */
function medianRatio(
  rounds: readonly Measurement[],
  base: readonly Measurement[] | undefined,
): number | null {
  const ratios = base?.flatMap((round, i) => {
    const own = rounds[i];
    return own ? [own.result / round.result] : [];
  });
  return ratios ? rounded(median(ratios), 3) : null;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const low = sorted[Math.floor(middle)] ?? Number.NaN;
  const high = sorted[Math.ceil(middle)] ?? Number.NaN;
  return (low + high) / 2;
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
