import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern } from '@nestjs/microservices';
import { type HealthCheckResult, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { RapHealthIndicator } from '../../lib/health.js';
import { RapClient, TooManyRequestsError } from '../../lib/index.js';
import { RecordingLogger } from '../helpers/app.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';
import { freePort } from '../helpers/ports.js';
import { scriptedServer } from '../helpers/raw-socket.js';

const scope = testScope();
const rap = new RapHealthIndicator();
let gate: Gate;
let running = 0;
beforeEach(() => {
  gate = new Gate();
  running = 0;
});

@Controller()
class Handlers {
  @MessagePattern('hold') async hold(): Promise<number> {
    running += 1;
    await gate.opened;
    return 1;
  }
}

/** Terminus of an application, as a controller has it. */
async function terminus(): Promise<HealthCheckService> {
  @Module({ imports: [TerminusModule.forRoot({ logger: false })], providers: [RapHealthIndicator] })
  class AppModule {}
  const app = await NestFactory.createApplicationContext(AppModule, { logger: new RecordingLogger() });
  scope.defer(() => app.close());
  expect(app.get(RapHealthIndicator)).toBeInstanceOf(RapHealthIndicator);
  return app.get(HealthCheckService);
}

describe('in Terminus', () => {
  it('a server and a client are up, and then down', async () => {
    const { server, client } = await scope.serve([Handlers]);
    const health = await terminus();
    const orders = client();
    await orders.connect();
    const check = (): Promise<HealthCheckResult> =>
      health.check([() => rap.check('rap', server), () => rap.check('orders', orders)]);

    expect(await check()).toMatchObject({
      status: 'ok',
      details: {
        rap: { status: 'up', connections: 1, inFlight: 0 },
        orders: { status: 'up', connection: 'connected', inFlight: 0, queued: 0 },
      },
    });

    await server.close();
    const error = await rejection(check());
    expect(error).toMatchObject({
      status: 503,
      response: {
        status: 'error',
        error: {
          rap: { status: 'down', message: 'the server does not listen' },
          orders: { status: 'down', message: expect.stringMatching(/^not connected: /) as string },
        },
      },
    });
  });

  it('a server that refuses calls is degraded, which is no failure', async () => {
    const { server, client } = await scope.serve([Handlers], { limits: { maxInFlightPerAddress: 1 } });
    const health = await terminus();
    const [one, other] = [client(), client()];
    const held = one.call('hold');
    await eventually('it runs', () => running === 1);
    expect(await rejection(other.call('hold'))).toBeInstanceOf(TooManyRequestsError);
    await eventually('the share is known', () => server.stats().refusedShare > 0);

    expect(await health.check([() => rap.check('rap', server)])).toMatchObject({
      status: 'degraded',
      info: {
        rap: {
          status: 'degraded',
          message: expect.stringMatching(/^overloaded: \d+ % of the calls/) as string,
        },
      },
    });
    expect(rap.check('rap', server, { degradedAs: 'up' }).rap.status).toBe('up');
    gate.open();
    expect(await held).toBe(1);
  });
});

it('a server that drains is down at once', async () => {
  const { server, client } = await scope.serve([Handlers], { closeTimeoutMs: 10_000 });
  const call = client().call('hold');
  await eventually('it runs', () => running === 1);
  const drained = server.drain();
  expect(rap.check('rap', server)).toMatchObject({
    rap: { status: 'down', message: 'the server shuts down' },
  });
  gate.open();
  await Promise.all([call, drained]);
});

it('a client whose calls wait for a server at its limit is degraded', async () => {
  const { client } = await scope.serve([Handlers], { limits: { maxInFlight: 1 } });
  const orders = client();
  const calls = [orders.call('hold'), orders.call('hold')];
  await eventually('one waits', () => orders.stats().queued === 1);

  expect(rap.check('orders', orders).orders).toMatchObject({
    status: 'degraded',
    message: '1 calls wait until the server takes more',
    queued: 1,
  });
  gate.open();
  await Promise.all(calls);
  expect(rap.check('orders', orders).orders.status).toBe('up');
});

it('a client that has not connected is down, and is not connected by that', async () => {
  const { server, client } = await scope.serve([Handlers]);
  expect(rap.check('orders', client()).orders).toMatchObject({
    status: 'down',
    message: 'not connected: disconnected',
  });
  expect(server.stats().connections).toBe(0);
});

it('a client that is connecting is down at once: nothing waits', async () => {
  const silent = await scriptedServer(() => {}); // does not answer DECLARE
  scope.defer(() => silent.close());
  const orders = new RapClient({ host: '127.0.0.1', port: silent.port });
  const connecting = rejection(orders.connect());
  await eventually('it connects', () => silent.peers.length === 1);

  expect(rap.check('orders', orders).orders).toMatchObject({
    status: 'down',
    message: 'not connected: connecting',
  });
  orders.close();
  await within('the end', connecting);
});

it('a client of several servers is up with one of them, and degraded without the others', async () => {
  const { port, client } = await scope.serve([Handlers]);
  const gone = await freePort();
  const fleet = client({
    host: undefined,
    port: undefined,
    servers: [
      { host: '127.0.0.1', port },
      { host: '127.0.0.1', port: gone },
    ],
    start: 'eager',
  });
  await fleet.connect();
  await eventually('one is missing', () =>
    fleet.stats().endpoints?.some(({ state }) => state === 'backingOff'),
  );

  expect(rap.check('fleet', fleet).fleet).toMatchObject({
    status: 'degraded',
    message: `127.0.0.1:${gone} is backingOff`,
    servers: { ready: 1, backingOff: 1 },
  });
});

it.each([undefined, null, {}, 'orders'])('says that %j is neither a server nor a client', (target) => {
  expect(() => rap.check('orders', target as never)).toThrow(
    "RapHealthIndicator: 'orders' needs a RapServer or",
  );
});
