import type { Result } from '../row.js';
import { lineChart } from './line-chart.js';
import { report } from './report.js';

/** The files of the report: name and content. */
export function reportFiles(results: readonly Result[]): [name: string, content: string][] {
  const charts = results.flatMap((result): [string, string][] => {
    const { name, chart } = result.scenario;
    return chart ? [[`simulation-${name}.svg`, lineChart(chart(result.rows))]] : [];
  });
  return [['simulation.md', report(results)], ...charts];
}
