/** What a server says about its load: the event of the extension `load`, or `mos` in the answer to a ping. */
export interface LoadReport {
  /** Calls and channels in flight at the server, of all clients; `undefined` if only `mos` is known. */
  readonly inFlight: number | undefined;
  /** Time that recent calls took in the server, in milliseconds. */
  readonly latencyMs: number | undefined;
  /** Delay of its event loop, in milliseconds. */
  readonly loopDelayMs: number | undefined;
  /** Its share of refused calls, 0 to 1. */
  readonly refused: number | undefined;
  /** Its own view of its health, 0 (bad) to 5, as Python's rap has it. */
  readonly mos: number | undefined;
}
