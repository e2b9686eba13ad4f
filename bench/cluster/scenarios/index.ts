import type { Scenario } from '../scenario.js';
import { DIALOGUE } from './dialogue.js';
import { linkerd } from './linkerd.js';
import { ONE_SERVER } from './one-server.js';
import { spread } from './spread.js';
import { allFail, overload, restartStorm, rollingRestart, scaleOut } from './whole-fleet.js';

/** All scenarios, in the order of the report. */
export const SCENARIOS: readonly Scenario[] = [
  spread,
  linkerd,
  ...ONE_SERVER,
  rollingRestart,
  restartStorm,
  allFail,
  overload,
  scaleOut,
  ...DIALOGUE,
];
