import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, type RapClient } from '../../lib/index.js';
import type { TestApp } from './app.js';
import { eventually } from './async.js';
import { pass, turn } from './streams.js';

/** What a {@link Neighbour} uses of the server that it shares. */
@Controller()
export class NeighbourController {
  @MessagePattern('neighbour.echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }

  @MessagePattern('neighbour.count')
  async *count(@Payload() n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield await Promise.resolve(i);
  }

  @ChannelPattern('neighbour.channel')
  async channel(@Payload() channel: RapChannel): Promise<void> {
    for await (const body of channel) await channel.write(body);
  }
}

/** A well-behaved client on a connection of its own: calls, streams and a channel, and none may notice the others. */
export class Neighbour {
  rounds = 0;
  #stopped = false;
  #failure: unknown;
  readonly #running: Promise<void>;

  private constructor(private readonly client: RapClient) {
    this.#running = this.#run().catch((error: unknown) => {
      this.#failure = error;
    });
  }

  /** Starts working beside others. */
  static async of(test: TestApp): Promise<Neighbour> {
    const client = test.client({ reconnect: false });
    await client.connect();
    const neighbour = new Neighbour(client);
    await neighbour.goesOn();
    return neighbour;
  }

  /** Waits for some more rounds that went right. */
  async goesOn(rounds = 3): Promise<void> {
    const goal = this.rounds + rounds;
    await eventually(
      'the neighbour goes on',
      () => this.rounds >= goal || this.#failure !== undefined,
      10_000,
    );
    if (this.#failure !== undefined) throw this.#failure as Error;
  }

  /** Ends; everything must have gone right, on the connection that it began with. */
  async stop(): Promise<void> {
    await this.goesOn();
    this.#stopped = true;
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure as Error;
    if (this.client.stats().lateAnswers > 0) throw new Error('the neighbour got answers of others');
    this.client.close();
  }

  async #run(): Promise<void> {
    let lost = 0;
    this.client.on('disconnect', () => (lost += 1));
    const channel = await this.client.channel<number, number>('neighbour.channel');
    while (!this.#stopped) {
      const n = this.rounds;
      same(await this.client.call('neighbour.echo', `call ${n}`), `call ${n}`);
      await channel.write(n);
      same(await channel.read(), n);
      let next = 0;
      for await (const i of this.client.stream<number>('neighbour.count', 5)) same(i, next++);
      same(next, 5);
      same(lost, 0);
      this.rounds += 1;
      await pass(2); // a client with something else to do, too
    }
    await channel.end();
    same(await channel.read(), undefined);
    await channel.closed;
  }
}

function same(got: unknown, expected: unknown): void {
  if (got !== expected) throw new Error(`the neighbour got ${String(got)} instead of ${String(expected)}`);
}

/** Heap in use after a collection, in bytes. */
export async function heapUsed(): Promise<number> {
  await collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** Memory of buffers in use after a collection, in bytes. */
export async function buffersUsed(): Promise<number> {
  await collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

async function collectGarbage(): Promise<void> {
  const { setFlagsFromString } = await import('node:v8');
  const { runInNewContext } = await import('node:vm');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let i = 0; i < 3; i++) {
    await turn();
    collect();
  }
}
