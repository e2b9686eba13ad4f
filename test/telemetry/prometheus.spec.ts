import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Registry } from 'prom-client';
import { ChannelPattern, RapChannel } from '../../lib/index.js';
import { collectRapMetrics, type CollectRapMetricsOptions } from '../../lib/prometheus.js';
import { eventually, Gate, rejection, testScope } from '../helpers/async.js';
import { type Sample, parsePrometheus } from '../helpers/prometheus-text.js';
import { pack, RawSocket } from '../helpers/raw-socket.js';

const scope = testScope();

/** Counts in a registry of this test. */
function collect(options: Partial<CollectRapMetricsOptions> = {}) {
  const registry = new Registry();
  const undo = collectRapMetrics({ registry, ...options });
  scope.defer(undo);
  const samples = async (): Promise<Sample[]> => parsePrometheus(await registry.metrics());
  return {
    registry,
    undo,
    samples,
    /** Values of a metric, by the labels that are asked for. */
    values: async (name: string, ...labels: string[]): Promise<Record<string, number>> => {
      const found = (await samples()).filter((it) => it.name === name);
      return Object.fromEntries(
        found.map((it) => [labels.map((label) => it.labels[label]).join(' '), it.value]),
      );
    },
  };
}

const held: { gate?: Gate } = {};

@Controller()
class MathController {
  @MessagePattern({ group: 'math', name: 'sum' }) sum(@Payload() { a, b }: { a: number; b: number }): number {
    return a + b;
  }
  @MessagePattern('fail') fail(): never {
    throw new Error('no');
  }
  @MessagePattern('hold') async hold(): Promise<void> {
    await held.gate?.opened;
  }
  @MessagePattern('count') async *count(@Payload() n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i += 1) yield i;
  }
  @ChannelPattern('echo') async echo(channel: RapChannel<number, number>): Promise<void> {
    for await (const message of channel) await channel.write(message);
  }
}

const sum = { group: 'math', name: 'sum' };

it('counts calls, streams and channels of both sides, with the labels of go-grpc-middleware', async () => {
  const { values, samples } = collect();
  const { client } = await scope.serve([MathController]);
  const mine = client();

  await mine.call(sum, { a: 1, b: 2 });
  await mine.call(sum, { a: 1, b: 2 });
  await rejection(mine.call('fail'));
  for await (const _ of mine.stream('count', 5)) void _;
  const channel = await mine.channel<number, number>('echo');
  await channel.write(1);
  await channel.read();

  const labels = ['rap_type', 'rap_group', 'rap_method'];
  await eventually('the ends at the server', async () => {
    const handled = await values('rap_server_handled_total', ...labels);
    return Object.keys(handled).length === 3;
  });
  for (const side of ['client', 'server'])
    expect([
      await values(`rap_${side}_started_total`, ...labels),
      await values(`rap_${side}_handled_total`, ...labels, 'rap_code'),
    ]).toEqual([
      {
        'unary math sum': 2,
        'unary default fail': 1,
        'server_stream default count': 1,
        'bidi_stream default echo': 1,
      },
      {
        'unary math sum OK': 2,
        'unary default fail SERVER': 1,
        'server_stream default count OK': 1,
      },
    ]);
  // those of the channel too, which is open
  expect(await values('rap_server_msg_received_total', 'rap_method')).toEqual({
    sum: 2,
    fail: 1,
    count: 1,
    echo: 1,
  });
  expect(await values('rap_server_msg_sent_total', 'rap_method')).toEqual({
    sum: 2,
    fail: 0,
    count: 5,
    echo: 1,
  });
  expect(await values('rap_client_msg_received_total', 'rap_method')).toEqual({
    sum: 2,
    fail: 0,
    count: 5,
    echo: 1,
  });
  expect(await values('rap_client_msg_sent_total', 'rap_method')).toEqual({
    sum: 2,
    fail: 1,
    count: 1,
    echo: 1,
  });
  const buckets = (await samples()).filter(
    (it) => it.name === 'rap_server_handling_seconds_bucket' && it.labels['rap_method'] === 'sum',
  );
  expect(buckets.map((it) => it.labels['le'])).toEqual([
    '0.005',
    '0.01',
    '0.025',
    '0.05',
    '0.1',
    '0.25',
    '0.5',
    '1',
    '2.5',
    '5',
    '10',
    '+Inf',
  ]);
  expect(buckets.at(-1)?.value).toBe(2);
  expect(await values('rap_server_handling_seconds_count', 'rap_method')).toMatchObject({ sum: 2 });
});

