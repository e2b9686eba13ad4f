import { inspect } from 'node:util';
import { assertNames } from '../../protocol/values/option-names.js';
import { isRecord } from '../../protocol/values/unknown.js';
import { type Given, withDefaults } from '../../rpc/limits.js';
import { BUDGET_WINDOW_SECONDS, DEFAULT_BUDGET, type RetryBudgetOptions } from './retry-budget.js';

/** When a server that fails gets no calls for some time. Times in milliseconds. */
export interface EjectOptions {
  /** Calls in a row that were lost, or not answered in time, after which a server is ejected. Default 5, as Envoy and Finagle. */
  readonly consecutiveFailures: number;
  /** Time of the first ejection; each further one is twice as long. Default 1000. */
  readonly baseMs: number;
  /** Longest ejection. Default 60,000. */
  readonly maxMs: number;
  /** Most of the listed servers that are ejected, counted after the ejection, from 0 to 1; never the last one. Default 0.5. */
  readonly maxRatio: number;
  /** Calls that a server must have had before its rate of success is compared with that of the others. Default 10. */
  readonly minCalls: number;
  /** Time without ejection after which the next one is half as long. Default 10,000, the interval of Envoy. */
  readonly forgiveMs: number;
}

export const DEFAULT_EJECT: EjectOptions = {
  consecutiveFailures: 5,
  baseMs: 1_000,
  maxMs: 60_000,
  maxRatio: 0.5,
  minCalls: 10,
  forgiveMs: 10_000,
};

/** How calls are repeated. Times in milliseconds. */
export interface RetryOptions {
  /** Attempts of a call that may have run, the first included. Default 3. Calls that have not run are not counted. */
  readonly maxAttempts: number;
  /** Longest wait before the second attempt at a server that has had one; it doubles with each. Default 25, as gRPC's examples. */
  readonly baseDelayMs: number;
  /** Longest wait. Default 1000. */
  readonly maxDelayMs: number;
  /** How many repeats a client adds to its calls, hedges included. */
  readonly budget: RetryBudgetOptions;
}

export type GivenRetryOptions = Given<Omit<RetryOptions, 'budget'>> & {
  readonly budget?: Given<RetryBudgetOptions> | undefined;
};

const DEFAULT_RETRY = { maxAttempts: 3, baseDelayMs: 25, maxDelayMs: 1_000 };

/** When a second attempt of an idempotent call starts while the first runs. */
export interface HedgeOptions {
  /** Most second attempts per call, from 0 to 1. Default 0.05. */
  readonly maxRatio: number;
  /** The part of a method's calls that are faster than the wait for a second attempt. Default 0.95. */
  readonly quantile: number;
  /** Answers of a method before its calls are hedged. Default 20: below, one slow answer is the quantile. At most 128. */
  readonly minSamples: number;
  /** Shortest wait, in milliseconds. Default 1, the resolution of timers. */
  readonly minDelayMs: number;
}

export const DEFAULT_HEDGE: HedgeOptions = { maxRatio: 0.05, quantile: 0.95, minSamples: 20, minDelayMs: 1 };

/**
 * Fills in the defaults; `undefined` if switched off.
 *
 * @throws RangeError that names the option
 */
export function ejectOptions(given: Given<EjectOptions> | false | undefined): EjectOptions | undefined {
  if (given === false) return undefined;
  const options = filled('eject', given, DEFAULT_EJECT);
  const { consecutiveFailures, baseMs, maxMs, maxRatio, minCalls, forgiveMs } = options;
  // Infinity is never
  check(
    'eject.consecutiveFailures',
    consecutiveFailures,
    isCount(consecutiveFailures),
    'a whole number above 0',
  );
  check('eject.minCalls', minCalls, isCount(minCalls), 'a whole number above 0');
  check('eject.maxRatio', maxRatio, maxRatio <= 1, 'a number from 0 to 1');
  check('eject.baseMs', baseMs, isFinitePositive(baseMs), 'a finite number above 0');
  check(
    'eject.maxMs',
    maxMs,
    maxMs >= baseMs && maxMs < Infinity,
    `a finite number of at least eject.baseMs (${baseMs})`,
  );
  check('eject.forgiveMs', forgiveMs, forgiveMs > 0, 'a number above 0');
  return options;
}

