import { shown } from '../errors/shown.js';
import { isStandardSchema } from '../validation/standard-schema.js';

const BOOLEANS = ['private', 'idempotent'];
const SCHEMAS = ['input', 'output'];
const OPTIONS: ReadonlySet<string> = new Set([
  ...BOOLEANS,
  ...SCHEMAS,
  'kind',
  'timeoutMs',
  'doc',
  'aliases',
  '~types',
]);

/** What is wrong with the options of a method, in a contract or in extras of a handler; they may come from JavaScript. */
export function optionProblem(options: object): string | undefined {
  const values = options as Readonly<Record<string, unknown>>;
  const { timeoutMs, doc } = values;
  if (timeoutMs !== undefined && !(typeof timeoutMs === 'number' && timeoutMs > 0))
    return `timeoutMs must be a number above 0, got ${shown(timeoutMs)}`;
  if (doc !== undefined && typeof doc !== 'string') return `doc must be text, got ${shown(doc)}`;
  for (const name of BOOLEANS) {
    // `private: 'yes'` must not make a function public
    const value = values[name];
    if (value !== undefined && typeof value !== 'boolean')
      return `${name} must be true or false, got ${shown(value)}`;
  }
  const wrong = SCHEMAS.find((name) => values[name] !== undefined && !isStandardSchema(values[name]));
  return wrong && `${wrong} is not a Standard Schema`;
}

/** Extras of a handler may belong to other libraries; in a contract, an unknown option is a mistake. */
export function unknownOption(options: object): string | undefined {
  const unknown = Object.keys(options).find((name) => !OPTIONS.has(name));
  return unknown === undefined ? undefined : `there is no option "${shown(unknown)}"`;
}
