import type { RapClient } from '../../lib/index.js';
import type { TestApp } from './app.js';
import { eventually } from './async.js';

/** A well-behaved client that keeps calling while others misbehave, and must notice nothing of it. */
export class BackgroundCalls {
  calls = 0;
  readonly failures: unknown[] = [];
  #stopped = false;
  readonly #lanes: Promise<void>[];

  private constructor(private readonly client: RapClient) {
    this.#lanes = [this.#run(0), this.#run(1)];
  }

  /** Connects and starts calling. */
  static async of(app: TestApp): Promise<BackgroundCalls> {
    const client = app.client();
    await client.connect();
    const background = new BackgroundCalls(client);
    await background.goesOn();
    return background;
  }

  /** Waits for some more right answers. */
  async goesOn(calls = 4): Promise<void> {
    const goal = this.calls + calls;
    await eventually(
      'answers to the background calls',
      () => this.calls >= goal || this.failures.length > 0,
      15_000,
    );
    this.#check();
  }

  /** Stops calling; every call must have been answered right. May be called twice. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    await this.goesOn();
    this.#stopped = true;
    await Promise.all(this.#lanes);
    this.#check();
    if (this.client.stats().lateAnswers > 0) throw new Error('a background call got answers of others');
  }

  async #run(lane: number): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const asked = `lane ${lane}, call ${i}`;
      try {
        const answer = await this.client.call<string>('echo', asked);
        if (answer !== asked) this.failures.push(new Error(`asked "${asked}", answered ${answer}`));
        this.calls += 1;
      } catch (error) {
        this.failures.push(error);
        return;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #check(): void {
    if (this.failures.length > 0)
      throw new AggregateError(this.failures, `the background calls failed: ${String(this.failures[0])}`);
  }
}
