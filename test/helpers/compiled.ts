import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Sources compiled for a Node without Jest. */
export interface Compiled {
  /** Path of what became of a source. */
  path(source: string): string;
  /** Deletes everything again. */
  remove(): Promise<void>;
}

/**
 * Compiles the library and these files of `test` into a folder for temporary files. Always from the present sources:
 * `dist` may be older than what is tested.
 */
export async function compile(files: readonly string[]): Promise<Compiled> {
  const out = await mkdtemp(join(tmpdir(), 'nestjs-rap-'));
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: { compilerOptions: object };
  };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const compilerOptions: ts.CompilerOptions = {
    ...options,
    module: ts.ModuleKind.ES2022,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    noEmit: false,
    declaration: false,
    sourceMap: false,
  };
  const library = (await readdir(join(root, 'lib'), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && /\.m?[tj]s$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  await symlink(join(root, 'node_modules'), join(out, 'node_modules'), 'junction');
  await writeFile(join(out, 'package.json'), JSON.stringify({ type: 'module' }));
  const path = (source: string): string => join(out, source.replace(/\.ts$/, '.js'));
  await Promise.all(
    [...library, ...files].map(async (file) => {
      if (file.endsWith('.mjs')) {
        await mkdir(dirname(path(file)), { recursive: true });
        return copyFile(join(root, file), path(file));
      }
      const source = await readFile(join(root, file), 'utf8');
      const { outputText } = ts.transpileModule(source, { fileName: join(root, file), compilerOptions });
      await mkdir(dirname(path(file)), { recursive: true });
      await writeFile(path(file), outputText);
    }),
  );
  return { path, remove: () => rm(out, { recursive: true, force: true }) };
}
