import { setTimeout as pass } from 'node:timers/promises';
import { checkHistory, type Verdict } from './check-history.js';
import type { FleetProcesses } from './fleet.js';
import { Load } from './load.js';
import { Nemesis } from './nemesis.js';
import { ResetProxy } from './reset-proxy.js';

/** A server that failed again and again is left out for up to a minute. */
const LONGEST_EJECTION_MS = 75_000;

export interface HistoryOptions {
  readonly seconds: number;
  readonly perSecond: number;
  readonly seed: number;
}

/**
 * Keeps a client busy while its servers are killed, stopped, restarted, and their connections reset, at random; then compares
 * what it was told with what the servers have done.
 */
export async function history(fleet: FleetProcesses, options: HistoryOptions): Promise<Verdict> {
  const { seconds, perSecond, seed } = options;
  const proxies = await Promise.all(fleet.servers.map((server) => ResetProxy.start(server)));
  try {
    const servers = proxies.map(({ port }) => ({ host: '127.0.0.1', port }));
    const client = await fleet.client({ servers, hedge: {} });
    const since = performance.now();
    const load = new Load({ client, perSecond, seed });
    const nemeses = fleet.servers.map(
      (server, i) =>
        new Nemesis(server, proxies[i] as ResetProxy, {
          seed: seed * fleet.servers.length + i,
          note: (line) => fleet.note(line),
        }),
    );
    await pass(seconds * 1000);
    await Promise.all(nemeses.map((nemesis) => nemesis.stop()));
    fleet.note('all servers run');
    await fleet.ready(client, LONGEST_EJECTION_MS); // none is lost for good
    await load.stop();
    return checkHistory(load.operations, await fleet.executions(), since);
  } finally {
    await Promise.all(proxies.map((proxy) => proxy.close()));
  }
}
