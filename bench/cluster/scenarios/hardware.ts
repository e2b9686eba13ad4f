import { everyServer, TWENTY } from '../fleet/subsets.js';
import type { ServerOptions } from '../fleet/sim-server.js';
import type { Setup } from '../scenario.js';

const CORES = 8;
const SERVICE_US = 20_000;

/** Calls a second that a server of mean hardware bears. */
export const CAPACITY = (CORES * 1_000_000) / SERVICE_US;

/** A server of mean hardware: 8 calls at a time of 20 ms each. */
export function server(overrides: Partial<ServerOptions> = {}): ServerOptions {
  return { cores: CORES, serviceUs: SERVICE_US, speed: 1, maxInFlight: 1_000, weight: 1, ...overrides };
}

export function servers(count: number, overrides: Partial<ServerOptions> = {}): ServerOptions[] {
  return Array.from({ length: count }, () => server(overrides));
}

/** Every second one is twice as fast as the others; together they bear as much as that many of mean hardware. */
export function mixedServers(count: number, overrides: Partial<ServerOptions> = {}): ServerOptions[] {
  return Array.from({ length: count }, (_, index) =>
    server({ ...overrides, speed: index % 2 === 0 ? 2 / 3 : 4 / 3 }),
  );
}

/** The size that a fleet may have: 1,000 servers, 10,000 clients, 20 connections of each. */
export const THOUSAND: Setup = {
  servers: servers(1_000),
  clients: 10_000,
  subset: TWENTY,
  traffic: { callsPerSecond: () => 5_000, timeoutMs: 5_000, isIdempotent: true, targets: ['/fleet/call'] },
  warmUpMs: 2_000,
  endMs: 10_000,
};

/** What scenarios of few servers share: one client, whose calls must not run twice. */
export const ELEVEN: Setup = {
  servers: servers(11),
  clients: 1,
  subset: everyServer,
  traffic: { callsPerSecond: () => 2_000, timeoutMs: 5_000, isIdempotent: false, targets: ['/fleet/call'] },
  warmUpMs: 5_000,
  endMs: 35_000,
};
