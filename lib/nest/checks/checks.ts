import { isThenable } from '../../protocol/values/unknown.js';
import { ParseError } from '../errors/errors.js';
import { detailsOf, pathText, summaryOf } from '../validation/issues.js';
import { uncarriedIn } from './uncarried.js';
import {
  type Check,
  checked,
  type StandardIssue,
  type StandardSchema,
} from '../validation/standard-schema.js';

/**
 * What a caller sent must fit: else it is told where it does not, and where it could not.
 *
 * @param carriesValues whether the caller can send a `Date` and the like at all
 */
export function inputCheck(schema: StandardSchema, target: string, carriesValues = true): Check {
  const check = {
    schema,
    what: `the input of ${target}`,
    refuse: (issues: readonly StandardIssue[]) => parseError(issues),
  };
  if (carriesValues) return check;
  const explain = async (
    issues: readonly StandardIssue[],
    value: unknown,
  ): Promise<readonly StandardIssue[]> => {
    try {
      const types = new Map((await uncarriedIn(schema, value, issues)).map(({ path, type }) => [path, type]));
      return issues.map((issue) => explained(issue, types.get(pathText(issue.path ?? [])), target));
    } catch {
      return issues; // such as cannot even be read
    }
  };
  return { ...check, explain };
}

function explained(issue: StandardIssue, type: string | undefined, target: string): StandardIssue {
  if (type === undefined) return issue;
  const reason = `a ${type} arrives at ${target} only from a peer that offers the extension "values"`;
  return { ...issue, message: `${issue.message}; ${reason}` };
}

/**
 * What the schema makes of a call's parameters. A call without any arrives as null, for the wire has no other word for
 * nothing: a schema that refuses null, as one that is optional or has a default does, is asked about `undefined` as well.
 *
 * @throws as `checked`
 */
export function checkedParameters(check: Check, value: unknown): unknown {
  if (value !== null) return checked(check, value);
  const orNothing = (refused: unknown): unknown => {
    if (!(refused instanceof ParseError)) throw refused;
    return checked({ ...check, refuse: () => refused }, undefined);
  };
  try {
    const result = checked(check, value);
    return isThenable(result) ? Promise.resolve(result).catch(orNothing) : result;
  } catch (error) {
    return orNothing(error);
  }
}

/** What a handler gives must fit: else that is this side's fault, and for its log. */
export function outputCheck(schema: StandardSchema, target: string): Check {
  return { schema, what: `the output of ${target}`, refuse: outputError };
}

/** @param where put before the message */
export function parseError(issues: readonly StandardIssue[], where?: string): ParseError {
  const details = detailsOf(issues);
  const summary = summaryOf(details, issues.length);
  return new ParseError(where === undefined ? summary : `${where}: ${summary}`, { details });
}

function outputError(issues: readonly StandardIssue[], what: string): Error {
  return new Error(`${what} does not fit its schema: ${summaryOf(detailsOf(issues), issues.length)}`);
}
