import { Logger } from '@nestjs/common';
import type { EndpointChange, RapClient, RapClientOptions, ServerAddress } from '../../../lib/index.js';
import { endpointLog } from '../../../lib/nest/lifecycle/bounded-log.js';
import { eventually } from '../../helpers/async.js';
import { scriptedServer } from '../../helpers/raw-socket.js';
import { StoppedTime } from '../../helpers/stopped-time.js';
import { TestFleet } from './test-fleet.js';

let fleet: TestFleet;
let time: StoppedTime;
let lines: string[];
const ends: (() => unknown)[] = [];
beforeEach(async () => {
  lines = [];
  time = new StoppedTime();
  fleet = await TestFleet.start(1);
  const keep = (level: string) => (message: unknown, context: unknown) => {
    if (context === 'RapClient') lines.push(`${level} ${String(message)}`);
  };
  Logger.overrideLogger({ log: keep('log'), warn: keep('warn'), error: keep('error') });
  endpointLog.reset();
});
afterEach(async () => {
  time.resume();
  await fleet.close();
  for (const end of ends.splice(0)) await end();
  Logger.overrideLogger(true);
  endpointLog.reset();
});

/** What a process logs at once, and then once a second. */
const BURST = 30;

/** A client whose list a test sets, and the changes that it tells. */
function watched(options: RapClientOptions = {}): {
  client: RapClient;
  changes: EndpointChange[];
  readonly list: (servers: readonly ServerAddress[]) => void;
} {
  let list!: (servers: readonly ServerAddress[]) => void;
  const resolver = {
    watch(listener: typeof list) {
      list = listener;
      listener(fleet.servers);
      return () => {};
    },
  };
  const client = fleet.client({ ...options, resolver });
  const changes: EndpointChange[] = [];
  client.on('endpoint', (change) => changes.push(change));
  return { client, changes, list: (servers) => list(servers) };
}

it('has one line for each change of a server, and none for its attempts to connect', async () => {
  const { client, changes, list } = watched({ pool: { min: 2 } });
  const address = `127.0.0.1:${fleet.servers[0]?.port}`;
  await client.connect();
  await Promise.all(Array.from({ length: 100 }, () => client.call('name')));
  expect(lines).toEqual([`log ${address} is ready`]);
  list([]);
  list([]);
  list(fleet.servers);
  await eventually('it is back', () => changes.at(-1)?.state === 'ready');
  list(fleet.servers);
  // an attempt that is under way while the server closes may fail, which is one more change
  await eventually('the pool is full', () => client.stats().endpoints?.[0]?.connections === 2);
  await fleet.apps[0]?.close();
  await eventually('it is lost', () => changes.at(-1)?.state === 'draining');
  expect(lines).toEqual([
    `log ${address} is ready`,
    `log ${address} is gone: it is not listed any more`,
    `log ${address} is ready`,
    `log ${address} is draining: ${address} shuts down`,
  ]);
});

it('is bounded while a list flaps: what is left out is counted', async () => {
  const { client, changes, list } = watched();
  await client.connect();
  const rounds = 100;
  for (let i = 0; i < rounds; i += 1) {
    list([]);
    list(fleet.servers);
    await eventually('it is back', () => changes.at(-1)?.state === 'ready');
  }
  expect(changes).toHaveLength(2 + 3 * rounds);
  expect(lines).toHaveLength(BURST);

  time.pass(1_000);
  list([]);
  const missing = 1 + 2 * rounds - BURST;
  expect(lines.slice(BURST)).toEqual([
    `log ${missing} more lines were not logged: there were too many`,
    expect.stringContaining('is gone'),
  ]);
  list(fleet.servers);
  expect(lines).toHaveLength(BURST + 2);
});

it('is bounded while a server accepts and drops each connection, for all clients together', async () => {
  const dropping = await scriptedServer((peer) => void peer.socket.end());
  ends.push(() => dropping.close());
  const servers = [{ host: '127.0.0.1', port: dropping.port }, ...fleet.servers];
  const reconnect = { baseDelayMs: 1, maxDelayMs: 1, spreadMs: 1 };
  const address = `127.0.0.1:${dropping.port}`;
  const losses: EndpointChange[] = [];
  for (let i = 0; i < 2; i += 1) {
    const client = fleet.client({ servers, reconnect });
    client.on('endpoint', (change) => void (change.state === 'backingOff' && losses.push(change)));
    await client.connect();
  }
  const rounds = 100;
  for (let i = 0; i < rounds; i += 1) {
    await eventually('both have lost it', () => losses.length === 2 * (i + 1));
    time.pass(1);
  }
  expect(new Set(losses.map((each) => each.address))).toEqual(new Set([address]));
  const warnings = lines.filter((line) =>
    line.startsWith(`warn ${address} is backingOff: cannot connect to`),
  );
  expect(warnings.length).toBeGreaterThan(BURST / 2);
  expect(lines).toHaveLength(BURST);
});
