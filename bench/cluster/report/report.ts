import type { Bound } from '../scenario.js';
import type { Result, Row } from '../row.js';
import { markdownTable } from './markdown.js';

const INTRO = `# Simulation of a fleet

<!-- Written by \`npm run simulate\`; do not edit. -->
`;

/** The report of the results as Markdown. */
export function report(results: readonly Result[]): string {
  return [INTRO, boundsTable(results), ...results.map(section)].join('\n');
}

/** Whether a row keeps a bound. */
export function holds({ of, atMost = Infinity, atLeast = -Infinity }: Bound, row: Row): boolean {
  const value = of(row);
  return value <= atMost && value >= atLeast;
}

export function rowFor({ rows, scenario }: Result, { balancer }: Bound): Row {
  const row = rows.find((each) => each.balancer === balancer);
  if (!row) throw new Error(`${scenario.name} has no row for ${balancer}`);
  return row;
}

/** The cells of the table of bounds. */
export function boundLines(result: Result): string[][] {
  const { title, bounds = [] } = result.scenario;
  return bounds.map((bound) => {
    const row = rowFor(result, bound);
    const measured = bound.of(row).toFixed(bound.digits);
    return [
      `[${title}](#${anchor(title)})`,
      bound.what,
      measured,
      limit(bound),
      holds(bound, row) ? 'yes' : '**no**',
    ];
  });
}

function boundsTable(results: readonly Result[]): string {
  const lines = results.flatMap(boundLines);
  return `## Bounds\n\n${markdownTable(['Scenario', 'Value', 'Measured', 'Bound', 'Kept'], lines)}\n`;
}

function limit({ atMost, atLeast }: Bound): string {
  return atMost === undefined ? `>= ${atLeast}` : `<= ${atMost}`;
}

/** As GitHub makes it of a heading. */
function anchor(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^a-z0-9 -]/g, '')
    .replaceAll(' ', '-');
}

const HEADINGS = [
  'Balancer',
  'Calls',
  'Answered',
  'p50 ms',
  'p99 ms',
  'p99.9 ms',
  'Amplification',
  'Load max/mean',
  'Ejections',
];

/** The part of the report about one scenario. */
export function section({ scenario, rows }: Result): string {
  const lines = rows.map((row) => [
    row.balancer,
    String(row.calls),
    `${(row.answered * 100).toFixed(3)} %`,
    row.p50Ms.toFixed(1),
    row.p99Ms.toFixed(1),
    row.p999Ms.toFixed(1),
    row.amplification.toFixed(3),
    row.loadMaxToMean.toFixed(3),
    String(row.ejections),
  ]);
  const { name, title, chart } = scenario;
  const picture = chart ? `\n![${title}](simulation-${name}.svg)\n` : '';
  return `## ${scenario.title}\n\n${scenario.shows}\n\n${markdownTable(HEADINGS, lines)}\n${picture}`;
}
