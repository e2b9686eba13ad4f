import { COMMON, p2c } from '../balancers.js';
import type { SimServer } from '../fleet/sim-server.js';
import { LATE } from '../report/columns.js';
import type { Scenario, Script } from '../scenario.js';
import { ELEVEN, THOUSAND } from './hardware.js';

/** Something that happens to one server, and its end. */
interface Trouble {
  readonly name: string;
  readonly title: string;
  readonly shows: string;
  readonly begin: (server: SimServer) => void;
  readonly end: (server: SimServer) => void;
}

const TROUBLES: readonly Trouble[] = [
  {
    name: 'dead',
    title: 'One server is killed',
    shows: 'Its process dies at 10 s, with a reset of all its connections, and listens again at 20 s.',
    begin: (server) => server.kill(),
    end: (server) => server.start(),
  },
  {
    name: 'vanishes',
    title: 'The machine of one server vanishes',
    shows: 'From 10 s to 20 s nothing comes back from it: neither answers nor resets.',
    begin: (server) => server.vanish(),
    end: (server) => server.start(),
  },
  {
    name: 'frozen',
    title: 'One server is frozen',
    shows: 'Its process stands still from 10 s to 20 s, as by SIGSTOP: what came meanwhile is served then.',
    begin: (server) => server.freeze(),
    end: (server) => server.thaw(),
  },
  {
    name: 'fails-fast',
    title: 'One server fails fast',
    shows: 'From 10 s to 20 s it answers every call with a 500 within a millisecond.',
    begin: (server) => server.failFast(),
    end: (server) => server.heal(),
  },
];

const SLOW: Pick<Trouble, 'name' | 'begin' | 'end'> = {
  name: 'slow by 2 s',
  begin: (server) => server.slowDown(2_000_000),
  end: (server) => server.heal(),
};

function script({ begin, end }: Pick<Trouble, 'begin' | 'end'>, fromMs: number, toMs: number): Script {
  return (fleet) => {
    const server = fleet.servers[0] as SimServer;
    fleet.at(fromMs, () => begin(server));
    fleet.at(toMs, () => end(server));
  };
}

/** One server of eleven in trouble, from 10 s to 20 s. */
export const ONE_OF_ELEVEN = TROUBLES.map((trouble): Scenario => ({
  name: `one-${trouble.name}`,
  title: trouble.title,
  shows: `${trouble.shows} Eleven servers, one client, 2,000 calls a second that may be repeated.`,
  variants: COMMON,
  setup: { ...ELEVEN, traffic: { ...ELEVEN.traffic, isIdempotent: true }, endMs: 30_000 },
  script: script(trouble, 10_000, 20_000),
  columns: [LATE],
}));

/** One server of 1,000 in trouble. */
export const oneOf1000: Scenario = {
  name: 'one-of-1000',
  title: 'One of 1,000 servers in trouble',
  shows:
    '10,000 clients of 20 connections each, 5,000 calls a second that may be repeated, p2c. From 3 s to 6 s one server is in trouble, then it returns; calls are counted from 2 s to 7 s, and the server should get one in a thousand. About 200 clients use it, and each makes a call every two seconds: most learn of the trouble from what the server says, or does not say, and not from their own calls.',
  differIn: 'Trouble',
  variants: [SLOW, ...TROUBLES].map((trouble) => ({
    name: trouble.name,
    balancer: p2c,
    script: script(trouble, 3_000, 6_000),
  })),
  setup: { ...THOUSAND, endMs: 7_000 },
  isLarge: true,
  columns: [LATE],
};
