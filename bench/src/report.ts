import type { Row } from './rows.js';
import { isScenarioName, scenarios } from './scenarios.js';
import { table } from './table.js';

/** The tables for the terminal, one a scenario. */
export function report(rows: readonly Row[]): string {
  const names = [...new Set(rows.map((row) => row.scenario))].filter(isScenarioName);
  return names
    .map((name) => {
      const own = rows.filter((row) => row.scenario === name);
      return `\n${name}: ${scenarios[name].title}\n\n${scenarioTable(own)}`;
    })
    .join('\n');
}

function scenarioTable(rows: readonly Row[]): string {
  const unit = rows[0]?.unit ?? '';
  const headings = [
    'peer',
    'ratio',
    unit,
    'min',
    'max',
    'p50 us',
    'p99 us',
    'server CPU us',
    'client CPU us',
  ];
  return table(
    headings,
    rows.map((row) => [
      row.peer,
      row.ratio === null ? '-' : row.ratio.toFixed(2),
      whole(row.median),
      whole(row.min),
      whole(row.max),
      whole(row.p50Us),
      whole(row.p99Us),
      row.serverCpuUs.toFixed(1),
      row.clientCpuUs.toFixed(1),
    ]),
  );
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}
