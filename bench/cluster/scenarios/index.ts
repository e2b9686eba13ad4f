import { fleetPart } from '../fleet-part.js';
import type { Part } from '../part.js';
import { DIALOGUE } from './dialogue.js';
import { frozenAmongSlow, hashed, hedging, oneSlow, weights } from './few-servers.js';
import { linkerd } from './linkerd.js';
import { ONE_OF_ELEVEN, oneOf1000 } from './one-server.js';
import { restartOfOne, restartStorm, rollingRestart, rollingRestartOf1000 } from './restarts.js';
import { spread, spreadOf1000 } from './spread.js';
import { subsets } from './subsets.js';
import { allFail, overload, scaleOut } from './whole-fleet.js';

/** All parts of the report, in its order. */
export const PARTS: readonly Part[] = [
  ...[spread, spreadOf1000].map(fleetPart),
  subsets,
  ...[weights, linkerd, oneSlow, frozenAmongSlow, ...ONE_OF_ELEVEN, oneOf1000, hedging, hashed].map(
    fleetPart,
  ),
  ...[rollingRestart, rollingRestartOf1000, restartStorm, restartOfOne].map(fleetPart),
  ...[allFail, overload, scaleOut, ...DIALOGUE].map(fleetPart),
];
