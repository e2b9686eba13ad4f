import { ALL_BALANCERS } from '../balancers.js';
import type { Fleet } from '../fleet/fleet.js';
import type { SimServer } from '../fleet/sim-server.js';
import type { Scenario } from '../scenario.js';
import { ELEVEN } from './hardware.js';

const FROM_MS = 10_000;
const TO_MS = 20_000;

/** Does something to the first server, and undoes it ten seconds later. */
function toOne(begin: (server: SimServer) => void, end: (server: SimServer) => void) {
  return (fleet: Fleet): void => {
    const server = fleet.servers[0] as SimServer;
    fleet.at(FROM_MS, () => begin(server));
    fleet.at(TO_MS, () => end(server));
  };
}

function scenario(name: string, title: string, shows: string, script: Scenario['script']): Scenario {
  return {
    name,
    title,
    shows: `${shows} Eleven servers, one client, 2,000 calls a second that may be repeated.`,
    balancers: ALL_BALANCERS,
    setup: { ...ELEVEN, traffic: { ...ELEVEN.traffic, isIdempotent: true }, endMs: 30_000 },
    script,
  };
}

/** One server of eleven in trouble, from 10 s to 20 s. */
export const ONE_SERVER: readonly Scenario[] = [
  scenario(
    'one-dead',
    'One server is killed',
    'Its process dies at 10 s, with a reset of all its connections, and listens again at 20 s.',
    toOne(
      (server) => server.kill(),
      (server) => server.start(),
    ),
  ),
  scenario(
    'one-vanishes',
    'The machine of one server vanishes',
    'From 10 s to 20 s nothing comes back from it: neither answers nor resets.',
    toOne(
      (server) => server.vanish(),
      (server) => server.start(),
    ),
  ),
  scenario(
    'one-frozen',
    'One server is frozen',
    'Its process stands still from 10 s to 20 s, as by SIGSTOP: what came meanwhile is served then.',
    toOne(
      (server) => server.freeze(),
      (server) => server.thaw(),
    ),
  ),
  scenario(
    'one-fails-fast',
    'One server fails fast',
    'From 10 s to 20 s it answers every call with a 500 within a millisecond.',
    toOne(
      (server) => server.failFast(),
      (server) => server.heal(),
    ),
  ),
];
