import { readdirSync, readFileSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const page = readFileSync(new URL('docs/internals.md', root), 'utf8');
const files = new Map(
  readdirSync(new URL('lib/', root), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => [file, readFileSync(new URL(`lib/${file}`, root), 'utf8')]),
);
const others = new Set(
  ['test', 'docs'].flatMap((folder) =>
    readdirSync(new URL(`${folder}/`, root), { recursive: true, encoding: 'utf8' }).map(
      (file) => `${folder}/${file}`,
    ),
  ),
);
const quoted = [...new Set([...page.matchAll(/`([^`\n]+)`/g)].map(([, text = '']) => text))];

/** A path in lib/, a file of any folder of it, or one of the other folders. */
function isFile(name: string): boolean {
  const isBare = !name.includes('/');
  return (
    files.has(name) ||
    others.has(name) ||
    (isBare && [...files.keys()].some((file) => file.endsWith(`/${name}`)))
  );
}

it('names only files of lib, test and docs that exist', () => {
  const named = quoted.filter((text) => /^[\w./-]+\.(ts|md)$/.test(text) && text !== 'README.md');
  expect(named.length).toBeGreaterThan(60);
  expect(named.filter((name) => !isFile(name))).toEqual([]);
});

/** The sources with a class, interface or constant of this name. */
function sourcesOf(name: string): string[] {
  const declared = new RegExp(`\\b(class|interface|const|type) ${name}\\b`);
  return [...files.values()].filter((source) => declared.test(source));
}

it('names only methods that exist', () => {
  const methods = quoted.flatMap((text) => [...text.matchAll(/^([A-Z][A-Za-z]+)\.([a-z]\w+)$/g)]);
  expect(methods.length).toBeGreaterThan(60);
  const missing = methods.filter(([text, owner = '', member = '']) => {
    const declared = new RegExp(`(^| |#)${member}[?]?( =|[(<:?])`, 'm');
    return (
      text !== 'README.md' &&
      text !== 'Class.method' &&
      !sourcesOf(owner).some((source) => declared.test(source))
    );
  });
  expect(missing.map(([text]) => text)).toEqual([]);
});

it('has every folder of lib in its picture', () => {
  const picture = page.split('```mermaid')[1]?.split('```')[0] ?? '';
  const folders = new Set([...files.keys()].map((file) => file.split('/').slice(0, -1).join('/')));
  const missing = [...folders].filter(
    (folder) => folder !== '' && folder !== 'nest' && !new RegExp(`"${folder}[":]`).test(picture),
  );
  expect(missing).toEqual([]);
});

it('names only classes and functions that exist', () => {
  const names = quoted.filter((text) => /^([A-Z][a-z]+){2,}$|^[a-z]+[A-Z]\w+$/.test(text));
  expect(names.length).toBeGreaterThan(60);
  const all = [...files.values()].join('\n');
  expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(all))).toEqual([]);
});
