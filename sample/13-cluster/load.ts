import type { RapClient } from 'nestjs-rap';

/** 200 calls a second, whatever happens to the servers. */
export class Load {
  calls = 0;
  failed = 0;
  slowestMs = 0;
  readonly #running = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;

  constructor(private readonly client: RapClient) {
    this.#timer = setInterval(() => {
      for (let i = 0; i < 4; i++) this.#start();
    }, 20);
  }

  /** Ends when all calls have ended. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#running);
  }

  toString(): string {
    return `${this.calls} calls, ${this.failed} failed, the slowest took ${Math.round(this.slowestMs)} ms`;
  }

  #start(): void {
    const running = this.#call().finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #call(): Promise<void> {
    const began = performance.now();
    this.calls += 1;
    try {
      await this.client.call('price', {}, { idempotent: true }); // may run twice: so it moves after any failure
    } catch (error) {
      this.failed += 1;
      console.error(String(error));
    }
    this.slowestMs = Math.max(this.slowestMs, performance.now() - began);
  }
}
