import { chartStyle } from './chart-style.js';
import { type LogScale, logScale } from './log-scale.js';
import { type PeerName, peers, REFERENCE } from './peers.js';
import type { Row } from './rows.js';
import { scenarios } from './scenarios.js';

const WIDTH = 860;
const PLOT_LEFT = 130;
const PLOT_RIGHT = WIDTH - 24;
const LEGEND_TOP = 74;
const LEGEND_LINE = 20;
const LEGEND_COLUMNS = 2;
const GROUP_TITLE = 26;
const BAR = 16;
const BAR_STEP = 20;
const GROUP_GAP = 14;
const FOOT = 58;

const TITLE = 'Speed as a multiple of Nest TCP';
const SUBTITLE = 'One connection over loopback; server and client each in a process of its own.';
const AXIS = 'Rate divided by that of Nest TCP in the same round, median (log scale; right of 1 is faster)';

interface Bar {
  peer: PeerName;
  ratio: number;
}

interface Group {
  title: string;
  bars: Bar[];
}

/** Draws each peer's ratio to Nest TCP as a bar from 1, grouped by scenario. The same rows give the same bytes. */
export function chart(rows: readonly Row[]): string {
  const groups = groupsOf(rows);
  const bars = groups.flatMap((group) => group.bars);
  const shown = [...new Set(bars.map((bar) => bar.peer))];
  const scale = logScale(bars.map((bar) => bar.ratio));
  const top = LEGEND_TOP + Math.ceil(shown.length / LEGEND_COLUMNS) * LEGEND_LINE + 28;

  let bottom = top;
  const drawn = groups.map((group) => {
    const markup = drawGroup(group, bottom, scale);
    bottom += GROUP_TITLE + group.bars.length * BAR_STEP + GROUP_GAP;
    return markup;
  });

  const height = bottom + FOOT;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${TITLE}</title>`,
    `<desc>${escape(describe(groups))}</desc>`,
    `<style>${chartStyle}</style>`,
    `<rect class="ground" width="${WIDTH}" height="${height}" rx="8"/>`,
    text(24, 36, TITLE, 'title'),
    text(24, 56, SUBTITLE, 'faint'),
    ...shown.map(drawLegendEntry),
    ...drawAxis(scale, top, bottom),
    ...drawn,
    text((PLOT_LEFT + PLOT_RIGHT) / 2, bottom + 40, AXIS, 'faint middle'),
    '</svg>',
    '',
  ].join('\n');
}

/** Nest TCP itself is the line at 1 and has no bar; scenarios that it does not support are left out. */
function groupsOf(rows: readonly Row[]): Group[] {
  const groups = new Map<string, Group>();
  for (const { scenario, peer, ratio, ratioTo } of rows) {
    if (ratio === null || ratioTo !== REFERENCE || peer === REFERENCE) continue;
    const group = groups.get(scenario) ?? { title: scenarios[scenario].title, bars: [] };
    group.bars.push({ peer, ratio });
    groups.set(scenario, group);
  }
  return [...groups.values()];
}

function drawLegendEntry(peer: PeerName, index: number): string {
  const x = 24 + (index % LEGEND_COLUMNS) * (WIDTH / LEGEND_COLUMNS);
  const y = LEGEND_TOP + Math.floor(index / LEGEND_COLUMNS) * LEGEND_LINE;
  const swatch = `<rect class="${peer}" x="${x}" y="${y}" width="12" height="12" rx="2"/>`;
  return swatch + text(x + 20, y + 10, `${peer}: ${peers[peer].description}`);
}

function drawAxis(scale: LogScale, top: number, bottom: number): string[] {
  return scale.ticks.map((tick) => {
    const x = at(scale, tick);
    const line = `<line class="${tick === 1 ? 'baseline' : 'grid'}" x1="${x}" x2="${x}" y1="${top}" y2="${bottom}"/>`;
    const label = tick === 1 ? text(x, top - 6, 'Nest TCP', 'faint middle') : '';
    return line + label + text(x, bottom + 16, `${tick}×`, 'faint middle');
  });
}

function drawGroup({ title, bars }: Group, top: number, scale: LogScale): string {
  const lines = bars.map((bar, i) => drawBar(bar, top + GROUP_TITLE + i * BAR_STEP, scale));
  return [text(24, top + 17, title, 'group'), ...lines].join('\n');
}

function drawBar({ peer, ratio }: Bar, top: number, scale: LogScale): string {
  const one = at(scale, 1);
  const end = at(scale, ratio);
  const left = Math.min(one, end);
  const width = Math.max(1, Math.abs(end - one)).toFixed(1);
  const isFaster = ratio >= 1;
  const baseline = top + BAR - 4;
  return [
    text(PLOT_LEFT - 8, baseline, peer, 'end'),
    `<rect class="${peer}" x="${left}" y="${top}" width="${width}" height="${BAR}" rx="2"/>`,
    text(isFaster ? end + 6 : end - 6, baseline, `${short(ratio)}×`, isFaster ? '' : 'end'),
  ].join('');
}

function at(scale: LogScale, value: number): number {
  const x = PLOT_LEFT + scale.position(value) * (PLOT_RIGHT - PLOT_LEFT);
  return Math.round(x * 10) / 10;
}

/** The chart as text, for screen readers. */
function describe(groups: readonly Group[]): string {
  return groups
    .map(
      ({ title, bars }) =>
        `${title}: ${bars.map(({ peer, ratio }) => `${peer} ${short(ratio)}`).join(', ')}.`,
    )
    .join(' ');
}

function short(ratio: number): string {
  return String(Number(ratio.toPrecision(2)));
}

function text(x: number, y: number, content: string, classes = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y}"${classes ? ` class="${classes}"` : ''}>${escape(content)}</text>`;
}

function escape(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
