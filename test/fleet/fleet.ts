import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RapClient, type RapClientOptions } from '../../lib/index.js';
import { eventually } from '../helpers/async.js';
import { ServerProcess } from './server-process.js';

const SIZE = 3;
const READY_MS = 20_000;

type EndpointStats = NonNullable<ReturnType<RapClient['stats']>['endpoints']>[number];

/** Three server processes, their journals, and clients of all three. */
export class FleetProcesses {
  readonly servers: readonly ServerProcess[];
  readonly #clients: RapClient[] = [];
  readonly #startedAt = performance.now();
  readonly #story: string[] = [];

  private constructor(
    private readonly folder: string,
    script: string,
  ) {
    this.servers = Array.from({ length: SIZE }, (_, i) => new ServerProcess(script, join(folder, `${i}`)));
  }

  /** @param script the compiled `fixtures/fleet-server.ts` */
  static async start(script: string): Promise<FleetProcesses> {
    const fleet = new FleetProcesses(await mkdtemp(join(tmpdir(), 'rap-fleet-')), script);
    await Promise.all(fleet.servers.map((server) => server.start()));
    return fleet;
  }

  /** A client that is connected to all servers. */
  async client(options: RapClientOptions = {}): Promise<RapClient> {
    const servers = this.servers.map(({ port }) => ({ host: '127.0.0.1', port }));
    const client = new RapClient({ servers, ...options });
    this.#clients.push(client);
    client.on('endpoint', ({ address, state, reason }) => this.note(`${address} is ${state}: ${reason}`));
    await client.connect();
    await this.ready(client);
    return client;
  }

  /** Waits until a client uses all servers. */
  async ready(client: RapClient, timeoutMs = READY_MS): Promise<void> {
    const areReady = (): boolean =>
      client.stats().endpoints?.every(({ state }) => state === 'ready') === true;
    await eventually('all servers are used', areReady, timeoutMs);
  }

  /** What a client says about a server. */
  statsOf(client: RapClient, { address }: { address: string }): EndpointStats {
    const stats = client.stats().endpoints?.find((each) => each.address === address);
    if (!stats) throw new Error(`${address} is not listed`);
    return stats;
  }

  /** How often each operation was executed. */
  async executions(): Promise<Map<number, number>> {
    const counts = new Map<number, number>();
    for (const { journal } of this.servers)
      for (const line of (await readFile(journal, 'utf8')).split('\n')) {
        if (line !== '') counts.set(Number(line), (counts.get(Number(line)) ?? 0) + 1);
      }
    return counts;
  }

  /** Adds a line to what has happened, for the log of a test that has failed. */
  note(line: string): void {
    this.#story.push(`${((performance.now() - this.#startedAt) / 1000).toFixed(3)} s: ${line}`);
  }

  get story(): string {
    return this.#story.join('\n');
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    await Promise.all(this.servers.map((server) => server.end('SIGKILL')));
    await rm(this.folder, { recursive: true, force: true });
  }
}
