/** Requests of the bench to a child. */
export type Request =
  /** To a client: run the scenario. The answer is a measurement. */
  | { ask: 'run'; seconds: number }
  /** The answer is a {@link Usage}. May be asked during a run. */
  | { ask: 'usage' }
  /** The answer is the size of live objects and buffers in bytes. It costs a garbage collection. */
  | { ask: 'liveBytes' }
  /** To a server: count produced items from 0. */
  | { ask: 'reset' };

/** Resources and items of a child so far. */
export interface Usage {
  cpuUs: number;
  /** Items that it has produced (a server) or taken (a client) in this run; null for a client that takes none. */
  items: number | null;
}

export function isUsage(value: unknown): value is Usage {
  return typeof value === 'object' && value !== null && 'cpuUs' in value && 'items' in value;
}

/** A request under a number that its reply repeats. */
export interface Question {
  id: number;
  request: Request;
}

export function isQuestion(message: unknown): message is Question {
  return typeof message === 'object' && message !== null && 'id' in message && 'request' in message;
}

/** Sent once without a request when the process is ready, with id 0, then once for each request. */
export type Reply = { id: number } & ({ ok: true; value: unknown } | { ok: false; error: string });

export function isReply(message: unknown): message is Reply {
  return typeof message === 'object' && message !== null && 'id' in message && 'ok' in message;
}
