import { readdirSync, readFileSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const docs = readdirSync(new URL('docs/', root)).map((name) => `docs/${name}`);
const pages = ['README.md', 'CHANGELOG.md', 'sample/README.md', ...docs].filter((name) =>
  name.endsWith('.md'),
);

/** The anchors that GitHub makes of the headings of a page. */
function anchorsOf(text: string): Set<string> {
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

it.each(pages)('the links of %s lead somewhere', (name) => {
  const text = readFileSync(new URL(name, root), 'utf8').replaceAll(/```.*?```/gs, '');
  const broken = [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link = '']) => link)
    .filter((link) => !/^https?:/.test(link))
    .filter((link) => {
      const [path = '', anchor] = link.split('#');
      const target = new URL(path === '' ? name : path, new URL(name, root));
      try {
        if (!path.endsWith('.md') && path !== '') return readdirSync(target).length === 0;
        const file = path === '' ? new URL(name, root) : target;
        return anchor !== undefined && !anchorsOf(readFileSync(file, 'utf8')).has(anchor);
      } catch (error) {
        return (error as { code?: unknown }).code !== 'ENOTDIR';
      }
    });
  expect(broken).toEqual([]);
});
