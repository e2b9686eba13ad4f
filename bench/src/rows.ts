import type { Measurement } from './pair.js';
import { type PeerName, REFERENCE } from './peers.js';
import type { ScenarioName } from './scenarios.js';

/** One line of the result. Scripts outside this repository read the names of these fields. */
export interface Row {
  scenario: ScenarioName;
  peer: PeerName;
  unit: string;
  /** Of the rates over all rounds, as `min` and `max`. */
  median: number;
  min: number;
  max: number;
  /** The median of the quotients to Nest TCP in the same round; null if Nest TCP was not measured. */
  ratio: number | null;
  p50Us: number;
  p99Us: number;
  /** CPU time of the process for one call. */
  serverCpuUs: number;
  clientCpuUs: number;
}

export function rowsOf(
  scenario: ScenarioName,
  unit: string,
  results: ReadonlyMap<PeerName, readonly Measurement[]>,
): Row[] {
  const reference = results.get(REFERENCE);
  return [...results].map(([peer, rounds]) => {
    const rates = rounds.map((round) => round.rate);
    const ratios = reference?.flatMap((round, i) => {
      const rate = rates[i];
      return rate === undefined ? [] : [rate / round.rate];
    });
    const medianOf = (field: keyof Measurement): number => median(rounds.map((round) => round[field]));
    return {
      scenario,
      peer,
      unit,
      median: rounded(median(rates), 1),
      min: rounded(Math.min(...rates), 1),
      max: rounded(Math.max(...rates), 1),
      ratio: ratios ? rounded(median(ratios), 3) : null,
      p50Us: rounded(medianOf('p50Us'), 1),
      p99Us: rounded(medianOf('p99Us'), 1),
      serverCpuUs: rounded(medianOf('serverCpuUs'), 2),
      clientCpuUs: rounded(medianOf('clientCpuUs'), 2),
    };
  });
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