it('has one series for 100,000 names that a peer calls', async () => {
  const { values, registry } = collect();
  const { port } = await scope.serve([MathController]);
  const peer = await RawSocket.open(port);
  scope.defer(() => peer.destroy());
  const count = 100_000;

  for (let sent = 0; sent < count; sent += 1000) {
    const frames = Array.from({ length: 1000 }, (_, i) =>
      pack([101, 10 + sent + i, { target: `/g${sent + i}/unknown-${sent + i}` }, {}]),
    );
    peer.socket.write(Buffer.concat(frames));
    await eventually('their answers', () => peer.frames.length >= sent + 1000);
  }

  expect(peer.frames.slice(0, count).every(([, , header]) => header['status_code'] === 404)).toBe(true);
  expect(await values('rap_server_handled_total', 'rap_type', 'rap_group', 'rap_method', 'rap_code')).toEqual(
    { 'unary _OTHER _OTHER FUNC_NOT_FOUND': count },
  );
  expect((await registry.metrics()).length).toBeLessThan(16 * 1024);
});

it('has at most a thousand series of functions that a client calls', async () => {
  const { values } = collect();
  const { client } = await scope.serve([MathController]);
  const mine = client();

  for (let i = 0; i < 1500; i += 500)
    await Promise.all(Array.from({ length: 500 }, (_, k) => rejection(mine.call(`unknown-${i + k}`))));

  const started = await values('rap_client_started_total', 'rap_method');
  expect(Object.keys(started)).toHaveLength(1001);
  expect(started['_OTHER']).toBe(500);
});

it('shows connections, calls in flight and channels at the moment of the scrape, and refusals', async () => {
  const { client, close } = await scope.serve([MathController], { limits: { maxInFlight: 2 } });
  const mine = client();
  held.gate = new Gate();
  scope.defer(() => held.gate?.open());
  // what began before metrics were collected counts, too
  const calls = [mine.call('hold'), mine.call('hold'), mine.call('hold')];
  const channel = await mine.channel('echo');
  const { values } = collect();

  const gauges = async (): Promise<Record<string, number>> => {
    const all: Record<string, number> = {};
    for (const name of [
      'server_connections',
      'server_in_flight',
      'server_channels',
      'client_connections',
      'client_in_flight',
      'client_queued',
      'client_channels',
    ])
      all[name] = (await values(`rap_${name}`))[''] as number;
    return all;
  };
  await eventually('the calls', async () => (await gauges())['server_in_flight'] === 3);
  expect(await gauges()).toEqual({
    server_connections: 1,
    server_in_flight: 3,
    server_channels: 1,
    client_connections: 1,
    client_in_flight: 2,
    client_queued: 1,
    client_channels: 1,
  });
  held.gate.open();
  await Promise.all(calls);
  channel.close();
  await mine.drain();
  await close();
  expect(new Set(Object.values(await gauges()))).toEqual(new Set([0]));
});

it('has one series for functions of the same name, whatever server they are of', async () => {
  const { values, samples } = collect();
  for (const { client } of [await scope.serve([MathController]), await scope.serve([MathController])])
    await client().call(sum, { a: 1, b: 2 });
  const { client } = await scope.serve([MathController]);
  await rejection(client().call('missing'));
  await rejection(client().call({ group: '_OTHER', name: '_OTHER' }));

  await samples(); // no line is there twice
  expect(await values('rap_server_started_total', 'rap_group', 'rap_method')).toEqual({
    'math sum': 2,
    '_OTHER _OTHER': 2,
  });
});

it('counts refusals by reason, connections among them', async () => {
  const { values } = collect();
  const { port, client } = await scope.serve([MathController], { limits: { maxConnections: 1 } });
  await client().connect();
  expect(port).toBeGreaterThan(0);

  await rejection(client({ reconnect: false }).call(sum, { a: 1, b: 2 }));

  expect(await values('rap_server_refused_total', 'what', 'reason')).toEqual({ 'connection connections': 1 });
});

it('ends if it is undone, and can begin again in the same registry', async () => {
  const { registry, undo } = collect();
  expect(() => collectRapMetrics({ registry })).toThrow('the registry has rap_client_started_total already');

  undo();

  expect(registry.getMetricsAsArray()).toEqual([]);
  scope.defer(collectRapMetrics({ registry }));
  expect(registry.getMetricsAsArray().length).toBeGreaterThan(10);
});

it('names wrong options', () => {
  const registry = new Registry();
  expect(() => collectRapMetrics({ registry, bucket: [1] } as never)).toThrow(
    'collectRapMetrics.bucket is not an option; did you mean collectRapMetrics.buckets?',
  );
  expect(() => collectRapMetrics({ registry, buckets: [2, 1] })).toThrow('must be numbers that ascend');
  expect(() => collectRapMetrics({ registry: {} as never })).toThrow('must be a Registry of prom-client');
});
