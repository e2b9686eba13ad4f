import { formatTarget } from '../../protocol/target.js';
import { isObject, textOf } from '../../protocol/values/unknown.js';
import { RegisteredError } from '../errors/errors.js';
import { shown } from '../errors/shown.js';
import { optionProblem, unknownOption } from './method-options.js';
import type { SchemaInput, SchemaOutput, StandardSchema } from '../validation/standard-schema.js';

/** Whether each side of a method sends one message or many. */
export type RapMethodKind = 'unary' | 'serverStream' | 'clientStream' | 'duplex';

/** Options of a method in a contract. */
export interface RapMethodOptions {
  /** Time for a call, in milliseconds: the handler's limit, and the default of the client's calls. */
  timeoutMs?: number | undefined;
  /** Repeating a call does no harm: clients of several servers do so after a failure. See `idempotent` of `RapCallOptions`. */
  idempotent?: boolean | undefined;
  /** Its description in the registry. */
  doc?: string | undefined;
  /** Only callers on the server's machine find it; behind a proxy on it, all callers do: see `trustLoopback` of `RapServer`. */
  private?: boolean | undefined;
  /** Further names for it: `'add'` in the service's group, `'/other/add'` anywhere. */
  aliases?: readonly string[] | undefined;
}

/** A method of a contract, as it is at run time. */
export interface AnyRapMethod extends Readonly<RapMethodOptions> {
  readonly kind: RapMethodKind;
  /** Schema of what the caller sends: the parameters, or each item. */
  readonly input?: StandardSchema | undefined;
  /** Schema of what the handler returns: the result, or each item. */
  readonly output?: StandardSchema | undefined;
}

/** A method of a contract with its types. */
export interface RapMethod<
  Kind extends RapMethodKind,
  Sent,
  Received,
  Returned,
  Answered,
> extends AnyRapMethod {
  readonly kind: Kind;
  /** Never set at run time: for the compiler only. */
  readonly '~types'?: {
    /** What the caller sends. */
    readonly sent: Sent;
    /** What the handler gets: the same, after the input's schema. */
    readonly received: Received;
    /** What the handler returns. */
    readonly returned: Returned;
    /** What the caller gets: the same, after the output's schema. */
    readonly answered: Answered;
  };
}

/** A service: a group and its methods, known to both sides. Made by {@link defineService}. */
export interface RapServiceDefinition<
  Methods extends Readonly<Record<string, AnyRapMethod>> = Readonly<Record<string, AnyRapMethod>>,
> {
  readonly group: string;
  readonly methods: Methods;
}

/**
 * Describes a method by types (`unary<{ a: number }, number>()`), by schemas, which give the types
 * (`unary({ input: SumSchema, output: z.number() })`), or by types that schemas must fit.
 */
interface DescribeMethod<Kind extends RapMethodKind> {
  <I extends StandardSchema, O extends StandardSchema>(
    options: RapMethodOptions & { input: I; output: O },
  ): RapMethod<Kind, SchemaInput<I>, SchemaOutput<I>, SchemaInput<O>, SchemaOutput<O>>;
  <I extends StandardSchema, Output = void>(
    options: RapMethodOptions & { input: I; output?: undefined },
  ): RapMethod<Kind, SchemaInput<I>, SchemaOutput<I>, Output, Output>;
  <Input = void, O extends StandardSchema = StandardSchema>(
    options: RapMethodOptions & { input?: undefined; output: O },
  ): RapMethod<Kind, Input, Input, SchemaInput<O>, SchemaOutput<O>>;
  <Input = void, Output = void>(
    options?: RapMethodOptions & {
      input?: StandardSchema<unknown, Input>;
      output?: StandardSchema<unknown, Output>;
    },
  ): RapMethod<Kind, Input, Input, Output, Output>;
}

/** One call, one answer: `unary<Input, Output>()`. */
export const unary = describe('unary');
/** One call, many items: `serverStream<Input, Item>()`. */
export const serverStream = describe('serverStream');
/** Many items, one result: `clientStream<Item, Result>()`. */
export const clientStream = describe('clientStream');
/** Both sides write and read: `duplex<what the client sends, what it receives>()`. */
export const duplex = describe('duplex');

function describe<Kind extends RapMethodKind>(kind: Kind): DescribeMethod<Kind> {
  return (options?: object) => Object.freeze({ ...options, kind });
}

