import { maxToMean, type Row } from '../row.js';
import type { Column } from '../scenario.js';

/** The columns of all scenarios, after the first one. */
export const HEADINGS = [
  'Calls',
  'Answered',
  'p50 ms',
  'p99 ms',
  'p99.9 ms',
  'Amplification',
  'Load max/mean',
  'Ejections',
];

export function cellsOf(row: Row): string[] {
  return [
    String(row.calls),
    percent(row.answered),
    row.p50Ms.toFixed(1),
    row.p99Ms.toFixed(1),
    row.p999Ms.toFixed(1),
    row.amplification.toFixed(3),
    maxToMean(row.loads).toFixed(3),
    String(row.ejections),
  ];
}

/** Calls that were not answered within a second. */
export const LATE: Column = {
  heading: 'Not within 1 s',
  of: ({ log, calls }) => String(calls - log.answeredWithin(1_000_000)),
};

export function percent(share: number, digits = 3): string {
  return `${(share * 100).toFixed(digits)} %`;
}
