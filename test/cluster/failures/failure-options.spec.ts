import {
  DEFAULT_EJECT,
  DEFAULT_HEDGE,
  ejectOptions,
  hedgeOptions,
  retryOptions,
} from '../../../lib/cluster/failures/failure-options.js';

const RETRY = { maxAttempts: 3, baseDelayMs: 25, maxDelayMs: 1_000, budget: { ratio: 0.2, perSecond: 10 } };

it('has defaults, and can be switched off', () => {
  expect([ejectOptions(undefined), ejectOptions({}), ejectOptions(false)]).toEqual([
    DEFAULT_EJECT,
    DEFAULT_EJECT,
    undefined,
  ]);
  expect([retryOptions(undefined), retryOptions({ budget: {} }), retryOptions(false)]).toEqual([
    RETRY,
    RETRY,
    undefined,
  ]);
  expect([hedgeOptions(undefined), hedgeOptions(false), hedgeOptions({})]).toEqual([
    undefined,
    undefined,
    DEFAULT_HEDGE,
  ]);
});

it('takes what is given, and treats undefined as not given', () => {
  expect(ejectOptions({ consecutiveFailures: Infinity, baseMs: undefined, maxRatio: 0 })).toEqual({
    ...DEFAULT_EJECT,
    consecutiveFailures: Infinity,
    maxRatio: 0,
  });
  expect(retryOptions({ maxAttempts: 5, budget: { ratio: 0, perSecond: undefined } })).toEqual({
    ...RETRY,
    maxAttempts: 5,
    budget: { ratio: 0, perSecond: 10 },
  });
  expect(hedgeOptions({ quantile: 0.5 })).toEqual({ ...DEFAULT_HEDGE, quantile: 0.5 });
});

type Checked = (given: never) => unknown;

it.each<[check: Checked, given: unknown, message: string]>([
  [ejectOptions, { consecutive: 5 }, 'eject.consecutive is not an option'],
  [ejectOptions, { constructor: 5 }, 'eject.constructor is not an option'],
  [
    ejectOptions,
    { consecutiveFailures: 0 },
    'eject.consecutiveFailures must be a whole number above 0, got 0',
  ],
  [
    ejectOptions,
    { consecutiveFailures: 1.5 },
    'eject.consecutiveFailures must be a whole number above 0, got 1.5',
  ],
  [
    ejectOptions,
    { consecutiveFailures: NaN },
    'eject.consecutiveFailures must be a number of at least 0, got NaN',
  ],
  [
    ejectOptions,
    { consecutiveFailures: '5' },
    "eject.consecutiveFailures must be a number of at least 0, got '5'",
  ],
  [ejectOptions, { minCalls: 0 }, 'eject.minCalls must be a whole number above 0, got 0'],
  [ejectOptions, { maxRatio: 1.1 }, 'eject.maxRatio must be a number from 0 to 1, got 1.1'],
  [ejectOptions, { baseMs: 0 }, 'eject.baseMs must be a finite number above 0, got 0'],
  [ejectOptions, { baseMs: Infinity }, 'eject.baseMs must be a finite number above 0, got Infinity'],
  [
    ejectOptions,
    { maxMs: 500 },
    'eject.maxMs must be a finite number of at least eject.baseMs (1000), got 500',
  ],
  [
    ejectOptions,
    { maxMs: Infinity },
    'eject.maxMs must be a finite number of at least eject.baseMs (1000), got Infinity',
  ],
  [ejectOptions, { forgiveMs: 0 }, 'eject.forgiveMs must be a number above 0, got 0'],
  [ejectOptions, true, 'eject must be an object or false, got true'],
  [ejectOptions, null, 'eject must be an object or false, got null'],
  [ejectOptions, 5, 'eject must be an object or false, got 5'],
  [ejectOptions, [], 'eject must be an object or false, got []'],
  [retryOptions, { attempts: 3 }, 'retry.attempts is not an option; did you mean retry.maxAttempts?'],
  [retryOptions, { maxAttempts: 0 }, 'retry.maxAttempts must be a whole number above 0, got 0'],
  [retryOptions, { maxAttempts: Infinity }, 'retry.maxAttempts must be a whole number above 0, got Infinity'],
  [retryOptions, { maxAttempts: -1 }, 'retry.maxAttempts must be a number of at least 0, got -1'],
  [
    retryOptions,
    { baseDelayMs: 2000 },
    'retry.maxDelayMs must be a finite number of at least retry.baseDelayMs (2000), got 1000',
  ],
  [retryOptions, { baseDelayMs: Infinity }, 'retry.baseDelayMs must be finite, got Infinity'],
  [retryOptions, { budget: false }, 'retry.budget must be an object or false, got false'],
  [retryOptions, { budget: 5 }, 'retry.budget must be an object or false, got 5'],
  [
    retryOptions,
    { budget: { rate: 1 } },
    'retry.budget.rate is not an option; did you mean retry.budget.ratio?',
  ],
  [retryOptions, { budget: { ratio: NaN } }, 'retry.budget.ratio must be a number of at least 0, got NaN'],
  [
    retryOptions,
    { budget: { perSecond: -1 } },
    'retry.budget.perSecond must be a number of at least 0, got -1',
  ],
  [retryOptions, { budget: { ratio: Infinity } }, 'retry.budget.ratio must be finite, got Infinity'],
  [retryOptions, 'yes', "retry must be an object or false, got 'yes'"],
  [hedgeOptions, { ratio: 1 }, 'hedge.ratio is not an option'],
  [
    hedgeOptions,
    { maxRatio: 0 },
    'hedge.maxRatio must be above 0, and at most 1; to have no hedges, set hedge to false, got 0',
  ],
  [hedgeOptions, { quantile: 1 }, 'hedge.quantile must be between 0 and 1, got 1'],
  [hedgeOptions, { minSamples: 129 }, 'hedge.minSamples must be a whole number from 1 to 128, got 129'],
  [hedgeOptions, { minDelayMs: Infinity }, 'hedge.minDelayMs must be finite, got Infinity'],
  [hedgeOptions, true, 'hedge must be an object or false, got true'],
])('%p refuses %j', (check, given, message) => {
  expect(() => check(given as never)).toThrow(new RangeError(message));
});

it.each([
  [{ ratio: 0, perSecond: 0 }, 'perSecond is 0'],
  [{ ratio: 0, perSecond: 0.09 }, 'perSecond is 0.09'],
])('refuses the budget %j, which blocks every retry', (budget, what) => {
  expect(() => retryOptions({ budget })).toThrow(RangeError);
  expect(() => retryOptions({ budget })).toThrow(`retry.budget blocks every retry: ratio is 0 and ${what}`);
  // who wants no retries needs no budget
  expect(retryOptions({ maxAttempts: 1, budget })).toMatchObject({ budget });
});

it('accepts the smallest budget that lets one pass', () => {
  expect(retryOptions({ budget: { ratio: 0, perSecond: 0.1 } })).toBeDefined();
  expect(retryOptions({ budget: { ratio: 0.01, perSecond: 0 } })).toBeDefined();
});
