import type { RapOperation } from '../diagnostics/messages.js';

/** Messages of all calls of one series up to now, those that run included: a channel may be open for days. */
export interface Totals {
  sent: number;
  received: number;
}

/** Counts messages by series, such as a function; no event is needed for each message. */
export class MessageTotals<S extends object> {
  readonly #ended = new Map<S, Totals>();
  readonly #running = new Map<RapOperation, S>();

  started(operation: RapOperation, series: S): void {
    this.#running.set(operation, series);
    if (!this.#ended.has(series)) this.#ended.set(series, { sent: 0, received: 0 });
  }

  ended(operation: RapOperation): void {
    const series = this.#running.get(operation);
    if (!series || !this.#running.delete(operation)) return;
    addTo(this.#ended.get(series) as Totals, operation);
  }

  totals(): Map<S, Readonly<Totals>> {
    const sums = new Map<S, Totals>();
    for (const [series, totals] of this.#ended) sums.set(series, { ...totals });
    for (const [operation, series] of this.#running) addTo(sums.get(series) as Totals, operation);
    return sums;
  }
}

function addTo(totals: Totals, { messagesSent, messagesReceived }: RapOperation): void {
  totals.sent += messagesSent;
  totals.received += messagesReceived;
}
