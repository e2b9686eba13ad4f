import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { SpanKind } from '@opentelemetry/api';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { Registry } from 'prom-client';
import {
  type BalancerOption,
  RapClient,
  type RapClientOptions,
  type RapConnectionChange,
  type RapEjection,
  type RapEndpointChange,
  type RapFurtherAttempt,
} from '../../lib/index.js';
import { instrumentRap } from '../../lib/opentelemetry.js';
import { collectRapMetrics } from '../../lib/prometheus.js';
import { eventually, testScope } from '../helpers/async.js';
import { useOpenTelemetry } from '../helpers/open-telemetry.js';
import { parsePrometheus } from '../helpers/prometheus-text.js';
import { answerDeclare, type RawFrame, type RawSocket, scriptedServer } from '../helpers/raw-socket.js';
import { silenced } from '../helpers/silent-log.js';

silenced();
const scope = testScope();

useOpenTelemetry();

/** What a server does with a call: answers with this, breaks the connection off, or nothing. */
type Reply = RawFrame | 'break' | undefined;

/** A server and the traces that its calls came with. */
async function serverOf(reply: (frame: RawFrame) => Reply): Promise<{ port: number; traces: unknown[] }> {
  const traces: unknown[] = [];
  const server = await scriptedServer((peer: RawSocket) => {
    void (async () => {
      await answerDeclare(peer);
      for (;;) {
        const frame = await peer.next(([type]) => type === 101);
        traces.push(frame[2]['traceparent']);
        const answer = reply(frame);
        if (answer === 'break') return peer.destroy();
        if (answer) peer.send(answer);
      }
    })().catch(() => {});
  });
  scope.defer(() => server.close());
  return { port: server.port, traces };
}

const answer = ([, id]: RawFrame): RawFrame => [101, id, {}, 'answer'];

/** A client that takes servers in their order. */
async function fleet(ports: number[], options: RapClientOptions = {}): Promise<RapClient> {
  const place = ({ address }: { address: string }): number =>
    ports.findIndex((port) => address.endsWith(`:${port}`));
  const inOrder: BalancerOption = (candidates) =>
    candidates.toSorted((a, b) => place(a) - place(b))[0] ?? candidates[0];
  const servers = ports.map((port) => ({ host: '127.0.0.1', port }));
  const client = new RapClient({ servers, balancer: inOrder, ...options });
  scope.defer(() => client.close());
  const open = new Set<string>();
  client.on('endpoint', ({ address, state }) => void (state === 'ready' && open.add(address)));
  await client.connect();
  await eventually('all are connected', () => open.size === ports.length);
  return client;
}

/** Spans of clients in this test. */
function traced(): () => ReadableSpan[] {
  const exporter = new InMemorySpanExporter();
  const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  scope.defer(instrumentRap({ tracerProvider }));
  return () => exporter.getFinishedSpans().filter((it) => it.kind === SpanKind.CLIENT);
}

/** What a channel of Node tells in this test. */
function heard<T>(name: string): T[] {
  const messages: T[] = [];
  const listener = (message: unknown): number => messages.push(message as T);
  subscribe(name, listener);
  scope.defer(() => unsubscribe(name, listener));
  return messages;
}

const idIn = (traceparent: unknown): unknown => String(traceparent).split('-')[2];

