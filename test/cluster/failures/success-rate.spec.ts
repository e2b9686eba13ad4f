import { Ejector } from '../../../lib/cluster/failures/ejection.js';
import { DEFAULT_EJECT } from '../../../lib/cluster/failures/failure-options.js';
import { Fault } from '../../../lib/protocol/fault.js';
import { FakeClock } from '../../helpers/fake-clock.js';
import { seededRandom } from '../../helpers/seeded-random.js';

const ERROR = new Fault({ status: 500, message: 'broken' });

interface Server {
  readonly index: number;
}

/** A fleet under steady calls, whose servers fail with a 500. */
class World {
  readonly clock = new FakeClock();
  readonly servers: Server[];
  /** The servers that were ejected, with the times. */
  readonly ejected: [index: number, at: number][] = [];
  readonly reasons: string[] = [];
  readonly ejector: Ejector<Server>;

  constructor(
    size: number,
    private readonly random: () => number,
  ) {
    this.ejector = new Ejector<Server>({
      now: () => this.clock.now(),
      random,
      options: DEFAULT_EJECT,
      onEject: ({ index }, reason) => {
        this.ejected.push([index, this.clock.now()]);
        this.reasons.push(reason);
      },
    });
    this.servers = Array.from({ length: size }, (_, index) => ({ index }));
    for (const server of this.servers) this.ejector.add(server);
  }

  /** Calls for `ms`, each server `perSecond` times, of which the part `failing(server)` fails. */
  run(ms: number, perSecond: number, failing: (index: number) => number): void {
    const stepMs = 1000 / perSecond;
    for (let passed = 0; passed < ms; passed += stepMs) {
      for (const server of this.servers) {
        this.clock.advance(stepMs / this.servers.length);
        if (this.random() < failing(server.index)) this.ejector.recordFault(server, ERROR);
        else this.ejector.record(server, 'answered');
      }
    }
  }
}

const onlyFirst = (rate: number) => (index: number) => (index === 0 ? rate : 0);

it.each([
  [2, 100],
  [2, 25],
  [3, 100],
  [3, 25],
  [11, 90],
  [100, 25],
])(
  'of %i servers with %i calls/s, one that answers only errors is ejected within a second',
  (size, perSecond) => {
    const world = new World(size, seededRandom(1));
    world.run(10_000, perSecond, () => 0);
    const began = world.clock.now();
    world.run(1_000, perSecond, onlyFirst(1));
    expect(world.ejected).toHaveLength(1);
    const [index, at] = world.ejected[0]!;
    expect(index).toBe(0);
    expect(at - began).toBeLessThanOrEqual(1_000);
  },
);

it('says why', () => {
  const world = new World(3, seededRandom(1));
  world.run(2_000, 50, onlyFirst(1));
  expect(world.reasons).toEqual(["0 % of its calls succeeded, 100 % of the others'"]);
});

it.each([1, 2, 5])('one with few calls, %i x 3 a second, is found in some seconds', (perSecond) => {
  const world = new World(3, seededRandom(1));
  world.run(20_000, perSecond * 3, () => 0);
  const began = world.clock.now();
  world.run(6_000, perSecond * 3, onlyFirst(1));
  expect(world.ejected.map(([index]) => index)).toEqual([0]);
  expect(world.ejected[0]![1] - began).toBeLessThan(6_000);
});

it('one that fails two calls of three, at 40 calls/s, is found; one that fails a fifth is not', () => {
  const bad = new World(5, seededRandom(3));
  bad.run(20_000, 40, onlyFirst(0.67));
  expect(bad.ejected.map(([index]) => index)).toEqual([0]);
  const fair = new World(5, seededRandom(3));
  fair.run(60_000, 40, onlyFirst(0.2));
  expect(fair.ejected).toEqual([]);
});

it.each([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1])(
  'when the part %d of the calls fails at all servers, none is ejected by chance',
  (part) => {
    for (let seed = 1; seed <= 3; seed++) {
      const world = new World(20, seededRandom(seed));
      world.run(60_000, 30, () => part);
      expect(world.ejected).toEqual([]);
    }
  },
);

it('an outage of what is behind all servers, and its end, ejects none', () => {
  const world = new World(20, seededRandom(9));
  for (let i = 0; i < 5; i++) {
    world.run(5_000, 100, () => 0.01);
    world.run(5_000, 100, () => 0.99);
  }
  expect(world.ejected).toEqual([]);
});

it('half of the servers may fail, and are ejected one after the other', () => {
  const world = new World(10, seededRandom(4));
  world.run(3_000, 50, (index) => (index < 5 ? 1 : 0));
  expect(world.ejected.map(([index]) => index).toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4]);
});

it('compares nothing with a rest that is idle, or gone', () => {
  const world = new World(3, seededRandom(4));
  for (let i = 0; i < 1000; i++) {
    world.clock.advance(10);
    world.ejector.recordFault(world.servers[0]!, ERROR);
  }
  expect(world.ejected).toEqual([]);
  world.run(1_000, 100, () => 0);
  // they leave with their successes
  world.ejector.remove(world.servers[1]!);
  world.ejector.remove(world.servers[2]!);
  world.ejector.add({ index: 3 });
  for (let i = 0; i < 1000; i++) world.ejector.recordFault(world.servers[0]!, ERROR);
  expect(world.ejected).toEqual([]);
});

it('is right after the process stood still for an hour', () => {
  const world = new World(3, seededRandom(4));
  world.run(5_000, 100, () => 0);
  world.clock.stall(3_600_000);
  world.run(1_000, 100, onlyFirst(1));
  expect(world.ejected.map(([index]) => index)).toEqual([0]);
});
