import {
  type Candidate,
  RapClient,
  type RapClientOptions,
  type RapError,
  ServerError,
} from '../../../lib/index.js';
import { eventually, rejection } from '../../helpers/async.js';
import { answerDeclare, scriptedServer } from '../../helpers/raw-socket.js';
import { fleetForEachTest, type TestFleet } from './test-fleet.js';

// what the options say, and what servers report, arrives at the fleet

let fleet: TestFleet;
const scope = fleetForEachTest(2, (started) => (fleet = started));

it('the load that a server reports reaches the balancer', async () => {
  let servers: readonly Candidate[] = [];
  const client = await fleet.ready({ balancer: (all) => ((servers = all), all[0]) });
  const background = client.stream('count', 1_000_000)[Symbol.asyncIterator]();
  await background.next(); // the connection is in use
  await client.call('name');
  await eventually('a report', () => servers[0]?.traffic.report !== undefined);
  expect(servers[0]?.traffic.report).toMatchObject({ inFlight: expect.any(Number) });
  await background.return?.();
});

it('eject has the values of the client, and ejectedUntil is on the wall clock', async () => {
  const mute = await scriptedServer((peer) => void answerDeclare(peer));
  scope.defer(() => mute.close());
  const address = `127.0.0.1:${mute.port}`;
  const ms = 1_000_000;
  const client = await fleet.ready(
    {
      servers: [{ host: '127.0.0.1', port: mute.port }, ...fleet.servers],
      balancer: (servers) => servers.find((each) => each.address === address) ?? servers[0],
      eject: { consecutiveFailures: 1, baseMs: ms, maxMs: ms },
    },
    3,
  );
  const mutes = () => client.stats().endpoints?.find((each) => each.address === address);
  // a timeout does not count if this process itself stood still
  for (let i = 0; mutes()?.state !== 'ejected' && i < 30; i += 1)
    await rejection(client.call('name', undefined, { timeoutMs: 50 }));
  const it = mutes();
  expect(it?.state).toBe('ejected');
  expect(it?.ejectedUntil).toBeLessThanOrEqual(Date.now() + ms);
  expect(it?.ejectedUntil).toBeGreaterThan(Date.now() + ms / 2);
});

it.each<[RapClientOptions['retry'], number]>([
  [false, 1],
  [{ maxAttempts: 1 }, 1],
  [{ maxAttempts: 2 }, 2],
])('retry: %j has its effect: an idempotent call that fails runs %i times', async (retry, runs) => {
  for (const work of fleet.works)
    work.fault = () => {
      throw new ServerError('broken');
    };
  const client = await fleet.ready({ retry });
  const error = (await rejection(client.call('name', 1, { idempotent: true }))) as unknown as RapError;
  expect([error.message.includes('broken'), fleet.calls]).toEqual([true, runs]);
});

it('subset.ordinal has its effect: clients of all numbers together use each server once', async () => {
  const servers = Array.from({ length: 8 }, (_, i) => ({ path: `/nowhere/${i}` }));
  const used: (string | undefined)[] = [];
  for (let ordinal = 0; ordinal < servers.length; ordinal += 1) {
    const client = new RapClient({ servers, subset: { size: 1, ordinal, clients: servers.length } });
    scope.defer(() => client.close());
    await rejection(client.connect());
    used.push(...(client.stats().endpoints ?? []).map(({ address }) => address));
  }
  expect(used).toHaveLength(servers.length);
  expect(new Set(used)).toEqual(new Set(servers.map(({ path }) => path)));
});
