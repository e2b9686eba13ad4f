import { setTimeout as pass } from 'node:timers/promises';
import { seededRandom } from '../helpers/seeded-random.js';
import type { ResetProxy } from './reset-proxy.js';
import type { ServerProcess } from './server-process.js';

/** What may happen to a server, and how often, relative to the others. */
const TROUBLES = [
  ['reset', 3],
  ['cut', 3],
  ['stop', 3],
  ['freeze', 1],
  ['kill', 2],
  ['restart', 2],
] as const;
const CALM_MS = 1_500;
const STOP_MS = 2_000;
/** Longer than a client waits for a silent server. */
const FREEZE_MS = 11_000;
const DOWN_MS = 800;

type Trouble = (typeof TROUBLES)[number][0];

/** Breaks a server in random ways, the same for the same seed, and mends it again. */
export class Nemesis {
  readonly #random: () => number;
  readonly #stopping = new AbortController();
  readonly #done: Promise<void>;

  constructor(
    private readonly server: ServerProcess,
    private readonly proxy: ResetProxy,
    private readonly options: { readonly seed: number; readonly note: (line: string) => void },
  ) {
    this.#random = seededRandom(options.seed);
    this.#done = this.#run();
  }

  /** Resolves when the server runs, and nothing more happens to it. */
  stop(): Promise<void> {
    this.#stopping.abort();
    return this.#done;
  }

  async #run(): Promise<void> {
    for (;;) {
      await this.#wait(this.#random() * CALM_MS);
      if (this.#stopping.signal.aborted) return;
      const trouble = this.#choose();
      const ms = this.#random();
      this.options.note(`${trouble} ${this.server.address} (${ms.toFixed(2)})`);
      await this.#make(trouble, ms);
    }
  }

  /** @param share of the longest time, from 0 to 1 */
  async #make(trouble: Trouble, share: number): Promise<void> {
    const { server, proxy } = this;
    switch (trouble) {
      case 'reset':
        return proxy.reset();
      case 'cut':
        return proxy.cut();
      case 'stop':
      case 'freeze':
        server.signal('SIGSTOP');
        await this.#wait(trouble === 'stop' ? share * STOP_MS : FREEZE_MS);
        return server.signal('SIGCONT');
      case 'kill':
      case 'restart':
        await server.end(trouble === 'kill' ? 'SIGKILL' : 'SIGTERM');
        await this.#wait(share * DOWN_MS);
        return server.start();
    }
  }

  #choose(): Trouble {
    let at = this.#random() * TROUBLES.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [trouble, weight] of TROUBLES) if ((at -= weight) < 0) return trouble;
    return 'reset';
  }

  /** Ends early if it is told to stop. */
  async #wait(ms: number): Promise<void> {
    await pass(ms, undefined, { signal: this.#stopping.signal }).catch(() => {});
  }
}
