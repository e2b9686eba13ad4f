export interface Line {
  readonly name: string;
  /** x and y, by x. */
  readonly points: readonly (readonly [number, number])[];
}

export interface LineChart {
  readonly title: string;
  readonly subtitle: string;
  readonly x: string;
  readonly y: string;
  readonly lines: readonly Line[];
  /** A horizontal line with its name. */
  readonly bound?: { readonly name: string; readonly at: number };
  /** The end of the y axis, if the highest value would hide the others. */
  readonly yEnd?: number;
}

const WIDTH = 860;
const LEFT = 64;
const RIGHT = WIDTH - 24;
const LEGEND_TOP = 80;
const TOP = 104;
const BOTTOM = 384;
const HEIGHT = 440;
const LEGEND_STEP = 150;
const TICKS = 5;

/** Colours that also differ in brightness, for a light and a dark ground. */
const COLORS = [
  ['#0550ae', '#58a6ff'],
  ['#bc4c00', '#f0883e'],
  ['#57606a', '#c9d1d9'],
  ['#1a7f7a', '#39c5bb'],
  ['#8250df', '#a371f7'],
] as const;

/** Draws lines over a common x. The same chart gives the same bytes. */
export function lineChart(chart: LineChart): string {
  const points = chart.lines.flatMap((line) => line.points);
  const xEnd = roundedUp(Math.max(...points.map(([x]) => x)));
  const yEnd = chart.yEnd ?? roundedUp(Math.max(chart.bound?.at ?? 0, ...points.map(([, y]) => y)));
  const toX = (x: number): string => (LEFT + (x / xEnd) * (RIGHT - LEFT)).toFixed(1);
  const toY = (y: number): string => (BOTTOM - (Math.min(y, yEnd) / yEnd) * (BOTTOM - TOP)).toFixed(1);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">`,
    `<title>${escape(chart.title)}</title>`,
    `<desc>${escape(chart.subtitle)}</desc>`,
    `<style>${STYLE}</style>`,
    `<rect class="ground" width="${WIDTH}" height="${HEIGHT}" rx="8"/>`,
    text(24, 36, chart.title, 'title'),
    text(24, 58, chart.subtitle, 'faint'),
    ...chart.lines.map(({ name }, index) => legend(name, index)),
    ...ticks(yEnd).map((tick) => {
      const y = toY(tick);
      return `<line class="grid" x1="${LEFT}" x2="${RIGHT}" y1="${y}" y2="${y}"/>${text(LEFT - 8, Number(y) + 4, label(tick), 'faint end')}`;
    }),
    ...ticks(xEnd).map((tick) => text(Number(toX(tick)), BOTTOM + 18, label(tick), 'faint middle')),
    ...(chart.bound ? [boundLine(chart.bound.name, toY(chart.bound.at))] : []),
    ...chart.lines.map(
      (line, index) =>
        `<polyline class="line${index}" points="${line.points.map(([x, y]) => `${toX(x)},${toY(y)}`).join(' ')}"/>`,
    ),
    text((LEFT + RIGHT) / 2, BOTTOM + 40, chart.x, 'faint middle'),
    text(LEFT - 40, TOP - 10, chart.y, 'faint'),
    '</svg>',
    '',
  ].join('\n');
}

function boundLine(name: string, y: string): string {
  return `<line class="bound" x1="${LEFT}" x2="${RIGHT}" y1="${y}" y2="${y}"/>${text(RIGHT, Number(y) - 6, name, 'faint end')}`;
}

function legend(name: string, index: number): string {
  const x = 24 + index * LEGEND_STEP;
  return `<line class="line${index}" x1="${x}" x2="${x + 18}" y1="${LEGEND_TOP - 4}" y2="${LEGEND_TOP - 4}"/>${text(x + 26, LEGEND_TOP, name)}`;
}

function ticks(end: number): number[] {
  return Array.from({ length: TICKS + 1 }, (_, index) => (end * index) / TICKS);
}

/** The next number that divides well. */
function roundedUp(value: number): number {
  let unit = 1e-6;
  while (unit * 10 < value) unit *= 10;
  for (const digit of [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8]) if (digit * unit >= value) return tidy(digit * unit);
  return tidy(10 * unit);
}

function tidy(value: number): number {
  return Number(value.toPrecision(6));
}

function label(value: number): string {
  return String(tidy(value));
}

const STYLE = [
  `text{font:12px -apple-system,'Segoe UI',Helvetica,Arial,sans-serif}`,
  '.title{font-size:18px;font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}',
  'polyline,line{fill:none;stroke-width:1.8}.grid{stroke-width:1}.bound{stroke-dasharray:5 4}',
  strokes(0),
  '.ground{fill:#ffffff}text{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d8dee4}.bound{stroke:#cf222e}',
  `@media(prefers-color-scheme:dark){${strokes(1)}`,
  '.ground{fill:#0d1117}text{fill:#e6edf3}.faint{fill:#9198a1}.grid{stroke:#30363d}.bound{stroke:#ff7b72}}',
].join('');

function strokes(shade: 0 | 1): string {
  return COLORS.map((color, index) => `.line${index}{stroke:${color[shade]}}`).join('');
}

function text(x: number, y: number, content: string, classes = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${classes ? ` class="${classes}"` : ''}>${escape(content)}</text>`;
}

function escape(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
