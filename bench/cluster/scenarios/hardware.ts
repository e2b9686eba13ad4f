import type { ServerOptions } from '../fleet/sim-server.js';

const CORES = 8;
const SERVICE_US = 20_000;

/** A server of mean hardware: 8 calls at a time of 20 ms each, so that it bears 400 calls a second. */
export function server(speed = 1): ServerOptions {
  return { cores: CORES, serviceUs: SERVICE_US, speed, maxInFlight: 1_000 };
}

export const CALLS_PER_SECOND = (CORES * 1_000_000) / SERVICE_US;

export function servers(count: number): ServerOptions[] {
  return Array.from({ length: count }, () => server());
}

/** Half of them are twice as fast as the others. */
export function mixedServers(count: number): ServerOptions[] {
  return Array.from({ length: count }, (_, index) => server(index % 2 === 0 ? 2 / 3 : 4 / 3));
}
