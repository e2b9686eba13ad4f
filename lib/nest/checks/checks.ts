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
 * The check of what a caller sent. The caller is told what does not fit, and what it cannot send.
 *
 * @param carriesValues whether the caller can send values such as a `Date`: the extension `values`
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
      return issues; // some cannot be read
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
 * Checks the parameters of a call, and returns the schema's output. A call without parameters arrives with null, since the wire
 * has no `undefined`: if the schema refuses null, `undefined` is checked as well, for one that is optional or has a default.
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

/** The check of what a handler returns. A failure is this side's fault, and goes to its log. */
export function outputCheck(schema: StandardSchema, target: string): Check {
  return { schema, what: `the output of ${target}`, refuse: outputError };
}

/** @param prefix put before the message */
export function parseError(issues: readonly StandardIssue[], prefix?: string): ParseError {
  const details = detailsOf(issues);
  const summary = summaryOf(details, issues.length);
  return new ParseError(prefix === undefined ? summary : `${prefix}: ${summary}`, { details });
}

function outputError(issues: readonly StandardIssue[], what: string): Error {
  return new Error(`${what} does not fit its schema: ${summaryOf(detailsOf(issues), issues.length)}`);
}
