import type { Clock } from '../../protocol/clock.js';
import { isRecord } from '../../protocol/values/unknown.js';
import { TokenBucket } from '../time/token-bucket.js';

/** What a server says about its load: the event of the extension `load`, or `mos` in the answer to a ping. */
export interface LoadReport {
  /** Calls and channels in flight at the server, of all clients, as a mean since its last report; `undefined` if only `mos` is known. */
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

/** Health of a server that has nothing to complain about, and of one that says nothing. */
export const BEST_MOS = 5;

/** More calls than any server runs. */
const MAX_IN_FLIGHT = 2 ** 31;
/** An hour: longer times make no difference. */
const MAX_US = 3_600_000_000;
/** Events that are read at once, and per second after that. A server sends four; several may wait in a socket. */
const BURST = 20;
const PER_SECOND = 8;

/** Reads the reports of a server. */
export class LoadReports {
  readonly #allowance: TokenBucket;
  /** The health that was reported last. */
  #mos = BEST_MOS;

  constructor(
    clock: Clock,
    private readonly onReport: (report: LoadReport) => void,
  ) {
    this.#allowance = new TokenBucket(clock, BURST, PER_SECOND);
  }

  /** `{in_flight, latency_us, loop_delay_us, refused}`. Ignored if nothing of it is a number, and if there are too many. */
  onEvent(body: unknown): void {
    if (!isRecord(body) || !this.#allowance.take()) return;
    const inFlight = within(body['in_flight'], MAX_IN_FLIGHT);
    const latencyUs = within(body['latency_us'], MAX_US);
    const loopDelayUs = within(body['loop_delay_us'], MAX_US);
    const refused = within(body['refused'], 1);
    if ((inFlight ?? latencyUs ?? loopDelayUs ?? refused) === undefined) return;
    this.onReport({
      inFlight,
      latencyMs: latencyUs === undefined ? undefined : latencyUs / 1000,
      loopDelayMs: loopDelayUs === undefined ? undefined : loopDelayUs / 1000,
      refused,
      mos: undefined,
    });
  }

  /** `{mos}`, or anything. A server that says nothing any more is well again. */
  onPong(body: unknown): void {
    const told = isRecord(body) ? body['mos'] : undefined;
    const mos = within(told, BEST_MOS);
    const isWellAgain = told === undefined && this.#mos < BEST_MOS;
    if (mos === undefined && !isWellAgain) return;
    this.#mos = mos ?? BEST_MOS;
    this.onReport({
      inFlight: undefined,
      latencyMs: undefined,
      loopDelayMs: undefined,
      refused: undefined,
      mos: this.#mos,
    });
  }
}

/** A number from 0 to `max`, the nearest for one beyond; `undefined` for anything else. */
function within(value: unknown, max: number): number | undefined {
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number !== 'number' || Number.isNaN(number)) return undefined;
  return Math.max(0, Math.min(max, number));
}
