import { defineService, type RapError, unary } from '../../../lib/index.js';
import { rejection } from '../../helpers/async.js';
import { answerDeclare, scriptedServer } from '../../helpers/raw-socket.js';
import { TestFleet } from './test-fleet.js';

let fleet: TestFleet;
let dying: Awaited<ReturnType<typeof scriptedServer>>;
beforeEach(async () => {
  fleet = await TestFleet.start(1);
  // takes a call, and dies
  dying = await scriptedServer(async (peer) => {
    await answerDeclare(peer);
    await peer.next((frame) => frame[0] === 101);
    peer.destroy();
  });
});
afterEach(async () => {
  await fleet.close();
  await dying.close();
});

const Names = defineService('default', {
  name: unary<number, string>({ idempotent: true }),
  port: unary<number, number>(),
});

async function client() {
  const servers = [{ host: '127.0.0.1', port: dying.port }, ...fleet.servers];
  return fleet.ready({ servers, balancer: 'roundRobin', eject: false }, 2);
}

it('a call that has begun on a server that dies is repeated if it is idempotent', async () => {
  const it = await client();
  for (let i = 0; i < 3; i += 1) await expect(it.call('name', i, { idempotent: true })).resolves.toBe('s0');
});

it('otherwise it is not', async () => {
  const it = await client();
  const outcomes = await Promise.allSettled([it.call('name'), it.call('name')]);
  expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
  expect(outcomes.find(({ status }) => status === 'rejected')).toMatchObject({
    reason: { sent: 'unknown', code: 'ERR_RAP_CONNECTION_LOST' },
  });
  expect(fleet.calls).toBe(1);
});

it('a contract says it for its methods', async () => {
  const it = await client();
  const service = it.service(Names);
  await expect(Promise.all([service.name(1), service.name(2)])).resolves.toEqual(['s0', 's0']);
});

it('an error of a handler is not repeated, nor what the server asks not to repeat', async () => {
  await fleet.add();
  const it = await fleet.ready();
  const refused = (await rejection(it.call('fail', 'auth', { idempotent: true }))) as unknown as RapError;
  expect(refused.name).toBe('AuthError');
  expect(fleet.calls).toBe(1);
  const final = (await rejection(it.call('fail', 'final', { idempotent: true }))) as unknown as RapError;
  expect(final).toMatchObject({ message: 'final', retry: false });
  expect(fleet.calls).toBe(2);
  expect('attempts' in final).toBe(false);
});

it('client.stats() shows each server', async () => {
  const it = await fleet.ready({ servers: [{ ...fleet.servers[0], weight: 2 }], eject: {} });
  await it.call('name');
  expect(it.stats().endpoints).toEqual([
    {
      address: `127.0.0.1:${fleet.apps[0]?.port}`,
      state: 'ready',
      weight: 2,
      connections: 1,
      inFlight: 0,
      latencyMs: expect.any(Number),
      picks: 1,
      failures: 0,
      ejectedUntil: undefined,
      reason: undefined,
    },
  ]);
});
