const TICK_MS = 50;
/** A tick's part of the short memory of 0.5 s, which sees a server that begins to fail within a second at 20 calls/s or more. */
const FAST = Math.exp(-TICK_MS / 500);
/** The same for the long memory of 5 s, for servers that get 2 calls/s or more. */
const SLOW = Math.exp(-TICK_MS / 5_000);
/** A server with less than this part of the others' rate of success is an outlier, */
const FAR_BELOW = 0.5;
/** if chance explains it less often than once in 30,000: the distance in standard deviations. */
const DEVIATIONS = 4;

/** Calls and their successes, which fade with time: those of one server, or of all. Allocates nothing. */
export class SuccessRate {
  #tick = 0;
  #fastCalls = 0;
  #fastOk = 0;
  #slowCalls = 0;
  #slowOk = 0;

  record(isOk: boolean, now: number): void {
    this.#fadeTo(now);
    this.#fastCalls += 1;
    this.#slowCalls += 1;
    if (!isOk) return;
    this.#fastOk += 1;
    this.#slowOk += 1;
  }

  /** Takes the calls of a part away: its server left. */
  subtract(part: SuccessRate, now: number): void {
    this.#fadeTo(now);
    part.#fadeTo(now);
    this.#fastCalls -= part.#fastCalls;
    this.#fastOk -= part.#fastOk;
    this.#slowCalls -= part.#slowCalls;
    this.#slowOk -= part.#slowOk;
  }

  clear(): void {
    this.#fastCalls = 0;
    this.#fastOk = 0;
    this.#slowCalls = 0;
    this.#slowOk = 0;
  }

  /**
   * Whether it is far below the rest of `all`, which contains it; as text. Compared with the rest taken together: by Envoy's
   * rule (1.9 deviations below the mean of the servers) no server of five or fewer can ever be an outlier. When all fail alike,
   * or by chance, none is one.
   *
   * @param minCalls that it, and the rest, must have had
   */
  outlier(all: SuccessRate, minCalls: number, now: number): string | undefined {
    this.#fadeTo(now);
    all.#fadeTo(now);
    return (
      farBelow(this.#fastCalls, this.#fastOk, all.#fastCalls, all.#fastOk, minCalls) ??
      farBelow(this.#slowCalls, this.#slowOk, all.#slowCalls, all.#slowOk, minCalls)
    );
  }

  #fadeTo(now: number): void {
    const tick = Math.floor(now / TICK_MS);
    const ticks = tick - this.#tick;
    if (ticks <= 0) return;
    this.#tick = tick;
    const fast = FAST ** ticks;
    const slow = SLOW ** ticks;
    this.#fastCalls *= fast;
    this.#fastOk *= fast;
    this.#slowCalls *= slow;
    this.#slowOk *= slow;
  }
}

function farBelow(
  calls: number,
  ok: number,
  allCalls: number,
  allOk: number,
  minCalls: number,
): string | undefined {
  const otherCalls = allCalls - calls;
  if (calls < minCalls || otherCalls < minCalls) return undefined;
  const rate = ok / calls;
  const others = (allOk - ok) / otherCalls;
  if (rate >= others * FAR_BELOW) return undefined;
  // the test of two proportions
  const pooled = allOk / allCalls;
  const variance = pooled * (1 - pooled) * (1 / calls + 1 / otherCalls);
  if ((others - rate) ** 2 <= DEVIATIONS ** 2 * variance) return undefined;
  return `${percent(rate)} of its calls succeeded, ${percent(others)} of the others'`;
}

function percent(rate: number): string {
  return `${Math.round(Math.min(1, Math.max(0, rate)) * 100)} %`;
}
