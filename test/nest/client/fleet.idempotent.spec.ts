import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  defineService,
  type RapClient,
  RapContext,
  type RapControllerClient,
  type RapError,
  unary,
} from '../../../lib/index.js';
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

/** Handlers as an application declares them: `name` of the servers here answers them. */
@Controller()
class Declared {
  @MessagePattern('name', { idempotent: true })
  sync(@Payload() _n: number): string {
    return '';
  }

  @MessagePattern('name', { idempotent: true })
  later(@Payload() _n: number): Promise<string> {
    return Promise.resolve('');
  }

  @MessagePattern('name', { idempotent: true, kind: 'unary' })
  async told(@Payload() _n: number, @Ctx() _ctx: RapContext): Promise<string> {
    return Promise.resolve('');
  }

  @MessagePattern('name')
  plain(@Payload() _n: number): string {
    return '';
  }

  @MessagePattern('name')
  plainLater(@Payload() _n: number): Promise<string> {
    return Promise.resolve('');
  }
}

describe('the extras of a handler, through client.controller(),', () => {
  type Method = keyof RapControllerClient<Declared>;
  const pair = async (it: RapClient, method: Method, idempotent?: boolean) => {
    const declared = it.controller(Declared);
    const options = idempotent === undefined ? undefined : { idempotent };
    return Promise.allSettled([1, 2].map(async (n) => declared[method](n, options)));
  };
  const values = [
    { status: 'fulfilled', value: 's0' },
    { status: 'fulfilled', value: 's0' },
  ];
  const lost = {
    status: 'rejected',
    reason: expect.objectContaining({ sent: 'unknown', code: 'ERR_RAP_CONNECTION_LOST' }),
  };

  it.each<Method>(['sync', 'later', 'told'])(
    'say that %s() is idempotent: a lost call is repeated',
    async (method) => {
      expect(await pair(await client(), method)).toEqual(values);
    },
  );

  it.each<Method>(['plain', 'plainLater'])(
    'say nothing of %s(): it may have run, and is lost',
    async (method) => {
      const outcomes = await pair(await client(), method);
      expect(outcomes).toEqual(expect.arrayContaining([values[0], lost]));
      expect(fleet.calls).toBe(1);
    },
  );

  it.each<Method>(['sync', 'later'])('give way to the caller of %s()', async (method) => {
    const outcomes = await pair(await client(), method, false);
    expect(outcomes).toEqual(expect.arrayContaining([values[0], lost]));
  });

  it('may be missing if the caller says it', async () => {
    expect(await pair(await client(), 'plainLater', true)).toEqual(values);
  });
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
