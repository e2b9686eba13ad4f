import { type Kind, type Operation, unserved } from './operation.js';
import { WrongAnswer } from './perform.js';

/** Attempts of an idempotent call, its hedge included. */
const MOST_EXECUTIONS = 3;

/** How many operations failed, by kind and error. */
export type Failures = Readonly<Record<string, number>>;

export interface Verdict {
  readonly operations: number;
  readonly unserved: readonly Kind[];
  readonly failures: Failures;
  /** Idempotent calls that were executed more than once. */
  readonly repeated: number;
  /** Events that a server has accepted and not executed before it was killed. */
  readonly acceptedOnly: number;
  /** Everything that must not be, in text. */
  readonly violations: readonly string[];
}

/** Compares what callers were told with what servers have done. */
export function checkHistory(
  operations: readonly Operation[],
  executions: ReadonlyMap<number, number>,
  since: number,
): Verdict {
  const violations: string[] = [];
  const failures: Record<string, number> = {};
  let [repeated, acceptedOnly] = [0, 0];
  for (const operation of operations) {
    const { id, kind, hasSucceeded, error, sent } = operation;
    const times = executions.get(id) ?? 0;
    const most = kind === 'repeatable' ? MOST_EXECUTIONS : 1;
    const tell = (what: string): void => void violations.push(`${what}: ${operation.describe(since)}`);
    if (times > most) tell(`executed ${times} times`);
    else if (times > 1) repeated += 1;
    if (hasSucceeded && times === 0) {
      if (kind === 'event') acceptedOnly += 1;
      else tell('acknowledged without being executed');
    }
    if (error === undefined) continue;
    if (error instanceof WrongAnswer) tell('wrong answer');
    if (sent === 'no' && times > 0) tell('executed, though its error says that it was not sent');
    const { name, code } = error as { name: string; code: string };
    if (sent === undefined) tell('an error that does not say whether it was sent');
    const key = `${kind} ${name} ${code} sent=${String(sent)}`;
    failures[key] = (failures[key] ?? 0) + 1;
  }
  return {
    operations: operations.length,
    unserved: unserved(operations),
    failures,
    repeated,
    acceptedOnly,
    violations,
  };
}