it('a retry is a child of the span of its call, and goes with a trace of its own', async () => {
  const broken = await serverOf(() => 'break');
  const sound = await serverOf(answer);
  const client = await fleet([broken.port, sound.port]);
  const spans = traced();
  const retries = heard<RapFurtherAttempt>('rap.client.retry');
  const registry = new Registry();
  scope.defer(collectRapMetrics({ registry }));

  expect(await client.call('name', {}, { idempotent: true })).toBe('answer');

  const [retry, call] = spans();
  expect(spans()).toHaveLength(2);
  expect(retry?.parentSpanContext?.spanId).toBe(call?.spanContext().spanId);
  expect(retry?.attributes).toEqual({
    'rpc.system.name': 'rap',
    'rpc.method': 'default/name',
    'rpc.status_code': 'OK',
    'server.address': '127.0.0.1',
    'server.port': sound.port,
    'rap.attempt.number': 2,
    'rap.attempt.hedge': false,
    'rap.attempt.reason': 'CONNECTION_LOST',
  });
  expect(call?.attributes).toMatchObject({ 'rpc.status_code': 'OK', 'server.port': sound.port });
  expect(broken.traces.map(idIn)).toEqual([call?.spanContext().spanId]);
  expect(sound.traces.map(idIn)).toEqual([retry?.spanContext().spanId]);
  expect(retries).toMatchObject([{ number: 2, isHedge: false, reason: 'CONNECTION_LOST', outcome: 'OK' }]);
  const samples = parsePrometheus(await registry.metrics());
  expect(samples.filter((it) => it.name === 'rap_client_attempts_total')).toEqual([
    {
      name: 'rap_client_attempts_total',
      labels: { rap_group: 'default', rap_method: 'name', reason: 'CONNECTION_LOST' },
      value: 1,
    },
  ]);
});

it('who listens to rap.client.retry alone hears of retries', async () => {
  const broken = await serverOf(() => 'break');
  const sound = await serverOf(answer);
  const retries = heard<RapFurtherAttempt>('rap.client.retry');
  const client = await fleet([broken.port, sound.port]);

  expect(await client.call('name', {}, { idempotent: true })).toBe('answer');
  expect(retries).toHaveLength(1);
});

it('a hedge is a child, too, and both end', async () => {
  let isSilent = false;
  const slow = await serverOf((frame) => (isSilent ? undefined : answer(frame)));
  const sound = await serverOf(answer);
  const client = await fleet([slow.port, sound.port], { hedge: { minSamples: 40 } });
  for (let i = 0; i < 40; i += 1) await client.call('name', i, { idempotent: true });
  const spans = traced();
  isSilent = true;

  expect(await client.call('name', {}, { idempotent: true })).toBe('answer');

  const [hedge, call] = spans();
  expect(spans()).toHaveLength(2);
  expect(hedge?.parentSpanContext?.spanId).toBe(call?.spanContext().spanId);
  expect(hedge?.attributes).toMatchObject({ 'rap.attempt.number': 2, 'rap.attempt.hedge': true });
  expect(hedge?.attributes).not.toHaveProperty('rap.attempt.reason');
  expect(sound.traces.map(idIn)).toEqual([hedge?.spanContext().spanId]);
});

it('channels tell of connections, of the states of servers, and of ejections', async () => {
  const connections = heard<RapConnectionChange>('rap.client.connection');
  const endpoints = heard<RapEndpointChange>('rap.client.endpoint');
  const ejections = heard<RapEjection>('rap.client.ejection');
  const failing = await serverOf(() => undefined);
  const sound = await serverOf(answer);
  const client = await fleet([failing.port, sound.port], {
    eject: { consecutiveFailures: 2 },
  });

  expect(connections.map(({ state, connection }) => [state, connection.remote.port])).toEqual(
    expect.arrayContaining([
      ['open', failing.port],
      ['open', sound.port],
    ]),
  );
  expect(endpoints).toContainEqual({
    address: `127.0.0.1:${sound.port}`,
    state: 'ready',
    reason: undefined,
  });
  await eventually('an ejection', async () => {
    await client.call('name', {}, { timeoutMs: 5 }).catch(() => {});
    return ejections.length > 0;
  });
  expect(ejections[0]).toEqual({ address: `127.0.0.1:${failing.port}`, reason: expect.any(String) });

  client.close();

  await eventually(
    'both are closed',
    () => connections.filter(({ state }) => state === 'closed').length === 2,
  );
  expect(connections.at(-1)?.reason).toBeInstanceOf(Error);
});