/**
 * A contract that server and client share:
 *
 *     export const MathService = defineService('math', {
 *       sum: unary<{ a: number; b: number }, number>({ input: SumSchema }),
 *       count: serverStream<{ n: number }, number>(),
 *     });
 *
 * @param group group of the targets: `sum` is `/math/sum`
 * @throws {@link RegisteredError} that names service and method, for an invalid name, option or schema
 */
export function defineService<const Methods extends Readonly<Record<string, AnyRapMethod>>>(
  group: string,
  methods: Methods,
): RapServiceDefinition<Methods> {
  const service = `service ${quoted(group)}`;
  if (typeof group !== 'string') throw new RegisteredError(`${service}: the group must be text`);
  if (!isObject(methods)) throw new RegisteredError(`${service}: the methods must be an object`);
  const names = Object.keys(methods);
  if (names.length === 0) throw new RegisteredError(`${service} has no methods`);
  const owners = new Map<string, string>();
  for (const name of names) {
    const what = `${service}, method ${quoted(name)}`;
    checkName(what, name);
    const method: unknown = methods[name];
    if (!isMethod(method))
      throw new RegisteredError(`${what}: made by none of unary, serverStream, clientStream, duplex`);
    checkOptions(what, method);
    for (const target of targetsOf(what, group, name, method)) {
      const other = owners.get(target);
      if (other !== undefined) throw new RegisteredError(`${what}: ${target} is ${quoted(other)} already`);
      owners.set(target, name);
    }
  }
  return Object.freeze({ group, methods: Object.freeze({ ...methods }) });
}

/** `/math/sum`, then the aliases. */
export function targetsOf(what: string, group: string, name: string, { aliases }: AnyRapMethod): string[] {
  try {
    const others = (aliases ?? []).map((alias) => aliasTarget(group, alias));
    return [formatTarget(group, name), ...others];
  } catch (error) {
    throw new RegisteredError(`${what}: ${textOf(error)}`);
  }
}

function aliasTarget(group: string, alias: unknown): string {
  const parts = typeof alias === 'string' ? /^(?:\/([^/]+)\/)?([^/]+)$/.exec(alias) : null;
  if (!parts) {
    throw new Error(`the alias ${quoted(alias)} is neither "name" nor "/group/name"`);
  }
  return formatTarget(parts[1] ?? group, parts[2] as string);
}

/** A value of the user's in quotes, for a message. */
function quoted(value: unknown): string {
  return JSON.stringify(shown(value));
}

const KINDS: ReadonlySet<unknown> = new Set<RapMethodKind>([
  'unary',
  'serverStream',
  'clientStream',
  'duplex',
]);

function isMethod(value: unknown): value is AnyRapMethod {
  return isObject(value) && KINDS.has((value as Partial<AnyRapMethod>).kind);
}

/** @throws {@link RegisteredError} for a value that is not a contract, as when two modules import each other */
export function assertContract(where: string, value: unknown): asserts value is RapServiceDefinition {
  const { group, methods } = (value ?? {}) as { group?: unknown; methods?: unknown };
  if (typeof group === 'string' && isObject(methods)) return;
  const why = value === undefined ? '; do two modules import each other?' : '';
  throw new RegisteredError(`${where}: ${shown(value)} is not a contract of defineService${why}`);
}

function checkName(what: string, name: string): void {
  if (name === '') throw new RegisteredError(`${what}: the name is empty`);
  if (name.includes('/')) throw new RegisteredError(`${what}: a name holds no "/"`);
  if (RESERVED_NAMES.has(name)) {
    throw new RegisteredError(`${what}: JavaScript or Nest calls a method of this name by itself`);
  }
}

function checkOptions(what: string, method: AnyRapMethod): void {
  const problem = unknownOption(method) ?? optionProblem(method) ?? aliasesProblem(method);
  if (problem) throw new RegisteredError(`${what}: ${problem}`);
}

function aliasesProblem({ aliases }: AnyRapMethod): string | undefined {
  return aliases === undefined || Array.isArray(aliases) ? undefined : 'aliases must be a list';
}

/** Methods that Nest calls on every controller. */
export const LIFECYCLE_HOOKS: ReadonlySet<string> = new Set([
  'onModuleInit',
  'onApplicationBootstrap',
  'onModuleDestroy',
  'beforeApplicationShutdown',
  'onApplicationShutdown',
]);

/** With `then`, awaiting a client's proxy would be a call. */
const RESERVED_NAMES: ReadonlySet<string> = new Set([
  ...LIFECYCLE_HOOKS,
  'constructor',
  'prototype',
  '__proto__',
  'then',
]);
