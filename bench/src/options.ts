import { parseArgs } from 'node:util';
import { isPeerName, type PeerName, peerNames, peers, REFERENCE } from './peers.js';
import { isScenarioName, type ScenarioName, scenarioNames, scenarios } from './scenarios.js';

export interface Options {
  scenarios: ScenarioName[];
  peers: PeerName[];
  rounds: number;
  seconds: number;
  json: string | undefined;
  svg: string | undefined;
  decoder: boolean;
  help: boolean;
}

/** The caller asked for something that does not exist: told in a line, without a stack. */
export class UsageError extends Error {}

export const HELP = `Usage: npm run bench -- [options]

  --scenarios LIST  of: ${scenarioNames.join(',')} (all)
  --peers LIST      of: ${peerNames.join(',')} (all)
  --rounds N        rounds over all peers (5)
  --seconds N       of one measurement (1.2)
  --json FILE       write the rows
  --svg FILE        write the chart of the ratios to Nest TCP
  --decoder         measure the frame decoder alone, in place of the peers
  --help

Scenarios:
${descriptions(scenarioNames, (name) => scenarios[name].title)}

Peers:
${descriptions(peerNames, (name) => peers[name].description)}
`;

/** @throws {@link UsageError} */
export function parseOptions(args: string[]): Options {
  const values = parse(args);
  const chosenPeers = list(values.peers, peerNames, isPeerName, 'peer');
  if (values.svg && !chosenPeers.includes(REFERENCE)) {
    throw new UsageError(`--svg draws ratios to ${REFERENCE}, which is not among the peers`);
  }
  return {
    scenarios: list(values.scenarios, scenarioNames, isScenarioName, 'scenario'),
    peers: chosenPeers,
    rounds: positive(values.rounds, 'rounds', Number.isInteger),
    seconds: positive(values.seconds, 'seconds', Number.isFinite),
    json: values.json,
    svg: values.svg,
    decoder: values.decoder,
    help: values.help,
  };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        scenarios: { type: 'string' },
        peers: { type: 'string' },
        rounds: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '1.2' },
        json: { type: 'string' },
        svg: { type: 'string' },
        decoder: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function list<T extends string>(
  value: string | undefined,
  known: readonly T[],
  isKnown: (name: string) => name is T,
  kind: string,
): T[] {
  if (value === undefined) return [...known];
  const names = value.split(',').filter((name) => name !== '');
  const unknown = names.filter((name) => !isKnown(name));
  if (unknown.length > 0 || names.length === 0) {
    const complaint = unknown.length > 0 ? `Unknown ${kind}: ${unknown.join(', ')}` : `No ${kind} named`;
    throw new UsageError(`${complaint}. Known: ${known.join(', ')}`);
  }
  return [...new Set(names.filter(isKnown))];
}

function positive(value: string, option: string, isRight: (value: number) => boolean): number {
  const number = Number(value);
  if (!isRight(number) || number <= 0) {
    const kind = isRight === Number.isInteger ? 'a whole number' : 'a number';
    throw new UsageError(`--${option} takes ${kind} above 0, got '${value}'`);
  }
  return number;
}

function descriptions<T extends string>(names: readonly T[], describe: (name: T) => string): string {
  return names.map((name) => `  ${name.padEnd(16)}${describe(name)}`).join('\n');
}
