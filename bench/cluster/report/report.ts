import type { Section } from '../part.js';
import { INTRODUCTION } from './introduction.js';
import { markdownTable } from './markdown.js';
import { pictureName } from './picture-name.js';

/** The report as Markdown. */
export function report(sections: readonly Section[]): string {
  return [INTRODUCTION, boundsTable(sections), ...sections.map(sectionText)].join('\n');
}

function boundsTable(sections: readonly Section[]): string {
  const lines = sections.flatMap(({ title, bounds }) =>
    bounds.map(({ what, measured, limit, isKept }) => [
      `[${title}](#${anchor(title)})`,
      what,
      measured,
      limit,
      isKept ? 'yes' : '**no**',
    ]),
  );
  return `## Bounds\n\n${markdownTable(['Scenario', 'Value', 'Measured', 'Bound', 'Kept'], lines)}\n`;
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
