/** Time as the layers see it: monotonic, so that no step of the wall clock fires or delays a timer. */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  now(): number;
  /** Calls back once after `ms`. The timer never keeps the process alive. */
  after(ms: number, callback: () => void): Timer;
}

export interface Timer {
  /** Stops the timer; nothing happens where it has fired. */
  cancel(): void;
  /** Whether the process must live until it fires: somebody waits for that. */
  hold(isAwaited: boolean): void;
}
