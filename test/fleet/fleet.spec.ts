import { testScope } from '../helpers/async.js';
import { compile, type Compiled } from '../helpers/compiled.js';
import { silenced } from '../helpers/silent-log.js';
import { FleetProcesses } from './fleet.js';
import { history } from './history.js';
import { killedServer } from './killed-server.js';
import { rollingRestart } from './rolling-restart.js';
import { stoppedServer } from './stopped-server.js';

/** `npm run test:fleet` runs the same for longer, and prints what it has measured. */
const PER_SECOND = 1_000;
const ROUNDS = Number(process.env['RAP_FLEET_ROUNDS'] ?? 2);
const STOPPED_MS = Number(process.env['RAP_FLEET_STOPPED_MS'] ?? 13_000);
const HISTORY_SECONDS = 8;

const scope = testScope();
const sources = ['test/fleet/fixtures/fleet-server.ts', 'test/fleet/digest.ts'] as const;
let compiled: Compiled;
silenced();
beforeAll(async () => {
  compiled = await compile(sources);
}, 60_000);
afterAll(() => compiled.remove());

async function start(): Promise<FleetProcesses> {
  const fleet = await FleetProcesses.start(compiled.path(sources[0]));
  scope.defer(() => fleet.close());
  return fleet;
}

/** Tells what has happened if an expectation fails. */
function expecting({ story }: FleetProcesses, expectations: () => void): void {
  try {
    expectations();
  } catch (error) {
    process.stderr.write(`${story}\n`);
    throw error;
  }
}

it('a rolling restart by SIGTERM loses no work, and repeats none', async () => {
  const fleet = await start();
  const run = await rollingRestart(fleet, { rounds: ROUNDS, perSecond: PER_SECOND, seed: 1 });
  expecting(fleet, () => {
    expect(run).toMatchObject({ unserved: [], lost: [], executedTwice: [], unapplied: [] });
    // a feed that observes the drain ends in order, one that does not is told of it
    expect(new Set(run.observant)).toEqual(new Set(['regular']));
    expect(run.endless.length).toBeGreaterThanOrEqual(3);
    for (const end of run.endless) expect(end).toMatch(/^ConnectionLostError: .*server shutdown/);
  });
}, 240_000);

it('a server that is killed loses what is in flight there, and nothing else', async () => {
  const fleet = await start();
  const run = await killedServer(fleet, { perSecond: PER_SECOND, seed: 2 });
  expecting(fleet, () => {
    expect(run).toMatchObject({
      unserved: [],
      untold: [],
      idempotent: [],
      executedTwice: [],
      unapplied: [],
    });
    expect(new Set(run.held)).toEqual(new Set(['unknown']));
    expect(run.lastStartMs).toBeLessThan(1_000); // 100 where the machine has time for the client
  });
}, 60_000);

it('a server that is stopped settles its calls in time, gets no others, and is used again', async () => {
  const fleet = await start();
  const run = await stoppedServer(fleet, { perSecond: PER_SECOND, seed: 3, stoppedMs: STOPPED_MS });
  expecting(fleet, () => {
    expect(run).toMatchObject({ unserved: [], untold: [], idempotent: [], executedTwice: [] });
    // what is not about the machine: it gets no calls when it is known to be silent, and is given up after 10 s
    expect(run.settledMs).toBeLessThan(STOPPED_MS);
    expect(run.lastPickMs.busy).toBeLessThan(6_000);
    expect(run.lastPickMs.idle).toBeLessThan(6_000);
  });
}, 120_000);

it('whatever happens to its servers, a client is told what they have done', async () => {
  const fleet = await start();
  const verdict = await history(fleet, { seconds: HISTORY_SECONDS, perSecond: PER_SECOND, seed: 4 });
  expecting(fleet, () => {
    expect(verdict).toMatchObject({ unserved: [], violations: [] });
    expect(Object.keys(verdict.failures).length).toBeGreaterThan(0); // it was not idle
  });
}, 120_000);
