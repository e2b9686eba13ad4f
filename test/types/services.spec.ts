import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
const file = fileURLToPath(new URL('services.types.ts', import.meta.url));

/** What the compiler says of services.types.ts, after a change to its text. */
function diagnose(change: (text: string) => string): readonly ts.Diagnostic[] {
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, (path) => ts.sys.readFile(path)) as {
    config: { compilerOptions: object };
  };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const host = ts.createCompilerHost(options);
  const real = host.getSourceFile.bind(host);
  host.getSourceFile = (path, languageVersion, ...rest) =>
    path === file
      ? ts.createSourceFile(path, change(readFileSync(file, 'utf8')), languageVersion)
      : real(path, languageVersion, ...rest);
  const program = ts.createProgram([file], options, host);
  return program.getSemanticDiagnostics(program.getSourceFile(file));
}

const EXPECTED = /\/\/ @ts-expect-error/;

it('what must compile does, and what must not does not', () => {
  const lines = readFileSync(file, 'utf8').split('\n');
  const expected = lines.flatMap((line, index) => (EXPECTED.test(line) ? [index + 2] : []));

  const found = diagnose((text) => text.replaceAll('// @ts-expect-error', '// marked')).map(
    ({ file: source, start = 0, messageText }) => ({
      line: (source?.getLineAndCharacterOfPosition(start).line ?? 0) + 1,
      message: ts.flattenDiagnosticMessageText(messageText, '\n'),
    }),
  );

  expect(found.filter(({ line }) => !expected.includes(line))).toEqual([]);
  expect(expected.filter((line) => !found.some((error) => error.line === line))).toEqual([]);
  expect(expected.length).toBeGreaterThan(25);
}, 120_000);
