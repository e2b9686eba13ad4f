import type { MetricValue } from './text-metric.js';

/** Counts what has happened by its labels, of which there are few. */
export class Counter<L extends Readonly<Record<string, string>>> {
  readonly #counts = new Map<string, { readonly labels: L; value: number }>();

  count(labels: L): void {
    const key = Object.values(labels).join('\0');
    const known = this.#counts.get(key);
    if (known) known.value += 1;
    else this.#counts.set(key, { labels, value: 1 });
  }

  values(): MetricValue[] {
    return Array.from(this.#counts.values(), (each) => ({ ...each }));
  }
}
