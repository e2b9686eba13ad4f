import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { compile, type Compiled } from '../helpers/compiled.js';

const folder = 'sample/17-observability';
const root = new URL('../../', import.meta.url);
let compiled: Compiled;

beforeAll(async () => {
  const files = readdirSync(new URL(folder, root)).map((name) => `${folder}/${name}`);
  compiled = await compile(['sample/processes.ts', ...files]);
  // samples import the package by its name
  const exports = { '.': './lib/index.js', './*': './lib/*.js' };
  await writeFile(
    compiled.path('package.json'),
    JSON.stringify({ name: 'nestjs-rap', type: 'module', exports }),
  );
});
afterAll(() => compiled?.remove());

it('shows one trace through three processes, and metrics of the one in the middle, as its page says', async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [
    compiled.path(`${folder}/main.ts`),
  ]);

  expect(stderr).toBe('');
  const text = stdout.replaceAll(/[\d.]+ ms/g, '<ms>').replaceAll(/trace [\da-f]{32}$/gm, 'trace <id>');
  const readme = readFileSync(new URL('sample/README.md', root), 'utf8');
  const [, shown] = /^## 17-observability$.*?^```text\n(.*?)^```/ms.exec(readme) ?? [];
  expect(text).toBe(shown);
  expect(text).toContain(
    '        stock: client price/of OK, <ms>\n          price: server price/of OK, <ms>\n',
  );
});
