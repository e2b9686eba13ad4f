import type { RapClient } from '../../../lib/index.js';
import { eventually } from '../../helpers/async.js';

/** Calls one after the other until the end, each of which must succeed. */
export class SteadyCalls {
  count = 0;
  /** What answered. */
  readonly names = new Set<string>();
  #isOver = false;
  readonly #work: Promise<void>;

  constructor(private readonly client: RapClient) {
    this.#work = this.#run();
    this.#work.catch(() => {});
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      this.names.add(await this.client.call<string>('name', this.count));
      this.count += 1;
    }
  }

  /** Lets this many more succeed. */
  async more(times: number): Promise<void> {
    const until = this.count + times;
    await Promise.race([this.#work, eventually('more calls', () => this.count >= until)]);
  }

  end(): Promise<void> {
    this.#isOver = true;
    return this.#work;
  }
}
