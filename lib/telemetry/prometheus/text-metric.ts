/** One value of a metric, as a registry of prom-client writes it. */
export interface MetricValue {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  /** The name of the line, if it is not that of the metric. */
  readonly metricName?: string;
}

/** A metric whose values are made when the registry asks for them: calls cost a few counters, and no labels are hashed. */
export class TextMetric {
  readonly aggregator = 'sum';

  constructor(
    /** A registry of OpenMetrics changes it. */
    public name: string,
    readonly type: 'counter' | 'gauge' | 'histogram',
    readonly help: string,
    private readonly values: () => MetricValue[],
  ) {}

  /** Called by the registry. */
  get(): Promise<object> {
    const { name, help, type, aggregator } = this;
    return Promise.resolve({ name, help, type, aggregator, values: this.values() });
  }

  /** Called by `registry.resetMetrics()`: what rap counts is kept, since counters only grow. */
  reset(): void {}
}
