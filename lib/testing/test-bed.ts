import type { INestMicroservice, Type } from '@nestjs/common';
import type { RapClient } from '../nest/client/rap-client.js';
import type { RapClientOptions } from '../nest/client/client-options.js';
import type { RapServer } from '../nest/server/rap-server.js';
import { closeFailed, makeApp } from './bed-app.js';
import { assertBedOptions, type RapTestBedOptions } from './bed-options.js';
import { RapFaults } from './faults.js';
import { openBeds } from './open-beds.js';
import { calledAt } from './made-at.js';
import { RapTestClock } from './test-clock.js';
import { runningWork } from './work.js';
import { World } from './world.js';

/** A Nest application that serves over rap, and a client of it, in one process and without a port. */
export class RapTestBed {
  /** A client of the server, connected with the first call. Further ones: `createClient()`. */
  readonly client: RapClient;
  /** Faults of the connections. */
  readonly faults: RapFaults;
  /** The clock of server and clients. */
  readonly clock: RapTestClock;
  readonly #name: string;
  readonly #world: World;
  readonly #clients: RapClient[] = [];
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(
    /** The Nest application. */
    readonly app: INestMicroservice,
    /** Its transport. */
    readonly server: RapServer,
    {
      world,
      client,
      name,
    }: { readonly world: World; readonly client: RapClientOptions; readonly name: string },
  ) {
    this.#world = world;
    this.faults = new RapFaults(world.network, world.order);
    this.clock = new RapTestClock(world.manual, () => world.network.moves);
    this.client = this.createClient(client);
    this.#name = name;
    openBeds.set(this, { name, inFlight: () => this.inFlight() });
  }

  /** One more client of the server, with options of its own. It is closed with the bed. */
  createClient(options: RapClientOptions = {}): RapClient {
    const client = this.#world.client(options);
    this.#clients.push(client);
    return client;
  }

  /** The provider of a token, in whichever module it is. @throws what Nest throws if there is none */
  get<T>(token: Type<T> | string | symbol | Function): T {
    return this.app.get<T>(token, { strict: false });
  }

  /**
   * Ends all faults, closes the clients and the application, and lets time run. Calls in flight fail with `ConnectionLostError`; it
   * does not wait for handlers that go on: `expectNoLeaks()` names them. May be called twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** At the end of an `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    openBeds.delete(this);
    this.faults.clear();
    this.#world.manual?.resume();
    try {
      await Promise.all(this.#clients.map((client) => client.close()));
    } finally {
      await this.app.close();
    }
  }

  /** @internal Calls and handlers that are in flight, as text. */
  inFlight(): string[] {
    const inFlight = this.#clients.reduce((sum, client) => sum + client.stats().inFlight, 0);
    const calls = [
      `${inFlight} ${inFlight === 1 ? 'call of its clients is' : 'calls of its clients are'} in flight`,
    ];
    return [...runningWork((where) => where === this.#name), ...(inFlight === 0 ? [] : calls)];
  }
}

/**
 * Makes a Nest application of your modules that serves over rap, and a client of it. Both are joined in memory by their real codec,
 * sessions, limits and processors; no port is opened.
 *
 *     const bed = await createRapTestBed({ modules: [AppModule] });
 *     expect(await bed.client.call('sum', { a: 1, b: 2 })).toBe(3);
 *     await bed.close();
 *
 * @throws RangeError for an option that does not exist; what Nest throws if the application cannot start
 */
export function createRapTestBed(options: RapTestBedOptions = {}): Promise<RapTestBed> {
  return makeBed(options, calledAt(createRapTestBed));
}

let made = 0;

async function makeBed(options: RapTestBedOptions, madeAt: string | undefined): Promise<RapTestBed> {
  assertBedOptions(options);
  const { server: serverOptions, client = {}, clock, address } = options;
  made += 1;
  const name = nameOf(options, madeAt);
  const world = new World({ name, isManual: clock === 'manual', ...(address !== undefined && { address }) });
  const server = world.server(serverOptions);
  const app = await makeApp(options, server);
  let bed: RapTestBed | undefined;
  try {
    bed = new RapTestBed(app, server, { world, client, name });
    await app.listen();
    return bed;
  } catch (error) {
    await closeFailed(bed ?? app);
    throw error;
  }
}

/** `test bed 1 (AppModule, made at test/app.spec.ts:12:30)` */
function nameOf({ modules = [], controllers = [] }: RapTestBedOptions, madeAt: string | undefined): string {
  const names = [...modules, ...controllers].map(
    (it) => (it as { name?: unknown }).name ?? (it as { module?: { name?: unknown } }).module?.name,
  );
  const about = [
    ...names.filter((each): each is string => typeof each === 'string').slice(0, 3),
    ...(madeAt === undefined ? [] : [`made at ${madeAt}`]),
  ];
  return `test bed ${made} (${about.join(', ')})`;
}
