import { COMMON } from '../balancers.js';
import type { Fleet } from '../fleet/fleet.js';
import type { Outcome } from '../fleet/outcome.js';
import type { Behaviour, SimServer } from '../fleet/sim-server.js';
import { everyServer } from '../fleet/subsets.js';
import type { Scenario } from '../scenario.js';
import { server } from './hardware.js';

const MS = 1_000;
/** Calls in flight at which the time of a call has doubled; it is five times as long beyond. */
const CAPACITY = 60;

/** How Dialogue's servers treat calls: they have no queue, only a time that depends on what is in flight. */
function handler(
  timeUs: Behaviour['timeUs'],
  outcome: Outcome | Behaviour['outcome'] = 'answered',
): Behaviour {
  return { addedUs: () => 0, timeUs, outcome: typeof outcome === 'string' ? () => outcome : outcome };
}

function constant(ms: number): (inFlight: number) => number {
  return () => ms * MS;
}

/** Grows with the calls in flight, and is five times as long if there are too many. */
function linear(ms: number, capacity = CAPACITY): (inFlight: number) => number {
  return (inFlight) =>
    inFlight > capacity ? 5 * ms * MS : Math.round(ms * MS + (ms * MS * inFlight) / capacity);
}

/** What a server does from a time on. */
type Phase = readonly [fromMs: number, behaviour: Behaviour];

interface Case {
  readonly name: string;
  readonly shows: string;
  /** What each server does. Made for each run: some behaviours have a state. */
  readonly servers: () => readonly (readonly Phase[])[];
  readonly callsPerSecond: number;
  readonly endMs: number;
  readonly targets?: readonly string[];
  /** How many servers are listed at the start, and when the others are. */
  readonly listed?: readonly [count: number, untilMs: number];
  /** Default: 10. */
  readonly clients?: number;
  /** Default: 10,000. */
  readonly timeoutMs?: number;
  readonly isLarge?: boolean;
}

function play(fleet: Fleet, { servers, listed }: Case): void {
  servers().forEach((phases, index) => {
    for (const [fromMs, behaviour] of phases)
      fleet.at(fromMs, () => ((fleet.servers[index] as SimServer).behaviour = behaviour));
  });
  if (listed) fleet.at(listed[1], () => fleet.list(fleet.servers));
}

function scenario(each: Case): Scenario {
  const { name, shows, servers, callsPerSecond, endMs, targets = ['/fleet/e1'] } = each;
  const { clients = 10, timeoutMs = 10_000, isLarge = false } = each;
  return {
    name: `dialogue-${name.replaceAll('_', '-')}`,
    title: `Dialogue: ${name}`,
    shows: `${shows} ${callsPerSecond.toLocaleString('en')} calls a second for ${endMs / 1_000} s.`,
    variants: COMMON,
    isLarge,
    setup: {
      servers: servers().map(() => server({ cores: 1 })),
      ...(each.listed && { listed: each.listed[0] }),
      clients,
      subset: everyServer,
      traffic: { callsPerSecond: () => callsPerSecond, timeoutMs, isIdempotent: true, targets },
      warmUpMs: 0,
      endMs,
    },
    script: (fleet) => play(fleet, each),
  };
}

const well: Phase = [0, handler(linear(60))];

/** A server that is well but from 3 s to 10 s. */
function troubled(behaviour: Behaviour): readonly Phase[] {
  return [well, [3_000, behaviour], [10_000, handler(linear(60))]];
}

function upTo(limit: number, otherwise: Outcome = 'failed'): Behaviour['outcome'] {
  return (_attempt, inFlight) => (inFlight > limit ? otherwise : 'answered');
}

/** Refuses calls while those that it took were more a second than this, by their mean of the last minute (EWMA). */
function atRate(perSecond: number): Behaviour['outcome'] {
  const MINUTE = 60_000;
  let rate = 0;
  let at = 0;
  return (_attempt, _inFlight, _random, now) => {
    rate *= Math.exp((at - now) / MINUTE);
    at = now;
    if (rate >= perSecond) return 'refused';
    rate += 1_000 / MINUTE;
    return 'answered';
  };
}

function failsFor(target: string): Behaviour['outcome'] {
  return ({ call }) => (call.target === target ? 'failed' : 'answered');
}

