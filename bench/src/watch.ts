import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from './children/child.js';

/** How often both are asked. Every Nth time also for their memory, which pauses them for a moment. */
const ASK_EVERY_MS = 20;
const MEMORY_EVERY = 10;

const MIB = 1024 * 1024;

/** The maximum values during a run. */
export interface Watched {
  /** Items that the server had produced and the client not yet taken. */
  itemsAhead: number;
  serverMemoryMiB: number;
  clientMemoryMiB: number;
}

/** Watches a server and its client from outside while they stream. */
export class Watch {
  private constructor(
    private readonly server: Child,
    private readonly client: Child,
    private readonly before: { server: number; client: number },
  ) {}

  /** Just before the run: memory is measured relative to this. */
  static async prepare(server: Child, client: Child): Promise<Watch> {
    await server.ask({ ask: 'reset' });
    return new Watch(server, client, {
      server: await server.liveBytes(),
      client: await client.liveBytes(),
    });
  }

  async until(end: Promise<unknown>): Promise<Watched> {
    const state = { isOver: false };
    const over = (): void => void (state.isOver = true);
    end.then(over, over);

    const most: Watched = { itemsAhead: 0, serverMemoryMiB: 0, clientMemoryMiB: 0 };
    for (let turn = 1; ; turn++) {
      await sleep(ASK_EVERY_MS);
      // In this order: if the client was still reading then, the server had not been cancelled.
      const { items: produced } = await this.server.usage();
      const { items: taken } = await this.client.usage();
      if (state.isOver) return most;
      if (produced === null || taken === null) continue;
      most.itemsAhead = Math.max(most.itemsAhead, produced - taken);
      if (turn % MEMORY_EVERY !== 0) continue;
      const server = ((await this.server.liveBytes()) - this.before.server) / MIB;
      const client = ((await this.client.liveBytes()) - this.before.client) / MIB;
      most.serverMemoryMiB = Math.max(most.serverMemoryMiB, server);
      most.clientMemoryMiB = Math.max(most.clientMemoryMiB, client);
    }
  }
}
