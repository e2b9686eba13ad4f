/**
 * How long a test waits for what does not come. No test is about this time. It is less than the default limits of
 * calls, so that none of them ends what a test waits for.
 */
export const WAIT_TIMEOUT_MS = 8_000;