/**
 * Fills in the defaults; `undefined` if switched off.
 *
 * @throws RangeError that names the option, and for a budget that would never let a retry pass
 */
export function retryOptions(given: GivenRetryOptions | false | undefined): RetryOptions | undefined {
  if (given === false) return undefined;
  assertObject('retry', given);
  assertNames('retry', given ?? {}, { ...DEFAULT_RETRY, budget: true });
  const { budget: givenBudget, ...rest } = given ?? {};
  const budget = budgetOptions('retry.budget', givenBudget);
  const options = { ...filled('retry', rest, DEFAULT_RETRY), budget };
  const { maxAttempts, baseDelayMs, maxDelayMs } = options;
  const isWhole = Number.isInteger(maxAttempts) && maxAttempts >= 1;
  check('retry.maxAttempts', maxAttempts, isWhole, 'a whole number above 0');
  check('retry.baseDelayMs', baseDelayMs, baseDelayMs < Infinity, 'finite');
  check(
    'retry.maxDelayMs',
    maxDelayMs,
    maxDelayMs >= baseDelayMs && maxDelayMs < Infinity,
    `a finite number of at least retry.baseDelayMs (${baseDelayMs})`,
  );
  if (maxAttempts > 1 && isNothing(budget)) {
    throw new RangeError(
      `retry.budget blocks every retry: ${inWords(budget)}; to have no retries, set retry.maxAttempts to 1 or retry to false`,
    );
  }
  return options;
}

function isNothing({ ratio, perSecond }: RetryBudgetOptions): boolean {
  return ratio === 0 && perSecond * BUDGET_WINDOW_SECONDS < 1;
}

function inWords({ perSecond }: RetryBudgetOptions): string {
  return `ratio is 0 and perSecond is ${perSecond}, less than one in ${BUDGET_WINDOW_SECONDS} s`;
}

/**
 * Fills in the defaults; `undefined` if switched off, as it is by default.
 *
 * @param budget that of the retries, which hedges share
 * @throws RangeError that names the option, and for a budget that would never let a hedge pass
 */
export function hedgeOptions(
  given: Given<HedgeOptions> | false | undefined,
  budget: RetryBudgetOptions = DEFAULT_BUDGET,
): HedgeOptions | undefined {
  if (given === false || given === undefined) return undefined;
  if (isNothing(budget)) {
    throw new RangeError(
      `retry.budget blocks every hedge: ${inWords(budget)}; to have no hedges, leave hedge out or set it to false`,
    );
  }
  const options = filled('hedge', given, DEFAULT_HEDGE);
  const { maxRatio, quantile, minSamples, minDelayMs } = options;
  check(
    'hedge.maxRatio',
    maxRatio,
    maxRatio > 0 && maxRatio <= 1,
    'above 0, and at most 1; to have no hedges, set hedge to false',
  );
  check('hedge.quantile', quantile, quantile > 0 && quantile < 1, 'between 0 and 1');
  check(
    'hedge.minSamples',
    minSamples,
    Number.isInteger(minSamples) && minSamples >= 1 && minSamples <= 128,
    'a whole number from 1 to 128',
  );
  check('hedge.minDelayMs', minDelayMs, minDelayMs < Infinity, 'finite');
  return options;
}

/** Fills in the defaults. @throws RangeError that names the option */
export function budgetOptions(
  what: string,
  given: Given<RetryBudgetOptions> | undefined,
): RetryBudgetOptions {
  const options = filled(what, given, DEFAULT_BUDGET);
  for (const [name, value] of Object.entries(options))
    check(`${what}.${name}`, value, value < Infinity, 'finite');
  return options;
}

function filled<T extends object>(what: string, given: Given<T> | undefined, defaults: T): T {
  assertObject(what, given);
  return withDefaults(what, given, defaults);
}

function assertObject(what: string, given: unknown): void {
  if (given === undefined || isRecord(given)) return;
  throw new RangeError(`${what} must be an object or false, got ${inspect(given)}`);
}

function check(what: string, value: unknown, isValid: boolean, must: string): void {
  if (!isValid) throw new RangeError(`${what} must be ${must}, got ${inspect(value)}`);
}

function isCount(value: number): boolean {
  return value >= 1 && (Number.isInteger(value) || value === Infinity);
}

function isFinitePositive(value: number): boolean {
  return value > 0 && value < Infinity;
}
