import { type Lane, measure } from './measure.js';
import type { PeerClient } from './peer.js';
import { type PeerName, REFERENCE } from './peers.js';
import type { Scenario } from './scenario.js';

const unaryPeers: readonly PeerName[] = [
  'rap-call',
  'rap-service',
  'rap-send',
  'nest-tcp',
  'nest-tcp-object',
  'nest-grpc',
  'raw',
];

/** Cost of plugins of rap, relative to `rap-call`, which has none. */
const pluginPeers: readonly PeerName[] = ['rap-call', 'rap-processor', 'rap-tls', 'rap-aead'];

/** Cost of what observes calls. */
const observedPeers: readonly PeerName[] = ['rap-call', 'rap-prometheus', 'rap-traced', 'rap-traced-all'];

interface UnaryLoad {
  /** Calls in flight. */
  lanes: number;
  /** The latency of every Nth call of a lane is measured: 1 if there are few calls. */
  sampleEvery: number;
}

interface UnaryScenario extends UnaryLoad {
  title: string;
  call: string;
  body: unknown;
  isRight: (answer: unknown) => boolean;
}

/** Calls of a function that adds two numbers. */
export function sum(title: string, load: UnaryLoad): Scenario {
  return unaryScenario({ title, ...load, call: 'sum', body: { a: 1, b: 2 }, isRight: isThree });
}

/** As {@link echo}, by the peers of rap that have plugins. */
export function pluginEcho(title: string, load: UnaryLoad & { bytes: number }): Scenario {
  return { ...echo(title, load), peers: pluginPeers, base: 'rap-call' };
}

/** As {@link sum}, by the peers of rap that have plugins. */
export function pluginSum(title: string, load: UnaryLoad): Scenario {
  return { ...sum(title, load), peers: pluginPeers, base: 'rap-call' };
}

/** As {@link sum}, by the peers of rap that are observed. */
export function observedSum(title: string, load: UnaryLoad): Scenario {
  return { ...sum(title, load), peers: observedPeers, base: 'rap-call' };
}

function isThree(answer: unknown): boolean {
  return answer === 3;
}

/** Calls that send a string and get it back. */
export function echo(title: string, { bytes, ...load }: UnaryLoad & { bytes: number }): Scenario {
  // From a buffer: repeat() makes a tree of strings, which the first peer to send it would have to flatten.
  const body = Buffer.from('nestjs-rap bench'.repeat(bytes / 16)).toString('latin1');
  const isRight = (answer: unknown): boolean => typeof answer === 'string' && answer.length === bytes;
  return unaryScenario({ title, ...load, call: 'echo', body, isRight });
}

function unaryScenario(options: UnaryScenario): Scenario {
  return {
    title: options.title,
    unit: 'calls/s',
    peers: unaryPeers,
    base: REFERENCE,
    async prepare(client) {
      const lanes = Array.from({ length: options.lanes }, () => unaryLane(client, options));
      return { run: (seconds) => measure({ lanes, seconds, sampleEvery: options.sampleEvery }) };
    },
  };
}

function unaryLane({ unary, unwrap }: PeerClient, { call, body, isRight }: UnaryScenario): Lane {
  if (!unary) throw new Error('This peer has no unary calls');
  return {
    step: () => unary(call, body),
    check(answer) {
      if (!isRight(unwrap ? unwrap(answer) : answer)) {
        throw new Error(`Wrong answer to ${call}: ${JSON.stringify(answer)?.slice(0, 100)}`);
      }
    },
  };
}
