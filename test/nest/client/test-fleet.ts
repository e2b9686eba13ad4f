import 'reflect-metadata';
import { Controller, type Type } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  AuthError,
  ChannelPattern,
  RapChannel,
  RapClient,
  type RapClientOptions,
  RapContext,
  RapError,
  type RapServerOptions,
  ServerError,
} from '../../../lib/index.js';
import { serve, type TestApp } from '../../helpers/app.js';
import { testScope, type TestScope } from '../../helpers/async.js';

/** What a server was asked. */
export class Work {
  calls = 0;
  /** Ports of the clients: one for each connection. */
  readonly ports = new Set<number>();
  /** What its handlers do, instead of answering with its name. */
  fault: (() => unknown) | undefined;
}

function controllerOf(name: string, work: Work): Type {
  const asked = (ctx: RapContext): void => {
    work.calls += 1;
    work.ports.add(ctx.peer.port ?? 0);
  };
  @Controller()
  class FleetController {
    @MessagePattern('name')
    name(@Ctx() ctx: RapContext): unknown {
      asked(ctx);
      return work.fault ? work.fault() : name;
    }

    @MessagePattern('port')
    port(@Ctx() ctx: RapContext): number {
      asked(ctx);
      return ctx.peer.port ?? 0;
    }

    @MessagePattern('slow')
    async slow(@Payload() ms: number, @Ctx() ctx: RapContext): Promise<string> {
      asked(ctx);
      await new Promise((resolve) => setTimeout(resolve, ms));
      return name;
    }

    @MessagePattern('fail')
    fail(@Payload() kind: string, @Ctx() ctx: RapContext): never {
      asked(ctx);
      if (kind === 'final') throw new ServerError('final', { retry: false });
      throw kind === 'auth' ? new AuthError('no') : new RapError('broken', { status: 500 });
    }

    @MessagePattern('count')
    *count(@Payload() n: number, @Ctx() ctx: RapContext): Generator<string> {
      asked(ctx);
      work.fault?.();
      for (let i = 0; i < n; i += 1) yield `${name}${i}`;
    }

    @MessagePattern('ports')
    *ports(@Payload() n: number, @Ctx() ctx: RapContext): Generator<number> {
      asked(ctx);
      for (let i = 0; i < n; i += 1) yield ctx.peer.port ?? 0;
    }

    @ChannelPattern('talk')
    async talk(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
      asked(ctx);
      work.fault?.();
      await channel.write(ctx.peer.port ?? 0);
      for await (const message of channel) if (message === 'end') break;
    }
  }
  return FleetController;
}

/** Servers in this process, and clients of all of them. */
export class TestFleet {
  readonly apps: TestApp[] = [];
  readonly works: Work[] = [];
  readonly #clients: RapClient[] = [];

  static async start(size: number, options: RapServerOptions = {}): Promise<TestFleet> {
    const fleet = new TestFleet();
    for (let i = 0; i < size; i += 1) await fleet.add(options);
    return fleet;
  }

  async add(options: RapServerOptions = {}): Promise<TestApp> {
    const work = new Work();
    // calls in flight end before a server closes, also on a busy machine
    const controller = controllerOf(`s${this.works.length}`, work);
    const app = await serve([controller], { closeTimeoutMs: 10_000, ...options });
    this.works.push(work);
    this.apps.push(app);
    return app;
  }

  get servers(): { host: string; port: number }[] {
    return this.apps.map(({ port }) => ({ host: '127.0.0.1', port }));
  }

  /** What was logged, by the clients too. */
  get log(): string {
    return this.apps.flatMap(({ log }) => log.lines).join('\n');
  }

  /** Calls that came to any server. */
  get calls(): number {
    return this.works.reduce((sum, { calls }) => sum + calls, 0);
  }

  client(options: RapClientOptions = {}): RapClient {
    const client = new RapClient(options.resolver ? options : { servers: this.servers, ...options });
    this.#clients.push(client);
    return client;
  }

  /** A client that is connected to all servers. */
  async ready(options: RapClientOptions = {}, count = this.apps.length): Promise<RapClient> {
    const client = this.client(options);
    const states = new Map<string, string>();
    const all = new Promise<void>((resolve) => {
      client.on('endpoint', ({ address, state }) => {
        states.set(address, state);
        if ([...states.values()].filter((each) => each === 'ready').length === count) resolve();
      });
    });
    await client.connect();
    await all;
    return client;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    for (const app of this.apps) await app.close();
  }
}

/** Each test of a file gets a fleet, which ends with the scope of the test. */
export function fleetForEachTest(servers: number, given: (fleet: TestFleet) => void): TestScope {
  const scope = testScope();
  beforeEach(async () => {
    const fleet = await TestFleet.start(servers);
    scope.defer(() => fleet.close());
    given(fleet);
  });
  return scope;
}
