import { openLinks, openServers } from '../net/open-handles.js';
import type { RemoteAddress } from '../protocol/link.js';
import { addressText } from '../protocol/server-address.js';
import { timers } from '../rpc/time/system-clock.js';
import { MemorySocket } from './memory-socket.js';
import { openBeds } from './open-beds.js';
import type { RapTestBed } from './test-bed.js';
import { forgetWork, runningWork } from './work.js';

/** Time in which what is about to end may end. */
const PATIENCE_MS = 500;
const LOOK_MS = 5;

/** Each server and connection is reported once. */
const reported = new WeakSet<object>();

/** What was left, and what forgets it. */
interface Leak {
  readonly text: string;
  /** `undefined`: it is there until it ends. */
  readonly handle?: object;
}

/**
 * Fails if something of this package is left in the process, and says what:
 *
 * - test beds that were not closed, with where they were made and what is in flight in them
 * - handlers of test beds and mocks that still run, although their callers are gone
 * - servers that listen, and connections that are open, of any `RapServer` and `RapClient`
 *
 * What is about to end gets half a second for it. Each leak is reported once, so that the next test does not fail for it, too.
 *
 * @param bed only what is in flight in this bed, which may be open: for a bed that several tests share
 * @throws Error that names each of them
 */
export async function expectNoLeaks(bed?: RapTestBed): Promise<void> {
  const until = timers.now() + PATIENCE_MS;
  let leaks = leaksOf(bed);
  while (leaks.length > 0 && timers.now() < until) {
    await new Promise<void>((resolve) => void timers.setTimeout(resolve, LOOK_MS));
    leaks = leaksOf(bed);
  }
  if (leaks.length === 0) return;
  for (const { handle } of leaks) if (handle) reported.add(handle);
  if (!bed) forgetBeds();
  throw new Error(['nestjs-rap: something is left:', ...leaks.map(({ text }) => `  - ${text}`)].join('\n'));
}

function forgetBeds(): void {
  openBeds.clear();
  forgetWork();
}

function leaksOf(bed: RapTestBed | undefined): Leak[] {
  if (bed) return bed.inFlight().map((text) => ({ text }));
  const beds = [...openBeds.values()];
  const names = new Set(beds.map(({ name }) => name));
  return [
    ...beds.map(({ name, inFlight }) => ({
      text: [`${name} was not closed: await bed.close()`, ...inFlight().map((each) => `    ${each}`)].join(
        '\n',
      ),
    })),
    ...runningWork((where) => !names.has(where)).map((text) => ({ text })),
    ...listening(),
    ...connections(),
  ];
}

function listening(): Leak[] {
  return [...openServers]
    .filter((server) => server.listening && !reported.has(server))
    .map((server) => {
      const address = server.address();
      const where =
        typeof address === 'object' && address
          ? addressText({ host: address.address, port: address.port })
          : address;
      return { text: `a RapServer listens on ${where}: await its close()`, handle: server };
    });
}

function connections(): Leak[] {
  return [...openLinks]
    .filter((link) => !reported.has(link) && !(link.unwrap() instanceof MemorySocket))
    .map((link) => ({
      text: `the connection from ${shown(link.local)} to ${shown(link.remote)} is open: close its client or server`,
      handle: link,
    }));
}

function shown({ address, port, family }: RemoteAddress): string {
  return family === 'unix' ? address : addressText({ host: address, port });
}
