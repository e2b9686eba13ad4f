import { ParseError } from '../errors.js';
import { detailsOf, summaryOf } from './issues.js';
import type { Check, StandardIssue, StandardSchema } from './standard-schema.js';

/** What a caller sent must fit: else it is told where it does not. */
export function inputCheck(schema: StandardSchema, target: string): Check {
  return { schema, what: `the input of ${target}`, refuse: parseError };
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
