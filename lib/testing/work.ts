import type { ServedWork } from '../nest/lifecycle/environment.js';
import type { Clock } from '../protocol/clock.js';

interface Watched {
  readonly work: ServedWork;
  /** What serves it. */
  readonly where: string;
  readonly clock: Clock;
}

/** Entries after which those that are over are removed. */
const FIRST_SWEEP = 256;

let watched: Watched[] = [];
let nextSweep = FIRST_SWEEP;

/** Remembers a call or channel of a test bed or mock until its handler has ended. */
export function watchWork(where: string, work: ServedWork, clock: Clock): void {
  watched.push({ work, where, clock });
  if (watched.length < nextSweep) return;
  sweep();
  nextSweep = Math.max(FIRST_SWEEP, 2 * watched.length);
}

/** Handlers that run, as text, of the test beds and mocks that are wanted. */
export function runningWork(isWanted: (where: string) => boolean): string[] {
  sweep();
  return watched.filter(({ where }) => isWanted(where)).map(described);
}

/** They are not reported again. */
export function forgetWork(): void {
  watched = [];
}

function sweep(): void {
  watched = watched.filter(({ work }) => !work.isOver);
}

function described({ work, where, clock }: Watched): string {
  const { kind, header, startedAt } = work;
  return `the handler of ${kind} ${String(header.target)} of ${where} still runs, after ${Math.round(clock.now() - startedAt)} ms`;
}
