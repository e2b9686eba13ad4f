import { tracingChannel } from 'node:diagnostics_channel';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { Registry } from 'prom-client';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import {
  type BalancerOption,
  ChannelPattern,
  RapChannel,
  RapClient,
  type RapClientOperation,
  type RapOperation,
} from '../../lib/index.js';
import { instrumentRap } from '../../lib/opentelemetry.js';
import { collectRapMetrics } from '../../lib/prometheus.js';
import { eventually, Gate, rejection, testScope } from '../helpers/async.js';
import { useOpenTelemetry } from '../helpers/open-telemetry.js';
import { EventPattern } from '../helpers/event-pattern.js';
import { parsePrometheus } from '../helpers/prometheus-text.js';
import { answerDeclare, scriptedServer, type RawSocket } from '../helpers/raw-socket.js';
import { silenced } from '../helpers/silent-log.js';

silenced();
const scope = testScope();
const held: { gate?: Gate } = {};

@Controller()
class C {
  @MessagePattern('sum') sum(@Payload() { a, b }: { a: number; b: number }): number {
    return a + b;
  }
  @MessagePattern('hang') async hang(): Promise<void> {
    await held.gate?.opened;
  }
  @MessagePattern('count') async *count(@Payload() n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i += 1) {
      yield i;
      await new Promise((resolve) => setTimeout(resolve, 5)); // its reader waits when the end comes
    }
  }
  @ChannelPattern('echo') async echo(channel: RapChannel<number, number>): Promise<void> {
    for await (const message of channel) await channel.write(message);
  }
  @EventPattern('told') told(): void {}
}

function ends(name: string): RapOperation[] {
  const all: RapOperation[] = [];
  const it = (m: unknown): number => all.push(m as RapOperation);
  const { asyncEnd } = tracingChannel(name);
  asyncEnd.subscribe(it);
  scope.defer(() => asyncEnd.unsubscribe(it));
  return all;
}

beforeEach(() => {
  held.gate = new Gate();
  scope.defer(() => held.gate?.open());
});

it('a stream that send() has read to its end is OK', async () => {
  const { client } = await scope.serve([C]);
  const made = ends('rap.client.call');
  expect(await lastValueFrom(client().send('count', 3).pipe(toArray()))).toEqual([0, 1, 2]);
  await eventually('the end', () => made.length === 1);
  expect(made[0]).toMatchObject({ outcome: 'OK', messagesReceived: 3 });
});

it('a handler that takes too long has the outcome RUN_TIME', async () => {
  const { client } = await scope.serve([C], { runTimeoutMs: 20 });
  const served = ends('rap.server.call');
  await rejection(client().call('hang'));
  await eventually('the end', () => served.length === 1);
  expect(served[0]?.outcome).toBe('RUN_TIME');
});

/** The types of prom-client know it for registries of a certain kind only. */
function openMetrics(): Registry {
  const registry = new Registry();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
  return registry;
}

it('metrics of an OpenMetrics registry are gone after undo', async () => {
  const registry = openMetrics();
  const undo = collectRapMetrics({ registry });
  await registry.metrics();
  undo();
  expect(registry.getMetricsAsArray()).toEqual([]);
  scope.defer(collectRapMetrics({ registry }));
});

describe('a call whose header has room for itself, but not for the trace', () => {
  useOpenTelemetry();
  it.each([
    ['in bytes', { 'x-app': 'a'.repeat(8100) }],
    ['in entries', Object.fromEntries(Array.from({ length: 63 }, (_, i) => [`h${i}`, i]))],
  ])('%s, is not harmed', async (_, header) => {
    const { client } = await scope.serve([C]);
    const mine = client();
    expect(await mine.call('sum', { a: 1, b: 2 }, { header })).toBe(3);
    scope.defer(instrumentRap({ tracerProvider: new BasicTracerProvider() }));
    expect(await mine.call('sum', { a: 1, b: 2 }, { header })).toBe(3);
  });
});

async function fleetOf(
  first: number,
  second: number,
  client: (o: object) => RapClient,
  more: object = {},
): Promise<RapClient> {
  const inOrder: BalancerOption = (candidates) =>
    candidates.find(({ address }) => address.endsWith(`:${first}`)) ?? candidates[0];
  const fleet = client({
    host: undefined,
    port: undefined,
    servers: [first, second].map((port) => ({ host: '127.0.0.1', port })),
    balancer: inOrder,
    ...more,
  });
  const open = new Set<string>();
  fleet.on('endpoint', ({ address, state }) => void (state === 'ready' && open.add(address)));
  await fleet.connect();
  await eventually('both', () => open.size === 2);
  return fleet;
}

