import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { isTally } from './tally.js';
import { ItemMeter } from './item-meter.js';
import type { PeerClient } from './peer.js';
import { type PeerName, REFERENCE } from './peers.js';
import { Reservoir } from './reservoir.js';
import type { Runner, Scenario } from './scenario.js';
import { Stopwatch } from './stopwatch.js';
import { TEXT_COUNT, textIndex } from './texts.js';

/** Nest TCP streams only from the server to the client. */
const duplexPeers: readonly PeerName[] = ['rap', 'nest-grpc', 'nest-grpc-tuned', 'raw'];

/** More items than any run takes: the client cancels. */
const ENDLESS = 1e9;

/** The server streams 0, 1, 2, ... and the client takes them as fast as it can, then cancels. */
export function stream(title: string): Scenario {
  return {
    title,
    unit: 'items/s',
    peers: ['rap', 'nest-tcp', 'nest-tcp-batched', 'nest-grpc', 'nest-grpc-tuned', 'raw'],
    base: REFERENCE,
    alsoToGrpc: true,
    async prepare(client) {
      const consume = required(client, 'consume');
      const { longestStream } = client;
      return {
        async run(seconds) {
          const meter = new ItemMeter();
          const watch = new Stopwatch(seconds);
          const checked = new Checked();
          while (!watch.isOver) {
            let expected = 0;
            await consume('count', { n: longestStream ?? ENDLESS }, (item) => {
              if (checked.isWrong(item, expected)) return false;
              expected += 1;
              meter.tick();
              return !watch.isOver || longestStream !== undefined;
            });
            checked.assert();
            if (!watch.isOver && expected !== longestStream)
              throw new Error(`The stream ended after ${expected} items`);
          }
          return { steps: meter.items, ...watch.stop(), ...meter.summaryUs() };
        },
      };
    },
  };
}

/** The client streams 0, 1, 2, ... as fast as it may; the server counts them and reports the result at the end. */
export function upload(title: string): Scenario {
  return {
    title,
    unit: 'items/s',
    peers: duplexPeers,
    base: 'nest-grpc',
    async prepare(client) {
      const produce = required(client, 'produce');
      return {
        async run(seconds) {
          const meter = new ItemMeter();
          const watch = new Stopwatch(seconds);
          const tally = await produce('sink', () => {
            if (watch.isOver) return undefined;
            meter.tick();
            return meter.items - 1;
          });
          const lap = watch.stop();
          const sum = (meter.items * (meter.items - 1)) / 2;
          if (!isTally(tally) || tally.count !== meter.items || tally.sum !== sum) {
            throw new Error(`Sent ${meter.items} items, sum ${sum}; received ${JSON.stringify(tally)}`);
          }
          return { steps: meter.items, ...lap, ...meter.summaryUs() };
        },
      };
    },
  };
}

interface DuplexLoad {
  /** Messages in flight at any time. */
  outstanding: number;
  /** The latency of every Nth message is measured. */
  sampleEvery: number;
}

/** Messages go back and forth over one duplex stream: each that comes back makes room for the next. */
export function duplex(title: string, { outstanding, sampleEvery }: DuplexLoad): Scenario {
  return {
    title,
    unit: 'round trips/s',
    peers: duplexPeers,
    base: 'nest-grpc',
    async prepare(client) {
      const exchange = required(client, 'exchange');
      return {
        async run(seconds) {
          const latencies = new Reservoir();
          const watch = new Stopwatch(seconds);
          const checked = new Checked();
          /** When the sampled messages left, oldest first. */
          const leftAt: number[] = [];
          let sent = 0;
          let received = 0;
          const next = (): number => {
            if (sent % sampleEvery === 0) leftAt.push(performance.now());
            return sent++;
          };
          const first = Array.from({ length: outstanding }, next);
          await exchange('mirror', first, (echo) => {
            if (checked.isWrong(echo, received)) return undefined;
            if (received % sampleEvery === 0) {
              latencies.add(performance.now() - (leftAt.shift() ?? Number.NaN));
            }
            received += 1;
            return watch.isOver ? undefined : next();
          });
          checked.assert();
          if (received !== sent) throw new Error(`Of ${sent} messages ${received} came back`);
          return { steps: received, ...watch.stop(), ...latencies.summaryUs() };
        },
      };
    },
  };
}

/** The server could stream much faster than the client reads. The bench measures how far it gets ahead. */
export function slowReader(title: string): Scenario {
  return {
    title,
    unit: 'items ahead',
    peers: ['rap', 'nest-tcp', 'nest-grpc-tuned', 'raw'],
    base: null,
    isWatched: true,
    prepare: async (client) => new SlowReader(client),
  };
}

/** Takes one item each millisecond, and catches up after a late timer. */
class SlowReader implements Runner {
  itemsRead: number | undefined;

  constructor(private readonly client: PeerClient) {}

  async run(seconds: number) {
    const open = required(this.client, 'open');
    const waits = new Reservoir();
    const checked = new Checked();
    const source = open('texts', { n: TEXT_COUNT });
    const watch = new Stopwatch(seconds);
    let steps = 0;
    while (!watch.isOver) {
      for (const due = Math.floor(watch.elapsedMs); steps < due && !watch.isOver;) {
        const askedAt = performance.now();
        const item = await source.read();
        waits.add(performance.now() - askedAt);
        if (checked.isWrong(textIndex(item), steps)) watch.isOver = true;
        else steps += 1;
        this.itemsRead = steps;
      }
      await sleep(1);
    }
    const lap = watch.stop();
    this.itemsRead = undefined;
    await source.cancel();
    checked.assert();
    return { steps, ...lap, ...waits.summaryUs() };
  }
}

/** Remembers the first item that is not the expected one: peers' callbacks must not throw. */
class Checked {
  private complaint: string | undefined;

  isWrong(item: unknown, expected: number): boolean {
    if (item === expected) return false;
    this.complaint ??= `Expected item ${expected}, got ${JSON.stringify(item)?.slice(0, 100)}`;
    return true;
  }

  assert(): void {
    if (this.complaint) throw new Error(this.complaint);
  }
}

function required<K extends keyof PeerClient>(client: PeerClient, operation: K): NonNullable<PeerClient[K]> {
  const found = client[operation];
  if (!found) throw new Error(`This peer cannot ${operation}`);
  return found;
}