const CASES: readonly Case[] = [
  {
    name: 'simplest_possible_case',
    shows: 'Three servers that take 600, 800 and 1,000 ms whatever the load.',
    servers: () => [600, 800, 1_000].map((ms): Phase[] => [[0, handler(constant(ms))]]),
    callsPerSecond: 11,
    endMs: 200_000,
  },
  {
    name: 'slowdown_and_error_thresholds',
    shows:
      'Three servers of 600, 800 and 1,000 ms that take twice as long at 30 calls in flight, five times beyond, and fail beyond 40.',
    servers: () => [600, 800, 1_000].map((ms): Phase[] => [[0, handler(linear(ms, 30), upTo(40))]]),
    callsPerSecond: 500,
    endMs: 20_000,
  },
  {
    name: 'slow_503s_then_revert',
    shows: 'Two servers of 60 ms; from 3 s to 10 s one refuses calls after a second.',
    servers: () => [[well], troubled(handler(linear(1_000), 'refused'))],
    callsPerSecond: 200,
    endMs: 15_000,
  },
  {
    name: 'fast_503s_then_revert',
    shows: 'Two servers of 120 ms; from 3 s to 60 s one refuses calls at once.',
    servers: () => [
      [[0, handler(constant(120))]],
      [
        [0, handler(constant(120))],
        [3_000, handler(constant(0.001), 'refused')],
        [60_000, handler(constant(120))],
      ],
    ],
    callsPerSecond: 500,
    endMs: 90_000,
  },
  {
    name: 'fast_400s_then_revert',
    shows:
      'Two servers of 120 ms; from 3 s to 30 s one rejects calls within 20 ms as bad input. Such an error is an outcome, and says nothing about the server.',
    servers: () => [
      [[0, handler(constant(120))]],
      [
        [0, handler(constant(120))],
        [3_000, handler(constant(20), 'rejected')],
        [30_000, handler(constant(120))],
      ],
    ],
    callsPerSecond: 100,
    endMs: 60_000,
  },
  {
    name: 'short_outage_on_one_node',
    shows: 'Two servers of 2 s, one client; from 30 s to 50 s one fails at once.',
    servers: () => [
      [[0, handler(constant(2_000))]],
      [
        [0, handler(constant(2_000))],
        [30_000, handler(constant(0.001), 'failed')],
        [50_000, handler(constant(2_000))],
      ],
    ],
    clients: 1,
    callsPerSecond: 20,
    endMs: 80_000,
  },
  {
    name: 'fast_500s_then_revert',
    shows: 'Two servers of 60 ms; from 3 s to 10 s one fails within 10 ms.',
    servers: () => [[well], troubled(handler(linear(10), 'failed'))],
    callsPerSecond: 250,
    endMs: 15_000,
  },
  {
    name: 'drastic_slowdown',
    shows: 'Two servers of 60 ms; from 3 s to 10 s one takes 10 s.',
    servers: () => [[well], troubled(handler(linear(10_000)))],
    callsPerSecond: 200,
    endMs: 20_000,
  },
  {
    name: 'all_nodes_500',
    shows: 'Two servers of 600 ms; both fail until 10 s.',
    servers: () =>
      [0, 1].map((): Phase[] => [
        [0, handler(constant(600), 'failed')],
        [10_000, handler(constant(600))],
      ]),
    callsPerSecond: 100,
    endMs: 20_000,
  },
  {
    name: 'black_hole',
    shows: 'Two servers of 600 ms; from 3 s on one takes calls and never answers, but pings.',
    servers: () => [
      [[0, handler(constant(600))]],
      [
        [0, handler(constant(600))],
        [3_000, handler(constant(86_400_000))],
      ],
    ],
    callsPerSecond: 200,
    endMs: 10_000,
  },
  {
    name: 'one_endpoint_dies_on_each_server',
    shows: 'Two servers of 600 ms with two functions; from 3 s on each fails for one of them.',
    servers: () =>
      ['/fleet/e1', '/fleet/e2'].map((target): Phase[] => [
        [0, handler(constant(600))],
        [3_000, handler(constant(600), failsFor(target))],
      ]),
    targets: ['/fleet/e1', '/fleet/e2'],
    callsPerSecond: 250,
    endMs: 10_000,
  },
  {
    name: 'live_reloading',
    shows: 'Of two servers of 600 ms one always fails; a third is listed after 5 s.',
    servers: () => [
      [[0, handler(linear(600))]],
      [[0, handler(linear(600), 'failed')]],
      [[0, handler(linear(600))]],
    ],
    listed: [2, 5_000],
    callsPerSecond: 250,
    endMs: 10_000,
  },
  {
    name: 'uncommon_flakes',
    shows: 'Two fast servers, each of which fails for one call in a hundred.',
    servers: () =>
      [0, 1].map((): Phase[] => [
        [
          0,
          handler(constant(0.001), (_call, _inFlight, random) =>
            random.next() < 0.01 ? 'failed' : 'answered',
          ),
        ],
      ]),
    callsPerSecond: 1_000,
    endMs: 10_000,
  },
  {
    name: 'one_big_spike',
    shows:
      'Two servers of 150 ms, one client; each refuses calls beyond 100 in flight. A thousand calls come at once:',
    servers: () => [0, 1].map((): Phase[] => [[0, handler(constant(150), upTo(100, 'refused'))]]),
    clients: 1,
    callsPerSecond: 30_000,
    endMs: 33,
  },
  {
    name: 'server_side_rate_limits',
    shows:
      'Four servers of 200 s, two clients; each server refuses calls while it had more than one in 40 s of late, which is what comes. As long as a sixtieth of the time in Dialogue.',
    servers: () => [0, 1, 2, 3].map((): Phase[] => [[0, handler(constant(200_000), atRate(1 / 40))]]),
    clients: 2,
    callsPerSecond: 0.1,
    timeoutMs: 1_000_000,
    endMs: 25_000_000,
    isLarge: true,
  },
];

/** The scenarios of the simulation of Palantir's Dialogue, with its servers and rates; all calls may be repeated. */
export const DIALOGUE: readonly Scenario[] = CASES.map(scenario);
