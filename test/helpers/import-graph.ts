import { posix } from 'node:path';

const IMPORT =
  /^\s*(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*['"`]([^'"`]*)|\brequire\(/gm;

export interface Import {
  /** What stands in quotes; `require` for any call of `require()`. */
  readonly from: string;
  readonly isType: boolean;
}

/** Files with the files that each imports. */
export type ImportGraph = ReadonlyMap<string, readonly string[]>;

export function withoutComments(source: string): string {
  return source.replaceAll(/\/\*[^]*?\*\/|\/\/.*$/gm, '');
}

/** What a file imports: statically, dynamically, for its types, or by exporting it again. */
export function importsOf(source: string): Import[] {
  return [...withoutComments(source).matchAll(IMPORT)].map(([, type, from, dynamic]) => ({
    from: from ?? dynamic ?? 'require',
    isType: type !== undefined,
  }));
}

/** The file that a relative import of `file` leads to. */
export function importedFile(file: string, from: string): string {
  return posix.join(posix.dirname(file), from).replace(/\.js$/, '.ts');
}

export function importGraph(sources: ReadonlyMap<string, string>): ImportGraph {
  const graph = new Map<string, string[]>();
  for (const [file, source] of sources) {
    const relative = importsOf(source).filter(({ from }) => from.startsWith('.'));
    graph.set(
      file,
      relative.map(({ from }) => importedFile(file, from)),
    );
  }
  return graph;
}

/** For each node that lies on a circle: the shortest one through it, unless one before has named the node already. */
export function circles(graph: ImportGraph): string[] {
  const named = new Set<string>();
  return [...graph.keys()].toSorted().flatMap((node) => {
    const circle = named.has(node) ? undefined : pathBack(graph, node);
    circle?.forEach((member) => named.add(member));
    return circle ? [circle.join(' -> ')] : [];
  });
}

/** The shortest path from a node over at least one arrow back to it. */
function pathBack(graph: ImportGraph, node: string): string[] | undefined {
  const seen = new Set<string>();
  const paths = [[node]];
  for (const path of paths) {
    for (const next of graph.get(path.at(-1) as string) ?? []) {
      if (next === node) return [...path, node];
      if (!seen.has(next)) paths.push([...path, next]);
      seen.add(next);
    }
  }
  return undefined;
}

/** Lines of the longest class in a file that is formatted as this project is. */
function longestClass(source: string): number {
  const lines = source.split('\n');
  const lengths = lines.map((line, start) => {
    const indent = /^( *)(?:export |default |abstract |return |const \w+ = )*class\b/.exec(line)?.[1];
    if (indent === undefined || line.endsWith('}')) return 0;
    return lines.findIndex((end, i) => i > start && /^ *\}/.exec(end)?.[0] === `${indent}}`) - start + 1;
  });
  return Math.max(...lengths);
}

export interface SizeLimits {
  readonly fileLines: number;
  readonly classLines: number;
  readonly folderFiles: number;
}

/** Files, classes and folders that are too large. */
export function oversized(sources: ReadonlyMap<string, string>, limits: SizeLimits): string[] {
  const filesIn = new Map<string, number>();
  const found = [...sources].flatMap(([file, source]) => {
    filesIn.set(posix.dirname(file), (filesIn.get(posix.dirname(file)) ?? 0) + 1);
    const lines = source.split('\n').length - 1;
    const classLines = longestClass(source);
    return [
      ...(lines > limits.fileLines ? [`${file}: ${lines} lines`] : []),
      ...(classLines > limits.classLines ? [`${file}: a class of ${classLines} lines`] : []),
    ];
  });
  for (const [folder, count] of filesIn)
    if (count > limits.folderFiles) found.push(`${folder}: ${count} files`);
  return found;
}
