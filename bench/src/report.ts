import type { Row } from './rows.js';
import { isScenarioName, scenarios } from './scenarios.js';
import { table } from './table.js';

/** The tables for the terminal, one per scenario. */
export function report(rows: readonly Row[]): string {
  const names = [...new Set(rows.map((row) => row.scenario))].filter(isScenarioName);
  return names
    .map((name) => {
      const own = rows.filter((row) => row.scenario === name);
      return `\n${name}: ${scenarios[name].title}\n\n${scenarioTable(own)}`;
    })
    .join('\n');
}

interface Column {
  heading: string;
  cell: (row: Row) => string;
}

function scenarioTable(rows: readonly Row[]): string {
  const columns = columnsFor(rows);
  return table(
    columns.map((column) => column.heading),
    rows.map((row) => columns.map((column) => column.cell(row))),
  );
}

function columnsFor([first]: readonly Row[]): Column[] {
  const columns: Column[] = [{ heading: 'peer', cell: (row) => row.peer }];
  if (first?.ratioTo) {
    columns.push({ heading: `to ${first.ratioTo}`, cell: (row) => quotient(row.ratio) });
  }
  if (first?.ratioToGrpc !== undefined) {
    columns.push({ heading: 'to nest-grpc', cell: (row) => quotient(row.ratioToGrpc) });
  }
  columns.push(
    { heading: first?.unit ?? '', cell: (row) => whole(row.median) },
    { heading: 'min', cell: (row) => whole(row.min) },
    { heading: 'max', cell: (row) => whole(row.max) },
    { heading: 'p50 us', cell: (row) => tenths(row.p50Us) },
    { heading: 'p99 us', cell: (row) => tenths(row.p99Us) },
    { heading: 'server CPU us', cell: (row) => tenths(row.serverCpuUs) },
    { heading: 'client CPU us', cell: (row) => tenths(row.clientCpuUs) },
  );
  if (first?.serverMemoryMiB !== undefined) {
    columns.push(
      { heading: 'server MiB', cell: (row) => tenths(row.serverMemoryMiB) },
      { heading: 'client MiB', cell: (row) => tenths(row.clientMemoryMiB) },
    );
  }
  return columns;
}

function quotient(value: number | null | undefined): string {
  return value?.toFixed(2) ?? '-';
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function tenths(value: number | undefined): string {
  return value?.toFixed(1) ?? '-';
}
