import { GCProfiler } from 'node:v8';
import { parseArgs } from 'node:util';
import type { Balancer, Candidate, PickedCall } from '../../lib/cluster/balancing/balancer.js';
import { Traffic } from '../../lib/cluster/balancing/traffic.js';
import { RandomNumbers } from '../../lib/cluster/random-numbers.js';
import { median } from '../src/rows.js';
import { balancerOf, type BalancerOption } from '../../lib/cluster/balancing/balancer-of.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { consistentHash } from '../../lib/cluster/balancing/consistent-hash-option.js';

/**
 * What a pick costs: nanoseconds, and bytes that it allocates, of each balancer on the real clock.
 *
 * 16 bytes of `p2c` are the number that the clock of Node returns. With `--check`, it fails if a pick allocates anything else.
 *
 *     npm run pick-cost -- [--servers 1000] [--picks 1000000] [--rounds 7] [--check]
 */

const { values } = parseArgs({
  options: {
    servers: { type: 'string', default: '1000' },
    picks: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '7' },
    check: { type: 'boolean', default: false },
  },
});
const picks = Number(values.picks);
const { next: random } = new RandomNumbers(1);

/** A number on the heap. */
const NUMBER_BYTES = 16;
/** What the profiler and the compiler add, for each pick. */
const TOLERANCE_BYTES = 1;

const OPTIONS: readonly (readonly [string, BalancerOption])[] = [
  ['p2c', 'p2c'],
  ['roundRobin', 'roundRobin'],
  ['random', 'random'],
  ['weighted', 'weighted'],
  ['leastInFlight', 'leastInFlight'],
  ['consistentHash', consistentHash({ key: ({ body }) => body as number })],
];

/** Calls in flight, latency and reports differ, as in a fleet at work. */
function serverAtWork(index: number): Candidate {
  const traffic = new Traffic();
  const now = performance.now();
  for (let i = 0; i < index % 7; i++) traffic.begin(now);
  traffic.begin(now - 5);
  traffic.end(now, now - (index % 13) - 1, 'answered');
  const inFlight = (index % 7) + (index % 5);
  traffic.reported(
    { inFlight, latencyMs: 1 + (index % 11), loopDelayMs: 0, refused: 0, mos: undefined },
    now + 1e6, // it stays fresh as long as this measures
  );
  return { address: `10.0.${index >> 8}.${index & 255}:9000`, weight: 1 + (index % 3), traffic };
}

/** Each pick is followed by a change of the calls in flight, which balancers may watch. */
function pickAndEnd(balancer: Balancer, calls: readonly PickedCall[], count: number): void {
  for (let i = 0; i < count; i++) {
    const { traffic } = balancer.pick(calls[i & 1023]) as Candidate;
    traffic.opened();
    traffic.closed();
  }
}

function measure(option: BalancerOption): { nanoseconds: number; bytes: number } {
  const servers = Array.from({ length: Number(values.servers) }, (_, index) => serverAtWork(index));
  const balancer = balancerOf(option, { now: () => systemClock.now(), random });
  balancer.update(servers);
  const calls = Array.from({ length: 1024 }, (_, body) => ({ target: '/fleet/call', header: {}, body }));
  pickAndEnd(balancer, calls, picks);
  const rounds = Array.from({ length: Number(values.rounds) }, () => {
    const profiler = new GCProfiler();
    profiler.start();
    const heapBefore = process.memoryUsage().heapUsed;
    const startedAt = performance.now();
    pickAndEnd(balancer, calls, picks);
    const ms = performance.now() - startedAt;
    const grown = process.memoryUsage().heapUsed - heapBefore;
    const freed = profiler
      .stop()
      .statistics.reduce(
        (sum, { beforeGC, afterGC }) =>
          sum + beforeGC.heapStatistics.usedHeapSize - afterGC.heapStatistics.usedHeapSize,
        0,
      );
    return { nanoseconds: (ms * 1e6) / picks, bytes: (grown + freed) / picks };
  });
  return {
    nanoseconds: median(rounds.map((each) => each.nanoseconds)),
    bytes: median(rounds.map((each) => each.bytes)),
  };
}

console.log(`${values.servers} servers, median of ${values.rounds} rounds of ${values.picks} picks`);
for (const [name, option] of OPTIONS) {
  const { nanoseconds, bytes } = measure(option);
  console.log(
    `${name.padEnd(15)} ${nanoseconds.toFixed(0).padStart(6)} ns  ${bytes.toFixed(2).padStart(8)} bytes`,
  );
  const least = name === 'p2c' ? NUMBER_BYTES : 0;
  if (values.check && bytes > least + TOLERANCE_BYTES) {
    console.error(`${name} allocates`);
    process.exitCode = 1;
  }
}
