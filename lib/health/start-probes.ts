import { inspect } from 'node:util';
import { ProbeServer } from '../net/probe-server.js';
import type { RapClient } from '../nest/client/rap-client.js';
import type { RapServer } from '../nest/server/rap-server.js';
import { assertProbes, type RapProbesOptions } from '../nest/server/server-options.js';
import { type HealthTarget, isClient, isServer, stateOf } from './target-state.js';

/** Options of `startProbes`. */
export interface StartProbesOptions extends RapProbesOptions {
  /** Ready means: they listen, and do not drain. */
  server?: RapServer | readonly RapServer[] | undefined;
  /** Ready means: they are connected. Connect them at the start: a client that waits for its first call is not connected. */
  client?: RapClient | readonly RapClient[] | undefined;
}

/** `/livez` and `/readyz` of a process. */
export interface Probes {
  /** Where it listens, or `null` after `close`. */
  address(): { readonly address: string; readonly port: number } | null;
  /** May be called twice. */
  close(): Promise<void>;
}

/**
 * Serves `/livez` (200 as long as the process answers) and `/readyz` (200 if all servers and clients are ready, else 503 and the
 * reasons) over HTTP, without a framework. It does not keep the process alive. The option `probes` of `RapServer` does the same for one server.
 *
 *     const probes = await startProbes({ port: 8080, server, client: [orders, users] });
 *
 * @throws RangeError for an option that is not valid; Error that names the port if it is in use
 */
export async function startProbes(options: StartProbesOptions): Promise<Probes> {
  assertProbes('startProbes', options, { server: true, client: true });
  const { server, client, host, port } = options;
  const targets = [
    ...named<RapServer>('server', server, isServer),
    ...named<RapClient>('client', client, isClient),
  ];
  const probes = new ProbeServer({
    name: 'startProbes',
    host,
    port,
    reasons: () => targets.flatMap(reasonOf),
  });
  await probes.listen();
  return { address: () => probes.address(), close: () => probes.close() };
}

interface Named {
  readonly name: string;
  readonly target: HealthTarget;
}

/** One or several, with names for messages. @throws RangeError for anything that is none */
function named<T extends HealthTarget>(
  what: 'server' | 'client',
  given: T | readonly T[] | undefined,
  is: (target: unknown) => boolean,
): Named[] {
  if (given === undefined) return [];
  const list = Array.isArray(given) ? (given as readonly T[]) : [given as T];
  return list.map((target, i) => {
    const name = Array.isArray(given) ? `${what} ${i + 1}` : what;
    if (!is(target))
      throw new RangeError(
        `startProbes: ${name} must be a ${CLASSES[what]}, got ${inspect(target, { depth: 0 })}`,
      );
    return { name, target };
  });
}

const CLASSES = { server: 'RapServer', client: 'RapClient' };

function reasonOf({ name, target }: Named): string[] {
  const { status, message = '' } = stateOf(target);
  return status === 'down' ? [`${name}: ${message}`] : [];
}
