// Runs the tests of a fleet at full length and prints what they have measured: see the scripts of package.json.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Logger } from '@nestjs/common';
import { FleetProcesses } from './fleet.js';
import { history, type HistoryOptions } from './history.js';
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
  history: (fleet) => checked(fleet, { seconds: Number(values.seconds), perSecond, seed }),
  stop: (fleet) => stoppedServer(fleet, { stoppedMs: Number(values.stop) * 1000, perSecond, seed }),
};
async function checked(fleet: FleetProcesses, options: HistoryOptions): Promise<object> {
  const verdict = await history(fleet, options);
  if (verdict.violations.length > 0) {
    process.exitCode = 1;
    console.log(fleet.story);
  }
  return verdict;
}

console.log(`seed ${seed}`);
for (const name of positionals.length > 0 ? positionals : Object.keys(scenarios)) {
  const run = scenarios[name];
  if (!run) throw new RangeError(`there is no ${name}`);
  const fleet = await FleetProcesses.start(script);
  try {
    console.log(name, await run(fleet));
  } finally {
    if (values.story) console.log(fleet.story);
    await fleet.close();
  }
}
process.exit(); // the client's timers
