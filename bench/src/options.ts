import { parseArgs } from 'node:util';
import { isPeerName, type PeerName, peerNames, peers, REFERENCE } from './peers.js';
import type { Scenario } from './scenario.js';
import { isScenarioName, type ScenarioName, scenarioNames, scenarios } from './scenarios.js';

export interface Options {
  scenarios: ScenarioName[];
  /** Default: those of each scenario. */
  peers: PeerName[] | undefined;
  rounds: number;
  seconds: number;
  json: string | undefined;
  svg: string | undefined;
  decoder: boolean;
  ipFilter: boolean;
  help: boolean;
}

/** Invalid arguments: reported in one line, without a stack. */
export class UsageError extends Error {}

export const HELP = `Usage: npm run bench -- [options]

  --scenarios LIST  of: ${scenarioNames.join(',')} (all)
  --peers LIST      of: ${peerNames.join(',')} (all that a scenario has)
  --rounds N        rounds over all peers (5)
  --seconds N       of one measurement (1.2)
  --json FILE       write the rows
  --svg FILE        write the chart of the ratios to Nest TCP
  --decoder         measure the frame decoder alone, in place of the peers
  --ip-filter       measure what IpFilterMiddleware adds to a connection, in place of the peers
  --help

Scenarios:
${descriptions(scenarioNames, (name) => `${scenarios[name].title}: ${scenarios[name].peers.join(', ')}`)}

Peers:
${descriptions(peerNames, (name) => peers[name].description)}
`;

/** @throws {@link UsageError} */
export function parseOptions(args: string[]): Options {
  const values = parse(args);
  const chosenScenarios = list(values.scenarios, scenarioNames, isScenarioName, 'scenario') ?? scenarioNames;
  const chosenPeers = list(values.peers, peerNames, isPeerName, 'peer');
  if (chosenPeers && !chosenPeers.some((peer) => chosenScenarios.some((name) => takesPart(peer, name)))) {
    throw new UsageError(`No such peer takes part in ${chosenScenarios.join(', ')}`);
  }
  if (values.svg && chosenPeers && !chosenPeers.includes(REFERENCE)) {
    throw new UsageError(`--svg draws ratios to ${REFERENCE}, which is not among the peers`);
  }
  return {
    scenarios: chosenScenarios,
    peers: chosenPeers,
    rounds: positive(values.rounds, 'rounds', Number.isInteger),
    seconds: positive(values.seconds, 'seconds', Number.isFinite),
    json: values.json,
    svg: values.svg,
    decoder: values.decoder,
    ipFilter: values['ip-filter'],
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
        'ip-filter': { type: 'boolean', default: false },
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
): T[] | undefined {
  if (value === undefined) return undefined;
  const names = value.split(',').filter((name) => name !== '');
  const unknown = names.filter((name) => !isKnown(name));
  if (unknown.length > 0 || names.length === 0) {
    const complaint = unknown.length > 0 ? `Unknown ${kind}: ${unknown.join(', ')}` : `No ${kind} named`;
    throw new UsageError(`${complaint}. Known: ${known.join(', ')}`);
  }
  return [...new Set(names.filter(isKnown))];
}

function takesPart(peer: PeerName, name: ScenarioName): boolean {
  const scenario: Scenario = scenarios[name];
  return scenario.peers.includes(peer);
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
