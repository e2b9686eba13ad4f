import type { Section } from '../part.js';
import { pictureName } from './picture-name.js';
import { report } from './report.js';

/** The files of the report: name and content. */
export function reportFiles(sections: readonly Section[]): [name: string, content: string][] {
  const pictures = sections.flatMap(({ name, picture }): [string, string][] =>
    picture === undefined ? [] : [[pictureName(name), picture]],
  );
  return [['simulation.md', report(sections)], ...pictures];
}
