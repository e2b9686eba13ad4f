import type { LoadReport } from '../../rpc/connection/load-report.js';

/** How a call to a server has ended, for its latency: `ignored` says nothing about the server, as a cancelled call. */
export type TrafficOutcome = 'answered' | 'failed' | 'ignored';

/** The calls of this client to one server: what balancers and statistics read. Times in milliseconds. */
export class Traffic {
  /** Calls without an outcome, and open channels. */
  inFlight = 0;
  /** Calls that were sent to it. */
  picks = 0;
  /** Calls that have failed because of it. */
  failures = 0;
  /** What the server said last, and when; `undefined` before. */
  report: LoadReport | undefined;
  reportedAt = -Infinity;

  /** A call goes to the server. */
  begin(_now: number): void {
    this.inFlight += 1;
    this.picks += 1;
  }

  /** It has ended. `startedAt` is the time that `begin` got. */
  end(_now: number, _startedAt: number, outcome: TrafficOutcome): void {
    this.inFlight -= 1;
    if (outcome === 'failed') this.failures += 1;
  }

  reported(report: LoadReport, now: number): void {
    this.report = report;
    this.reportedAt = now;
  }
}
