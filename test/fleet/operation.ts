import { digestOf } from './digest.js';

/** What an operation is: a unary call, a stream, a channel or an event. `repeatable` and `slow` are calls. */
export type Kind = 'call' | 'repeatable' | 'slow' | 'stream' | 'duplex' | 'upload' | 'event';

/** Shares of the kinds: 70 % calls, near half of them idempotent. */
const SHARES: readonly (readonly [Kind, number])[] = [
  ['call', 0.34],
  ['repeatable', 0.32],
  ['slow', 0.04],
  ['stream', 0.1],
  ['duplex', 0.1],
  ['upload', 0.03],
  ['event', 0.07],
];
const MAX_BODY = 400;
const MAX_SLOW_MS = 300;

/** One operation of the load, and its outcome. Times are those of `performance.now()`. */
export class Operation {
  readonly kind: Kind;
  readonly body: string;
  readonly digest: string;
  /** Time that it takes at the server. */
  readonly ms: number;
  readonly startedAt = performance.now();
  endedAt: number | undefined;
  error: unknown;

  constructor(
    readonly id: number,
    random: () => number,
  ) {
    this.kind = kindOf(random());
    this.body = `${id}:${'x'.repeat(Math.floor(random() * MAX_BODY))}`;
    this.digest = digestOf(this.body);
    this.ms = this.kind === 'slow' ? 50 + Math.floor(random() * MAX_SLOW_MS) : 0;
  }

  get hasSucceeded(): boolean {
    return this.endedAt !== undefined && this.error === undefined;
  }

  get hasFailed(): boolean {
    return this.error !== undefined;
  }

  /** What its error says: `unknown` if the server may have executed it. */
  get sent(): unknown {
    return (this.error as { sent?: unknown } | undefined)?.sent;
  }

  /** The server that its error names. */
  get server(): unknown {
    return (this.error as { call?: { server?: unknown } } | undefined)?.call?.server;
  }

  /** For the log of a test that has failed. */
  describe(since = 0): string {
    const { name, code, phase, message } = (this.error ?? {}) as Record<string, string | undefined>;
    const at = (time: number | undefined): string =>
      time === undefined ? 'not over' : `${Math.round(time - since)} ms`;
    const outcome = this.hasFailed
      ? `${name} ${code} sent=${String(this.sent)} phase=${phase} ${String(this.server)}: ${message}`
      : 'ok';
    return `${this.kind} ${this.id}, ${at(this.startedAt)} to ${at(this.endedAt)}: ${outcome}`;
  }
}

/** Kinds of which none has succeeded: what is true of all operations then says nothing of them. */
export function unserved(operations: readonly Operation[]): Kind[] {
  const served = new Set(operations.filter((each) => each.hasSucceeded).map(({ kind }) => kind));
  return SHARES.map(([kind]) => kind).filter((kind) => !served.has(kind));
}

function kindOf(random: number): Kind {
  let sum = 0;
  for (const [kind, share] of SHARES) if (random < (sum += share)) return kind;
  return 'call';
}
