import { ParseError } from '../errors.js';
import { detailsOf, summaryOf } from './issues.js';
import {
  type Check,
  checked,
  isThenable,
  type StandardIssue,
  type StandardSchema,
} from './standard-schema.js';

/** What a caller sent must fit: else it is told where it does not. */
export function inputCheck(schema: StandardSchema, target: string): Check {
  return { schema, what: `the input of ${target}`, refuse: parseError };
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

function parseError(issues: readonly StandardIssue[]): ParseError {
  const details = detailsOf(issues);
  return new ParseError(summaryOf(details, issues.length), { details });
}

function outputError(issues: readonly StandardIssue[], what: string): Error {
  return new Error(`${what} does not fit its schema: ${summaryOf(detailsOf(issues), issues.length)}`);
}
