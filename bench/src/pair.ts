import { Child } from './children/child.js';
import type { RunRequest } from './children/messages.js';
import { isClientMeasurement } from './measure.js';
import type { PeerName } from './peers.js';
import type { ScenarioName } from './scenarios.js';

/** What one peer did in one round. */
export interface Measurement {
  rate: number;
  p50Us: number;
  p99Us: number;
  serverCpuUs: number;
  clientCpuUs: number;
}

/** A peer's server and client process, ready to run one scenario. */
export class Pair {
  private constructor(
    private readonly server: Child,
    private readonly client: Child,
  ) {}

  static async start(peer: PeerName, scenario: ScenarioName): Promise<Pair> {
    const { child: server, ready: port } = await Child.start('./server.js', [peer]);
    try {
      const { child: client } = await Child.start('./client.js', [peer, scenario, String(port)]);
      return new Pair(server, client);
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  async run(seconds: number): Promise<Measurement> {
    const serverCpuBefore = await this.serverCpuUs();
    const request: RunRequest = { seconds };
    const client = await this.client.ask(request, seconds * 1000);
    if (!isClientMeasurement(client)) throw new Error(`Not a measurement: ${JSON.stringify(client)}`);
    const serverCpuUs = (await this.serverCpuUs()) - serverCpuBefore;
    return {
      rate: client.steps / client.seconds,
      p50Us: client.p50Us,
      p99Us: client.p99Us,
      serverCpuUs: serverCpuUs / client.steps,
      clientCpuUs: client.cpuUs / client.steps,
    };
  }

  private async serverCpuUs(): Promise<number> {
    return Number(await this.server.ask({}));
  }

  /** The client first, so that no server sees its connection break. */
  async stop(): Promise<void> {
    await this.client.stop();
    await this.server.stop();
  }
}
