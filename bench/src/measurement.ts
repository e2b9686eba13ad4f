/** What a client saw of one run. */
export interface ClientMeasurement {
  /** Calls, items or round trips. */
  steps: number;
  seconds: number;
  p50Us: number;
  p99Us: number;
  cpuUs: number;
}

const FIELDS = ['steps', 'seconds', 'p50Us', 'p99Us', 'cpuUs'] as const satisfies (keyof ClientMeasurement)[];

/** For the receiving process. Over IPC, NaN (nothing was sampled) arrives as null. */
export function isClientMeasurement(value: unknown): value is ClientMeasurement {
  if (typeof value !== 'object' || value === null) return false;
  const fields: Partial<Record<string, unknown>> = { ...value };
  return FIELDS.every((field) => typeof fields[field] === 'number');
}
