import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, type RapClient } from '../../lib/index.js';
import type { TestApp } from './app.js';
import { eventually, pass } from './async.js';

/** What a {@link BackgroundLoad} uses of the server that it shares. */
@Controller()
export class BackgroundController {
  @MessagePattern('background.echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }

  @MessagePattern('background.count')
  async *count(@Payload() n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield await Promise.resolve(i);
  }

  @ChannelPattern('background.channel')
  async channel(@Payload() channel: RapChannel): Promise<void> {
    for await (const body of channel) await channel.write(body);
  }
}

/** A well-behaved client on a connection of its own: calls, streams and a channel, and none may notice the others. */
export class BackgroundLoad {
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
  static async of(test: TestApp): Promise<BackgroundLoad> {
    const client = test.client({ reconnect: false });
    await client.connect();
    const background = new BackgroundLoad(client);
    await background.goesOn();
    return background;
  }

  /** Waits for some more rounds that went right. */
  async goesOn(rounds = 3): Promise<void> {
    const goal = this.rounds + rounds;
    await eventually(
      'the background load goes on',
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
    if (this.client.stats().lateAnswers > 0) throw new Error('the background load got answers of others');
    this.client.close();
  }

  async #run(): Promise<void> {
    let lost = 0;
    this.client.on('disconnect', () => (lost += 1));
    const channel = await this.client.channel<number, number>('background.channel');
    while (!this.#stopped) {
      const n = this.rounds;
      same(await this.client.call('background.echo', `call ${n}`), `call ${n}`);
      await channel.write(n);
      same(await channel.read(), n);
      let next = 0;
      for await (const i of this.client.stream<number>('background.count', 5)) same(i, next++);
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
  if (got !== expected)
    throw new Error(`the background load got ${String(got)} instead of ${String(expected)}`);
}
