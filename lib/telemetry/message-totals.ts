import type { RapOperation } from '../diagnostics/messages.js';

/** Messages of the calls of one series. */
export interface Totals {
  sent: number;
  received: number;
}

/** Counts messages by series, such as a function; no event is needed for each message. */
export class MessageTotals<S extends Totals> {
  readonly #series = new Set<S>();
  /** Streams and channels that are open. */
  readonly #open = new Map<RapOperation, S>();

  started(operation: RapOperation, series: S): void {
    if (!this.#series.has(series)) this.#series.add(series);
    if (mayLast(operation)) this.#open.set(operation, series);
  }

  ended(operation: RapOperation, series: S): void {
    if (mayLast(operation)) this.#open.delete(operation);
    addTo(series, operation);
  }

  /** Those of each series, what is open included. */
  totals(): Map<S, Totals> {
    const sums = new Map<S, Totals>();
    for (const series of this.#series) sums.set(series, { sent: series.sent, received: series.received });
    for (const [operation, series] of this.#open) addTo(sums.get(series) as Totals, operation);
    return sums;
  }
}

function mayLast({ kind }: RapOperation): boolean {
  return kind === 'stream' || kind === 'channel';
}

function addTo(totals: Totals, { messagesSent, messagesReceived }: RapOperation): void {
  totals.sent += messagesSent;
  totals.received += messagesReceived;
}
