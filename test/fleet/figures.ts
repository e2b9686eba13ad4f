// Runs the tests of a fleet at full length and prints what they have measured; fails if something is not as it must be. See package.json.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Logger } from '@nestjs/common';
import { FleetProcesses } from './fleet.js';
import { history } from './history.js';
import { killedServer } from './killed-server.js';
import { rollingRestart } from './rolling-restart.js';
import { stoppedServer } from './stopped-server.js';

Logger.overrideLogger(false);
const script = fileURLToPath(new URL('./fixtures/fleet-server.js', import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rate: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '10' },
    stop: { type: 'string', default: '45' },
    seconds: { type: 'string', default: '180' },
    seed: { type: 'string', default: String(Date.now() % 1e6) },
    story: { type: 'boolean', default: false },
  },
});
const perSecond = Number(values.rate);
const seed = Number(values.seed);

const scenarios: Record<string, (fleet: FleetProcesses) => Promise<object>> = {
  restart: (fleet) => rollingRestart(fleet, { rounds: Number(values.rounds), perSecond, seed }),
  kill: (fleet) => killedServer(fleet, { perSecond, seed }),
  history: (fleet) => history(fleet, { seconds: Number(values.seconds), perSecond, seed }),
  stop: (fleet) => stoppedServer(fleet, { stoppedMs: Number(values.stop) * 1000, perSecond, seed }),
};

/** Lists of what must not happen, in the results that have them. */
const NEVER = [
  'unserved',
  'lost',
  'executedTwice',
  'unapplied',
  'untold',
  'idempotent',
  'late',
  'violations',
];
/** Most of some times, in milliseconds. A server that is silent is given up after 10 s. */
const AT_MOST: Record<string, number> = { settledMs: 12_000, busy: 500, idle: 6_000 };

/** What of a result is not as it must be. */
function wrongIn(result: object): string[] {
  return Object.entries(result).flatMap(([name, value]: [string, unknown]) => {
    if (NEVER.includes(name)) return (value as unknown[]).length > 0 ? [name] : [];
    if (name === 'lastPickMs') return wrongIn(value as object);
    return name in AT_MOST && Number(value) > (AT_MOST[name] as number) ? [name] : [];
  });
}

console.log(`seed ${seed}`);
for (const name of positionals.length > 0 ? positionals : Object.keys(scenarios)) {
  const run = scenarios[name];
  if (!run) throw new RangeError(`there is no ${name}`);
  const fleet = await FleetProcesses.start(script);
  try {
    const result = await run(fleet);
    console.log(name, result);
    const wrong = wrongIn(result);
    if (wrong.length > 0) process.exitCode = 1;
    if (values.story || wrong.length > 0) console.log(fleet.story);
    for (const each of wrong) console.log(`${name}: ${each} is not as it must be`);
  } finally {
    await fleet.close();
  }
}
process.exit(); // the client's timers
