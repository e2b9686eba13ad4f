import type { PeerClient } from './peer.js';
import type { PeerName } from './peers.js';

/** One of the loops that a scenario runs side by side: it starts a step as soon as the last one has ended. */
export interface Lane {
  step(): Promise<unknown>;
  /** Throws on a wrong answer. Called for every step, also for measured ones. */
  check(answer: unknown): void;
}

export interface Scenario {
  readonly title: string;
  readonly unit: string;
  readonly peers: readonly PeerName[];
  /** How many steps are in flight. */
  readonly lanes: number;
  /** Every how many steps of a lane the latency is taken: 1 where steps are few. */
  readonly sampleEvery: number;
  openLane(client: PeerClient): Promise<Lane>;
}

const unaryPeers: readonly PeerName[] = [
  'rap-call',
  'rap-send',
  'nest-tcp',
  'nest-tcp-object',
  'nest-grpc',
  'raw',
];

interface UnaryScenario {
  title: string;
  lanes: number;
  sampleEvery: number;
  call: string;
  body: unknown;
  isRight: (answer: unknown) => boolean;
}

function unaryScenario({ title, lanes, sampleEvery, call, body, isRight }: UnaryScenario): Scenario {
  return {
    title,
    unit: 'calls/s',
    peers: unaryPeers,
    lanes,
    sampleEvery,
    async openLane(client) {
      const { unary, unwrap } = client;
      if (!unary) throw new Error('This peer has no unary calls');
      return {
        step: () => unary(call, body),
        check(answer) {
          if (!isRight(unwrap ? unwrap(answer) : answer)) {
            throw new Error(`Wrong answer to ${call}: ${JSON.stringify(answer)?.slice(0, 100)}`);
          }
        },
      };
    },
  };
}

function sum(title: string, lanes: number, sampleEvery: number): Scenario {
  return unaryScenario({ title, lanes, sampleEvery, call: 'sum', body: { a: 1, b: 2 }, isRight: isThree });
}

function isThree(answer: unknown): boolean {
  return answer === 3;
}

interface EchoOptions {
  bytes: number;
  lanes: number;
  sampleEvery: number;
}

function echo(title: string, { bytes, lanes, sampleEvery }: EchoOptions): Scenario {
  // By way of a buffer: repeat() makes a tree of strings, which the first peer to send it would have to flatten.
  const body = Buffer.from('nestjs-rap bench'.repeat(bytes / 16)).toString('latin1');
  const isRight = (answer: unknown): boolean => typeof answer === 'string' && answer.length === bytes;
  return unaryScenario({ title, lanes, sampleEvery, call: 'echo', body, isRight });
}

export const scenarios = {
  seq: sum('1 call in flight', 1, 1),
  c64: sum('64 calls in flight', 64, 16),
  c1000: sum('1000 calls in flight', 1000, 16),
  echo1k: echo('1 KiB echo, 64 in flight', { bytes: 1024, lanes: 64, sampleEvery: 16 }),
  echo1m: echo('1 MiB echo, 4 in flight', { bytes: 1024 * 1024, lanes: 4, sampleEvery: 1 }),
} satisfies Record<string, Scenario>;

export type ScenarioName = keyof typeof scenarios;

export const scenarioNames = Object.keys(scenarios).filter(isScenarioName);

export function isScenarioName(name: string): name is ScenarioName {
  return Object.hasOwn(scenarios, name);
}
