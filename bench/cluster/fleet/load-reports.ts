import type { LoadReport } from '../../../lib/rpc/connection/load-report.js';
import type { EventHandler, VirtualTime } from '../time/virtual-time.js';
import { NETWORK } from './network.js';
import type { SimEndpoint } from './sim-endpoint.js';
import type { SimServer } from './sim-server.js';

/** Time between two looks at the calls in flight, and looks for each report. */
const LOOK_US = 25_000;
const LOOKS_PER_REPORT = 10;

const LOOKS = 0;
const ARRIVES = 1;

/** Tells the load of a server to the clients that have used it since the last report, as `LoadMeter` does. */
export class LoadReports implements EventHandler {
  #users: SimEndpoint[] = [];
  #told: SimEndpoint[] = [];
  #report: LoadReport | undefined;
  #latencyMs: number | undefined;
  #looks = 0;
  #inFlight = 0;
  #ended = 0;
  #sumMs = 0;
  #arrived = 0;
  #refused = 0;

  constructor(
    private readonly server: SimServer,
    private readonly time: VirtualTime,
    /** When the first one is due. */
    firstUs: number,
  ) {
    time.at(firstUs, this, LOOKS);
  }

  arrived(endpoint: SimEndpoint): void {
    this.#arrived += 1;
    if (endpoint.isUser) return;
    endpoint.isUser = true;
    this.#users.push(endpoint);
  }

  refused(): void {
    this.#refused += 1;
  }

  ended(startedAt: number): void {
    this.#ended += 1;
    this.#sumMs += this.time.now() - startedAt;
  }

  onEvent(step: number): void {
    if (step === ARRIVES) {
      const now = this.time.now();
      for (const endpoint of this.#told) endpoint.told(this.#report as LoadReport, now);
      return;
    }
    this.time.at(this.time.nowUs + LOOK_US, this, LOOKS);
    this.#looks += 1;
    this.#inFlight += this.server.inFlight;
    if (this.#looks < LOOKS_PER_REPORT) return;
    if (this.server.isRunning) this.#tell();
    this.#looks = this.#inFlight = 0;
  }

  #tell(): void {
    if (this.#ended > 0) {
      const meanMs = this.#sumMs / this.#ended;
      this.#latencyMs = this.#latencyMs === undefined ? meanMs : (this.#latencyMs + meanMs) / 2;
    }
    this.#report = {
      inFlight: this.#inFlight / this.#looks,
      latencyMs: this.#latencyMs,
      loopDelayMs: 0,
      refused: this.#arrived > 0 ? Math.min(1, this.#refused / this.#arrived) : 0,
      mos: undefined,
    };
    this.#arrived /= 2;
    this.#refused /= 2;
    this.#ended = this.#sumMs = 0;
    this.#told = this.#users;
    // who has calls in flight stays one
    this.#users = this.#told.filter((endpoint) => (endpoint.isUser = endpoint.traffic.inFlight > 0));
    if (this.#told.length > 0) this.time.at(this.time.nowUs + NETWORK.oneWayUs, this, ARRIVES);
  }
}
