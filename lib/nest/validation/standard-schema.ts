import { isObject, isThenable, textOf } from '../../protocol/values/unknown.js';

/**
 * The common interface of validation libraries (https://standardschema.dev) such as zod, valibot and arktype. A copy of the
 * types, as the standard suggests, so that nothing needs to be installed.
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

/** Type of a value before validation. */
export type SchemaInput<S extends StandardSchema> = NonNullable<S['~standard']['types']>['input'];
/** Type of a value after validation. */
export type SchemaOutput<S extends StandardSchema> = NonNullable<S['~standard']['types']>['output'];

/** Whether a value is a schema. In some libraries a schema is a function. */
export function isStandardSchema(value: unknown): value is StandardSchema {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  const standard = (value as Partial<StandardSchema>)['~standard'];
  return isObject(standard) && typeof standard.validate === 'function';
}

/** A check of a value, and the error if the value fails it. */
export interface Check {
  readonly schema: StandardSchema;
  /** Name of the value in messages: `the input of /math/sum`. */
  readonly what: string;
  /** Makes the error of an invalid value. */
  readonly refuse: (issues: readonly StandardIssue[], what: string) => Error;
  /** Adds explanations to the issues. */
  readonly explain?: (issues: readonly StandardIssue[], value: unknown) => Promise<readonly StandardIssue[]>;
}

/**
 * The output of the schema for a value; a promise only if the schema returns one.
 *
 * @throws what `refuse` made, or an Error with the cause if the schema itself failed: a fault of this side
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
  if (!isObject(result)) throw broken(check, 'it returned no result');
  const { issues, value } = result as { issues?: unknown; value?: unknown };
  if (!issues) return value;
  if (!Array.isArray(issues)) throw broken(check, 'its issues are not a list');
  if (!check.explain) throw check.refuse(issues as StandardIssue[], check.what);
  return check.explain(issues as StandardIssue[], given).then((explained) => {
    throw check.refuse(explained, check.what);
  });
}

function broken({ what }: Check, cause: unknown): Error {
  return new Error(`the schema of ${what} failed: ${textOf(cause)}`, { cause });
}

/** JSON Schema of either side of a schema, if the library offers one (`~standard.jsonSchema`, as zod 4 does). */
export function jsonSchemaOf(
  schema: StandardSchema | undefined,
  side: 'input' | 'output',
): Record<string, unknown> | undefined {
  const { jsonSchema } = (schema?.['~standard'] ?? {}) as {
    jsonSchema?: Record<typeof side, (options: { target: string }) => unknown>;
  };
  try {
    const made: unknown = jsonSchema?.[side]({ target: 'draft-2020-12' });
    // through JSON: only plain data goes to the wire
    return made === undefined ? undefined : (JSON.parse(JSON.stringify(made)) as Record<string, unknown>);
  } catch {
    return undefined; // not every schema has one
  }
}
