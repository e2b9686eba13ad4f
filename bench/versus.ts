import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { type Measurement, Pair } from './src/pair.js';
import { isPeerName, type PeerName } from './src/peers.js';
import { median } from './src/rows.js';
import { isScenarioName, type ScenarioName } from './src/scenarios.js';

/**
 * This build as a multiple of that of another checkout, which has its own `npm ci`, build and `tsc -p bench/tsconfig.json`.
 *
 *     node bench/dist/versus.js FOLDER [--scenario c64] [--peer rap-call] [--sets 20] [--rounds 13] [--seconds 0.3]
 *
 * Rounds alternate between the two. Each set has new processes: what the compiler makes of the same code differs from process to
 * process by more than what is measured.
 */

const WARM_UP_SECONDS = 1;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    scenario: { type: 'string', default: 'c64' },
    peer: { type: 'string', default: 'rap-call' },
    sets: { type: 'string', default: '20' },
    rounds: { type: 'string', default: '13' },
    seconds: { type: 'string', default: '0.3' },
  },
});
const { scenario, peer } = values;
const [folder] = positionals;
if (folder === undefined) throw new RangeError('the folder of another checkout is missing');
if (!isScenarioName(scenario)) throw new RangeError(`there is no scenario ${scenario}`);
if (!isPeerName(peer)) throw new RangeError(`there is no peer ${peer}`);
const path = resolve(folder, 'bench/dist/src/pair.js');
const other = (await import(pathToFileURL(path).href)) as { readonly Pair: typeof Pair };
const BUILDS = [Pair, other.Pair] as const;

interface Ratios {
  readonly result: number;
  /** Of both processes, for each step. */
  readonly cpu: number;
}

/** This build first, or the other one. */
function orderOf(index: number): readonly (0 | 1)[] {
  return index % 2 === 0 ? [0, 1] : [1, 0];
}

async function measureSet(set: number): Promise<Ratios> {
  const pairs = new Map<number, Pair>();
  try {
    for (const build of orderOf(set))
      pairs.set(build, await BUILDS[build].start(peer as PeerName, scenario as ScenarioName));
    const run = (build: number, seconds: number): Promise<Measurement> =>
      (pairs.get(build) as Pair).run(seconds);
    for (const build of orderOf(set)) await run(build, WARM_UP_SECONDS);
    const rounds: Ratios[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      const measured: Measurement[] = [];
      for (const build of orderOf(round)) measured[build] = await run(build, Number(values.seconds));
      const [own, others] = measured as [Measurement, Measurement];
      rounds.push({ result: own.result / others.result, cpu: cpuOf(own) / cpuOf(others) });
    }
    return { result: median(rounds.map((each) => each.result)), cpu: median(rounds.map((each) => each.cpu)) };
  } finally {
    for (const pair of pairs.values()) await pair.stop();
  }
}

function cpuOf({ serverCpuUs, clientCpuUs }: Measurement): number {
  return serverCpuUs + clientCpuUs;
}

function described(ratios: readonly number[]): string {
  const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
  const squares = ratios.reduce((sum, ratio) => sum + (ratio - mean) ** 2, 0);
  const error = Math.sqrt(squares / (ratios.length - 1) / ratios.length);
  return `median ${median([...ratios]).toFixed(3)}, mean ${mean.toFixed(3)} (standard error ${error.toFixed(3)})`;
}

const sets: Ratios[] = [];
for (let set = 0; set < Number(values.sets); set++) {
  const ratios = await measureSet(set);
  sets.push(ratios);
  console.error(`set ${set + 1}: ${ratios.result.toFixed(3)}, cpu ${ratios.cpu.toFixed(3)}`);
}
console.log(`${peer} in ${scenario}, this build as a multiple of ${folder}`);
console.log(`result: ${described(sets.map(({ result }) => result))}`);
console.log(`cpu:    ${described(sets.map(({ cpu }) => cpu))}`);
process.exit();
