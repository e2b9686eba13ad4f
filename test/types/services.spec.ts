import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
const names = ['services', 'shapes', 'controllers', 'fleet', 'testing'];
const fileOf = (name: string): string => fileURLToPath(new URL(`${name}.types.ts`, import.meta.url));

interface Finding {
  readonly line: number;
  readonly message: string;
}

/** What the compiler says of each file when nothing is marked as expected. */
function diagnose(): Map<string, Finding[]> {
  const files = names.map(fileOf);
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, (path) => ts.sys.readFile(path)) as {
    config: { compilerOptions: object };
  };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const host = ts.createCompilerHost(options);
  const real = host.getSourceFile.bind(host);
  host.getSourceFile = (path, languageVersion, ...rest) =>
    files.includes(path)
      ? ts.createSourceFile(
          path,
          readFileSync(path, 'utf8').replaceAll('// @ts-expect-error', '// marked'),
          languageVersion,
        )
      : real(path, languageVersion, ...rest);
  const program = ts.createProgram(files, options, host);
  return new Map(
    names.map((name) => {
      const source = program.getSourceFile(fileOf(name));
      return [name, program.getSemanticDiagnostics(source).map(findingOf)];
    }),
  );
}

function findingOf({ file, start = 0, messageText }: ts.Diagnostic): Finding {
  return {
    line: (file?.getLineAndCharacterOfPosition(start).line ?? 0) + 1,
    message: ts.flattenDiagnosticMessageText(messageText, '\n'),
  };
}

const EXPECTED = /\/\/ @ts-expect-error/;
let findings: Map<string, Finding[]>;

beforeAll(() => {
  findings = diagnose();
}, 120_000);

it.each(names)('%s: what must compile does, and what must not does not', (name) => {
  const lines = readFileSync(fileOf(name), 'utf8').split('\n');
  const expected = lines.flatMap((line, index) => (EXPECTED.test(line) ? [index + 2] : []));
  const found = findings.get(name) ?? [];

  expect(found.filter(({ line }) => !expected.includes(line))).toEqual([]);
  expect(expected.filter((line) => !found.some((error) => error.line === line))).toEqual([]);
  expect(expected.length).toBeGreaterThanOrEqual(3);
});
