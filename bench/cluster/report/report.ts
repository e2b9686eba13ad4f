import { type CheckedBound, isAsSaid, type Section } from '../part.js';
import { INTRODUCTION } from './introduction.js';
import { markdownTable } from './markdown.js';
import { pictureName } from './picture-name.js';

/** The report as Markdown. */
export function report(sections: readonly Section[]): string {
  return [INTRODUCTION, boundsTable(sections), ...sections.map(sectionText)].join('\n');
}

function boundsTable(sections: readonly Section[]): string {
  const lines = sections.flatMap(({ title, bounds }) =>
    bounds.map((bound) => [
      `[${title}](#${anchor(title)})`,
      bound.what,
      bound.measured,
      bound.limit,
      keptCell(bound),
    ]),
  );
  const reasons = sections.flatMap(({ title, bounds }) =>
    bounds.flatMap(({ what, missedBecause }) =>
      missedBecause === undefined ? [] : [`- ${title}, ${what}: ${missedBecause}`],
    ),
  );
  const table = markdownTable(['Scenario', 'Value', 'Measured', 'Bound', 'Kept'], lines);
  const missed = reasons.length === 0 ? '' : `\nWhy some are not kept:\n\n${reasons.join('\n')}\n`;
  return `## Bounds\n\n${table}\n${missed}`;
}

function keptCell(bound: CheckedBound): string {
  if (!isAsSaid(bound)) return bound.isKept ? 'yes, against its reason' : '**no**';
  return bound.isKept ? 'yes' : 'no, see below';
}

/** As GitHub makes it of a heading. */
function anchor(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^a-z0-9_ -]/g, '')
    .replaceAll(' ', '-');
}

function sectionText({ name, title, shows, headings, lines, picture }: Section): string {
  const image = picture === undefined ? '' : `\n![${title}](${pictureName(name)})\n`;
  return `## ${title}\n\n${shows}\n\n${markdownTable(headings, lines)}\n${image}`;
}
