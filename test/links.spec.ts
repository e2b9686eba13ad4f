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

it('the package has the pages that its README links to', () => {
  const { files } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { files: string[] };
  const readme = readFileSync(new URL('README.md', root), 'utf8');
  const linked = [...readme.matchAll(/\]\((\w[^)\s#:]*)/g)].map(([, path = '']) => path);
  // samples need the repository
  const missing = linked.filter((path) => !path.startsWith('sample/') && !/^https?$/.test(path));
  const has = (path: string): boolean => files.some((file) => path === file || path.startsWith(`${file}/`));
  expect(missing.filter((path) => !has(path))).toEqual([]);
});

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
