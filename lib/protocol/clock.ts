/** Time as the layers see it: monotonic, so that no step of the wall clock fires or delays a timer. */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  now(): number;
  /** Calls back once after `ms`. The timer never keeps the process alive. */
  after(ms: number, callback: () => void): Timer;
}

export interface Timer {
  /** Stops the timer; does nothing if it has fired. */
  cancel(): void;
  /** Whether the process must live until it fires: a caller waits for that. */
  hold(isAwaited: boolean): void;
}