it('an event of several servers says which one got it', async () => {
  const [one, two] = [await scope.serve([C]), await scope.serve([C])];
  const fleet = await fleetOf(one.port, two.port, one.client);
  const made = ends('rap.client.call') as RapClientOperation[];
  await firstValueFrom(fleet.emit('told', 1), { defaultValue: 0 });
  expect(made[0]?.server).toBe(`127.0.0.1:${one.port}`);
});

it('a call that reaches no server has no server.address that is none', async () => {
  const exporter = new InMemorySpanExporter();
  scope.defer(
    instrumentRap({
      tracerProvider: new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
    }),
  );
  const fleet = new RapClient({
    servers: [
      { host: '127.0.0.1', port: 1 },
      { host: '127.0.0.1', port: 2 },
    ],
  });
  scope.defer(() => fleet.close());
  await rejection(fleet.call('sum'));
  const [span] = exporter.getFinishedSpans();
  expect(span?.attributes['rpc.status_code']).toBe('CONNECTION_LOST');
  expect(span?.attributes['server.address']).toBeUndefined();
});

/** A server that does this with each call. */
async function serverThat(answers: (frame: readonly unknown[], peer: RawSocket) => void): Promise<number> {
  const server = await scriptedServer((peer: RawSocket) => {
    void (async () => {
      await answerDeclare(peer);
      for (;;) answers(await peer.next(([type]) => type === 101), peer);
    })().catch(() => {});
  });
  scope.defer(() => server.close());
  return server.port;
}

it('of a hedged call, the server is the one that has answered', async () => {
  let later: (() => void) | undefined;
  let isSlow = false;
  const first = await serverThat(([, id], peer) => {
    const answer = (): void => peer.send([101, id as number, {}, 'first']);
    if (isSlow) later = answer;
    else answer();
  });
  const second = await serverThat(() => later?.());
  const made = ends('rap.client.call') as RapClientOperation[];
  const fleet = await fleetOf(
    first,
    second,
    (o) => {
      const c = new RapClient(o);
      scope.defer(() => c.close());
      return c;
    },
    { hedge: { minSamples: 40 } },
  );
  for (let i = 0; i < 40; i += 1) await fleet.call('name', i, { idempotent: true });
  made.length = 0;
  isSlow = true;
  expect(await fleet.call('name', 1, { idempotent: true })).toBe('first');
  expect(made[0]?.server).toBe(`127.0.0.1:${first}`);
});

it('calls and channels of a client that drains are in its metrics', async () => {
  const registry = new Registry();
  scope.defer(collectRapMetrics({ registry }));
  const { client, server } = await scope.serve([C]);
  const mine = client();
  const call = mine.call('hang');
  const channel = await mine.channel('echo');
  await eventually('both run', () => server.stats().inFlight === 2);
  const drained = mine.drain();
  const value = async (name: string) =>
    parsePrometheus(await registry.metrics()).find((it) => it.name === name)?.value;
  const seen = [
    await value('rap_client_connections'),
    await value('rap_client_in_flight'),
    await value('rap_client_channels'),
  ];
  held.gate?.open();
  await call;
  channel.close();
  await drained;
  expect(seen).toEqual([1, 1, 1]);
});

it('stats() counts the channels of a connection that the server drains', async () => {
  const { client, server } = await scope.serve([C], { closeTimeoutMs: 5000 });
  const mine = client({ reconnect: false });
  const channel = await mine.channel<number, number>('echo');
  await channel.write(1);
  await channel.read();
  const closed = server.close();
  await eventually('it is told', () => mine.stats().channels === 0 || server.stats().draining);
  await channel.write(2);
  expect(await channel.read()).toBe(2);
  const { connections, channels } = mine.stats();
  channel.close();
  await closed;
  expect([connections, channels]).toEqual([1, 1]);
});

it('a call that is given up has received nothing', async () => {
  const { client, server } = await scope.serve([C]);
  const made = ends('rap.client.call');
  const subscription = client().send('hang', {}).subscribe();
  await eventually('it runs', () => server.stats().inFlight === 1);
  subscription.unsubscribe();
  expect(made[0]).toMatchObject({ outcome: 'CALL_CANCELLED', messagesReceived: 0 });
});

it('a call that never left has sent nothing', async () => {
  const { client } = await scope.serve([C]);
  const made = ends('rap.client.call');
  await rejection(client().call('sum', {}, { signal: AbortSignal.abort() }));
  expect(made[0]?.messagesSent).toBe(0);
});

it('a reader that leaves a stream while it is opened is no failure', async () => {
  const { client } = await scope.serve([C]);
  const made = ends('rap.client.channel');
  const items = client().stream('count', 3)[Symbol.asyncIterator]();
  const next = items.next();
  await items.return?.();
  await next;
  await eventually('the end', () => made.length === 1);
  expect(made[0]).toMatchObject({ outcome: 'CALL_CANCELLED', error: undefined });
});
