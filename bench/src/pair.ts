import { setTimeout as sleep } from 'node:timers/promises';
import { Child } from './children/child.js';
import { isClientMeasurement } from './measurement.js';
import type { PeerName } from './peers.js';
import type { Scenario } from './scenario.js';
import { type ScenarioName, scenarios } from './scenarios.js';
import { Watch } from './watch.js';

/** The result of one peer in one round. */
export interface Measurement {
  /** In the scenario's unit. */
  result: number;
  p50Us: number;
  p99Us: number;
  serverCpuUs: number;
  clientCpuUs: number;
  /** Peak memory and items of the processes during the run, if the scenario is watched. */
  serverMemoryMiB?: number;
  clientMemoryMiB?: number;
}

/** A server is at rest when it uses less than a fifth of a processor for as long. */
const REST_MS = 50;
const REST_CPU_US = 10_000;
const REST_PATIENCE_MS = 5_000;

/** A peer's server and client process, ready to run one scenario. */
export class Pair {
  private constructor(
    private readonly server: Child,
    private readonly client: Child,
    private readonly scenario: Scenario,
  ) {}

  static async start(peer: PeerName, scenario: ScenarioName): Promise<Pair> {
    const { child: server, ready: port } = await Child.start('./server.js', [peer]);
    try {
      const { child: client } = await Child.start('./client.js', [peer, scenario, String(port)]);
      return new Pair(server, client, scenarios[scenario]);
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  async run(seconds: number): Promise<Measurement> {
    const watch = this.scenario.isWatched ? await Watch.prepare(this.server, this.client) : undefined;
    const before = await this.server.usage();
    const running = this.client.ask({ ask: 'run', seconds }, seconds * 1000);
    const [client, watched] = await Promise.all([running, watch?.until(running)]);
    if (!isClientMeasurement(client)) throw new Error(`Not a measurement: ${JSON.stringify(client)}`);
    const { itemsAhead, ...memory } = watched ?? {};
    const after = await this.server.usage();
    await this.rest(after.cpuUs);
    return {
      result: itemsAhead ?? client.steps / client.seconds,
      p50Us: client.p50Us,
      p99Us: client.p99Us,
      serverCpuUs: (after.cpuUs - before.cpuUs) / client.steps,
      clientCpuUs: client.cpuUs / client.steps,
      ...memory,
    };
  }

  /** Items that a server sends before it learns of the cancel must not count in the next run. */
  private async rest(lastCpuUs: number): Promise<void> {
    let before = lastCpuUs;
    for (let waitedMs = 0; waitedMs < REST_PATIENCE_MS; waitedMs += REST_MS) {
      await sleep(REST_MS);
      const { cpuUs } = await this.server.usage();
      if (cpuUs - before < REST_CPU_US) return;
      before = cpuUs;
    }
    throw new Error(`The server was still busy ${REST_PATIENCE_MS / 1000} s after the run`);
  }

  /** The client first, so that no server sees a lost connection. */
  async stop(): Promise<void> {
    await this.client.stop();
    await this.server.stop();
  }
}
