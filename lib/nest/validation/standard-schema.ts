import { isObject, isThenable } from '../../protocol/values/unknown.js';

/**
 * What validation libraries agreed on (https://standardschema.dev): zod, valibot, arktype and others offer it. A copy of
 * the types, as the standard suggests, so that nothing needs to be installed.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

export type StandardResult<Output> =
  { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly StandardIssue[] };

export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a value must be before the schema has seen it. */
export type SchemaInput<S extends StandardSchema> = NonNullable<S['~standard']['types']>['input'];
/** What the schema makes of it. */
export type SchemaOutput<S extends StandardSchema> = NonNullable<S['~standard']['types']>['output'];

/** Whether something is a schema. Some libraries make functions of them. */
export function isStandardSchema(value: unknown): value is StandardSchema {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  const standard = (value as Partial<StandardSchema>)['~standard'];
  return isObject(standard) && typeof standard.validate === 'function';
}

/** What a check is about, and what becomes of a value that fails it. */
export interface Check {
  readonly schema: StandardSchema;
  /** Names the place in messages: `the input of /math/sum`. */
  readonly what: string;
  /** Makes the error of a value that does not fit. */
  readonly refuse: (issues: readonly StandardIssue[], what: string) => Error;
  /** Says more of the issues, where there is more to say. */
  readonly explain?: (issues: readonly StandardIssue[], value: unknown) => Promise<readonly StandardIssue[]>;
}

/**
 * What the schema makes of a value; a promise only where the schema answers with one.
 *
 * @throws what `refuse` made, or an Error with the cause where the schema itself failed: a fault of this side
 */
export function checked(check: Check, value: unknown): unknown {
  let result: unknown;
  try {
    result = check.schema['~standard'].validate(value);
  } catch (error) {
    throw broken(check, error);
  }
  if (!isThenable(result)) return valueOf(check, result, value);
  return Promise.resolve(result).then(
    (settled) => valueOf(check, settled, value),
    (error: unknown) => {
      throw broken(check, error);
    },
  );
}

function valueOf(check: Check, result: unknown, given: unknown): unknown {
  if (!isObject(result)) throw broken(check, 'it gave no result');
  const { issues, value } = result as { issues?: unknown; value?: unknown };
  if (!issues) return value;
  if (!Array.isArray(issues)) throw broken(check, 'its issues are no list');
  if (!check.explain) throw check.refuse(issues as StandardIssue[], check.what);
  return check.explain(issues as StandardIssue[], given).then((explained) => {
    throw check.refuse(explained, check.what);
  });
}

function broken({ what }: Check, cause: unknown): Error {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new Error(`the schema of ${what} failed: ${why}`, { cause });
}

/** JSON Schema of either side of a schema, where the library offers one (`~standard.jsonSchema`, zod 4 does). */
export function jsonSchemaOf(
  schema: StandardSchema | undefined,
  side: 'input' | 'output',
): Record<string, unknown> | undefined {
  const { jsonSchema } = (schema?.['~standard'] ?? {}) as {
    jsonSchema?: Record<typeof side, (options: { target: string }) => unknown>;
  };
  try {
    const made: unknown = jsonSchema?.[side]({ target: 'draft-2020-12' });
    // through JSON: what goes to the wire is plain, whatever the library gave
    return made === undefined ? undefined : (JSON.parse(JSON.stringify(made)) as Record<string, unknown>);
  } catch {
    return undefined; // not every schema has one
  }
}
