import { Connection, type ConnectionOptions } from '../../lib/cluster/connection.js';
import type { ConnectionStatus } from '../../lib/cluster/peer-source.js';
import { DEFAULT_RECONNECT } from '../../lib/cluster/backoff.js';
import { Fault } from '../../lib/protocol/fault.js';
import type { Link } from '../../lib/protocol/link.js';
import { DeadlineQueue } from '../../lib/rpc/time/deadline-queue.js';
import { CLIENT_KEEP_ALIVE, DEFAULT_LIMITS, serverLoad, SERVER_KEEP_ALIVE } from '../../lib/rpc/limits.js';
import type { ClientPeer } from '../../lib/rpc/client/client-peer.js';
import { Load } from '../../lib/rpc/load.js';
import { ServerPeer } from '../../lib/rpc/server/server-peer.js';
import { FakeClock } from '../helpers/fake-clock.js';
import { LinkedLinks } from '../helpers/linked-links.js';
import { CountingClock, RecordingOwner } from '../helpers/peer-pair.js';

/** One attempt to dial, which the test lets succeed or fail. */
export class Dial {
  readonly links = new LinkedLinks();
  readonly owner = new RecordingOwner();
  server: ServerPeer | undefined;
  readonly result: Promise<Link>;
  #resolve!: (link: Link) => void;
  #reject!: (error: unknown) => void;

  constructor(private readonly world: World) {
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  async fail(
    error: unknown = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }),
  ): Promise<void> {
    this.#reject(error);
    await this.world.settle();
  }

  /** The connection is there; a server of this project answers. */
  async succeed(): Promise<void> {
    this.server = new ServerPeer(this.links.server, {
      owner: this.owner,
      limits: DEFAULT_LIMITS,
      keepAlive: SERVER_KEEP_ALIVE,
      clock: this.world.clock,
      deadlines: this.world.deadlines,
      load: new Load(serverLoad(DEFAULT_LIMITS)),
      id: `conn-${this.world.dials.indexOf(this)}`,
    });
    this.server.start();
    await this.reach();
  }

  /** The connection is there; the test plays the server. */
  async reach(): Promise<void> {
    this.links.server.played = this.server === undefined;
    this.#resolve(this.links.client);
    await this.world.settle();
  }
}

/** A connection whose attempts, clock and servers the test controls. */
class World {
  readonly clock = new FakeClock();
  readonly lanes = new CountingClock(this.clock);
  readonly deadlines = new DeadlineQueue(this.lanes);
  readonly dials: Dial[] = [];
  readonly statuses: ConnectionStatus[] = [];
  readonly reasons: (Fault | undefined)[] = [];
  onStatus: ((status: ConnectionStatus) => void) | undefined;
  readonly connection: Connection;

  constructor(options: Partial<ConnectionOptions> = {}) {
    this.connection = new Connection({
      dial: () => {
        const dial = new Dial(this);
        this.dials.push(dial);
        return dial.result;
      },
      where: 'server:9000',
      limits: DEFAULT_LIMITS,
      keepAlive: CLIENT_KEEP_ALIVE,
      clock: this.clock,
      deadlines: this.deadlines,
      metadata: {},
      reconnect: DEFAULT_RECONNECT,
      onStatus: (status, reason) => {
        this.statuses.push(status);
        this.reasons.push(reason);
        this.onStatus?.(status);
      },
      ...options,
    });
  }

  /** The last attempt. */
  get dial(): Dial {
    const dial = this.dials.at(-1);
    if (!dial) throw new Error('nothing was dialled');
    return dial;
  }

  /** Lets bytes and promises come to rest. */
  async settle(): Promise<void> {
    for (let i = 0; i < 10; i++) {
      for (const { links } of this.dials) links.flow();
      await Promise.resolve();
    }
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await this.settle();
  }

  acquire(timeoutMs = 10_000): Outcome {
    return new Outcome(this.connection.acquire('/default/x', timeoutMs));
  }

  /** Connects for the first time. */
  async open(): Promise<Dial> {
    const first = this.acquire();
    const { dial } = this;
    await dial.succeed();
    expect(first.value).toBe(this.connection.peer);
    return dial;
  }
}

/** Outcome of a promise, to be looked at without waiting. */
export class Outcome {
  value: ClientPeer | undefined;
  error: Fault | undefined;

  constructor(promise: Promise<ClientPeer>) {
    promise.then(
      (value) => (this.value = value),
      (error: Fault) => (this.error = error),
    );
  }

  get pending(): boolean {
    return this.value === undefined && this.error === undefined;
  }
}

export let world: World;

export function fresh(options?: Partial<ConnectionOptions>): World {
  world = new World(options);
  return world;
}

afterEach(async () => {
  world.connection.close('the test is over');
  for (const { server } of world.dials)
    server?.abort(new Fault({ status: 1006, message: 'the test is over' }));
  await world.settle();
  for (const { owner } of world.dials) for (const call of owner.calls) call.ended();
  expect(world.connection.inFlight).toBe(0);
  expect(world.connection.queued).toBe(0);
  expect(world.clock.pending - world.lanes.pending).toBe(0);
  const dials = world.dials.length;
  await world.pass(3_600_000);
  expect(world.clock.pending).toBe(0);
  expect(world.dials).toHaveLength(dials);
});
