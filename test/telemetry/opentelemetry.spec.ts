import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import {
  AggregationTemporality,
  type HistogramMetricData,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import * as conventions from '@opentelemetry/semantic-conventions';
import { finalize, firstValueFrom, interval, lastValueFrom, type Observable, take, tap, toArray } from 'rxjs';
import { AuthError, ChannelPattern, type RapChannel, type RapClient, RapContext } from '../../lib/index.js';
import { instrumentRap, type InstrumentRapOptions } from '../../lib/opentelemetry.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { useOpenTelemetry } from '../helpers/open-telemetry.js';
import { EventPattern } from '../helpers/event-pattern.js';
import { RawSocket } from '../helpers/raw-socket.js';

const scope = testScope();

useOpenTelemetry();

/** Instruments rap for this test. */
function instrument(options: Pick<InstrumentRapOptions, 'trust'> = {}) {
  const exporter = new InMemorySpanExporter();
  const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 1e8 });
  const meterProvider = new MeterProvider({ readers: [reader] });
  const undo = instrumentRap({ tracerProvider, meterProvider, ...options });
  scope.defer(async () => {
    undo();
    await tracerProvider.shutdown();
    await meterProvider.shutdown();
  });
  return {
    undo,
    tracer: tracerProvider.getTracer('test'),
    spans: (): ReadableSpan[] => exporter.getFinishedSpans(),
    ended: (count: number) => eventually(`${count} spans`, () => exporter.getFinishedSpans().length >= count),
    async metrics() {
      await reader.forceFlush();
      const all = metricExporter.getMetrics().at(-1)?.scopeMetrics[0]?.metrics ?? [];
      return new Map(all.map((it) => [it.descriptor.name, it]));
    },
  };
}

/** Whatever is served calls on through it. */
const next: { client?: RapClient } = {};
const seen: (string | undefined)[] = [];
const traceId = (): string | undefined => trace.getSpan(context.active())?.spanContext().traceId;
const look = (): number => seen.push(traceId());
beforeEach(() => seen.splice(0));

@Controller()
class MathController {
  @MessagePattern('sum') sum(@Payload() { a, b }: { a: number; b: number }): number {
    return a + b;
  }
  @MessagePattern('forward') async forward(): Promise<unknown> {
    return next.client?.call('sum', { a: 1, b: 2 });
  }
  @MessagePattern('baggage') baggage(): unknown {
    return propagation.getBaggage(context.active())?.getEntry('tenant')?.value;
  }
  @MessagePattern('fail') fail(): never {
    throw new Error('secret');
  }
  @MessagePattern('refuse') refuse(): never {
    throw new AuthError('no');
  }
  @MessagePattern('count') async *count(@Payload() n: number): AsyncGenerator<number> {
    try {
      for (let i = 0; i < n; i += 1) {
        look();
        yield i;
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      look();
    }
  }
  @MessagePattern('watch') watch(): Observable<number> {
    look();
    return interval(1).pipe(take(2), tap(look), finalize(look));
  }
  @ChannelPattern('echo') async echo(channel: RapChannel<number, number>): Promise<void> {
    for await (const message of channel) {
      look();
      await channel.write(message);
    }
  }
  @EventPattern('told') told(): void {
    look();
  }
  @MessagePattern('header') header(@Ctx() ctx: RapContext): unknown {
    return ctx.header['traceparent'];
  }
}

const byKind = (spans: ReadableSpan[], kind: SpanKind): ReadableSpan[] =>
  spans.filter((it) => it.kind === kind);

describe('attributes of spans, by the conventions', () => {
  it('name the call, its outcome and its server', async () => {
    const otel = instrument();
    const { client, port } = await scope.serve([MathController]);

    await client().call('sum', { a: 1, b: 2 });
    await otel.ended(2);

    const server = { 'server.address': expect.any(String), 'server.port': port };
    const both = {
      'rpc.system.name': 'rap',
      'rpc.method': 'default/sum',
      'rpc.status_code': 'OK',
      ...server,
    };
    expect(byKind(otel.spans(), SpanKind.CLIENT).map(({ name, attributes }) => [name, attributes])).toEqual([
      ['default/sum', both],
    ]);
    expect(byKind(otel.spans(), SpanKind.SERVER).map(({ name, attributes }) => [name, attributes])).toEqual([
      [
        'default/sum',
        { ...both, 'network.peer.address': expect.any(String), 'network.peer.port': expect.any(Number) },
      ],
    ]);
  });

  it('are those of the package of the conventions, and none of the old ones', async () => {
    const otel = instrument();
    const { client } = await scope.serve([MathController]);

    await rejection(client().call('fail'));
    await rejection(client().call('missing'));
    await otel.ended(4);

    const names = new Set(otel.spans().flatMap(({ attributes }) => Object.keys(attributes)));
    const known = new Set<string>(Object.values(conventions).filter((it) => typeof it === 'string'));
    expect([...names].filter((name) => !known.has(name))).toEqual([]);
    expect(names).toContain(conventions.ATTR_RPC_METHOD_ORIGINAL);
    expect([...names].filter((name) => /^rpc\.(system|service|grpc)$/.test(name))).toEqual([]);
  });

  it.each([
    ['fail', 'SERVER', true],
    ['refuse', 'AUTH', false],
    ['missing', 'FUNC_NOT_FOUND', false],
  ])('of a call of %s say %s; the server has failed: %s', async (name, outcome, hasServerFailed) => {
    const otel = instrument();
    const { client } = await scope.serve([MathController]);

    await rejection(client().call(name));
    await otel.ended(2);

    const [made] = byKind(otel.spans(), SpanKind.CLIENT);
    const [served] = byKind(otel.spans(), SpanKind.SERVER);
    expect(made?.attributes).toMatchObject({ 'rpc.status_code': outcome, 'error.type': outcome });
    expect(made?.status.code).toBe(SpanStatusCode.ERROR);
    expect(served?.attributes['rpc.status_code']).toBe(outcome);
    expect(served?.attributes['error.type']).toBe(hasServerFailed ? outcome : undefined);
    expect(served?.status.code).toBe(hasServerFailed ? SpanStatusCode.ERROR : SpanStatusCode.UNSET);
    const isKnown = name !== 'missing';
    expect(served?.name).toBe(isKnown ? `default/${name}` : 'rap');
    expect(served?.attributes['rpc.method']).toBe(isKnown ? `default/${name}` : '_OTHER');
    expect(served?.attributes['rpc.method_original']).toBe(isKnown ? undefined : '/default/missing');
  });
});

describe('a trace', () => {
  it('goes through three services', async () => {
    const otel = instrument();
    const last = await scope.serve([MathController]);
    const first = await scope.serve([MathController]);
    next.client = last.client();

    const root = otel.tracer.startSpan('root');
    const answer = await context.with(trace.setSpan(context.active(), root), () =>
      first.client().call('forward'),
    );
    root.end();
    await otel.ended(5);

    expect(answer).toBe(3);
    const spans = otel.spans();
    expect(new Set(spans.map((it) => it.spanContext().traceId)).size).toBe(1);
    const names = new Map(spans.map((it) => [it.spanContext().spanId, `${SpanKind[it.kind]} ${it.name}`]));
    const parents = spans.map((it) => [
      names.get(it.spanContext().spanId),
      names.get(it.parentSpanContext?.spanId ?? ''),
    ]);
    expect(Object.fromEntries(parents)).toEqual({
      'INTERNAL root': undefined,
      'CLIENT default/forward': 'INTERNAL root',
      'SERVER default/forward': 'CLIENT default/forward',
      'CLIENT default/sum': 'SERVER default/forward',
      'SERVER default/sum': 'CLIENT default/sum',
    });
  });

  it('is that of the caller in all kinds of handlers, in each item, and at their ends', async () => {
    const otel = instrument();
    const { client } = await scope.serve([MathController]);
    const mine = client();
    const root = otel.tracer.startSpan('root');
    const { traceId: id } = root.spanContext();
    const during = async (work: () => Promise<unknown>): Promise<(string | undefined)[]> => {
      seen.splice(0);
      const before = otel.spans().length;
      await context.with(trace.setSpan(context.active(), root), async () => {
        await work();
        // the continuation of the caller is in its own context
        expect(trace.getSpan(context.active())).toBe(root);
      });
      await otel.ended(before + 2);
      return [...seen];
    };

    expect(
      await during(async () => {
        for await (const _ of mine.stream('count', 2)) expect(trace.getSpan(context.active())).toBe(root);
      }),
    ).toEqual([id, id, id]);
    const left = await during(async () => {
      for await (const _ of mine.stream('count', 1e6)) break;
    });
    expect(left.length).toBeGreaterThan(1);
    expect(new Set(left)).toEqual(new Set([id]));
    expect(await during(() => lastValueFrom(mine.send('watch', {}).pipe(toArray())))).toEqual([
      id,
      id,
      id,
      id,
    ]);
    expect(await during(() => firstValueFrom(mine.send('count', 1e6).pipe(take(1))))).not.toContain(
      undefined,
    );
    expect(
      await during(async () => {
        const channel = await mine.channel<number, number>('echo');
        await channel.write(1);
        await channel.read();
        await channel.end();
        await channel.read();
      }),
    ).toEqual([id]);
    expect(await during(() => firstValueFrom(mine.emit('told', 1), { defaultValue: 0 }))).toEqual([id]);
  });

  it('takes baggage along', async () => {
    instrument();
    const { client } = await scope.serve([MathController]);
    const inside = propagation.setBaggage(
      context.active(),
      propagation.createBaggage({ tenant: { value: 'acme' } }),
    );

    expect(await context.with(inside, () => client().call('baggage'))).toBe('acme');
  });

  it('of a caller that is not trusted is linked to, and its baggage dropped', async () => {
    const otel = instrument({ trust: 'link' });
    const { client } = await scope.serve([MathController]);
    const inside = propagation.setBaggage(
      context.active(),
      propagation.createBaggage({ tenant: { value: 'acme' } }),
    );

    expect(await context.with(inside, () => client().call('baggage'))).toBeNull();
    await otel.ended(2);

    const [made] = byKind(otel.spans(), SpanKind.CLIENT);
    const [served] = byKind(otel.spans(), SpanKind.SERVER);
    expect(served?.parentSpanContext).toBeUndefined();
    expect(served?.spanContext().traceId).not.toBe(made?.spanContext().traceId);
    expect(served?.links.map((it) => it.context.spanId)).toEqual([made?.spanContext().spanId]);
  });

  const id = '0af7651916cd43dd8448eb211c80319c';
  it.each([
    ['of a Python client', `00-${id}-b7ad6b7169203331-01`, id],
    ['of 5 KiB', `00-${id}-b7ad6b7169203331-01-${'0'.repeat(5 * 1024)}`, undefined],
    ['that is malformed', '00-xyz', undefined],
    ['that is no text', { a: 1 }, undefined],
  ])('in a header %s', async (_, traceparent, expected) => {
    const otel = instrument();
    const { port } = await scope.serve([MathController]);
    const socket = await RawSocket.open(port);
    scope.defer(() => socket.socket.destroy());

    socket.send([101, 10, { target: '/default/sum', traceparent, tracestate: 'a=b' }, { a: 1, b: 2 }]);

    expect(await socket.next()).toEqual([101, 10, expect.anything(), 3]);
    await otel.ended(1);
    const [served] = otel.spans();
    expect(served?.parentSpanContext?.traceId).toBe(expected);
    if (expected) expect(served?.spanContext().traceId).toBe(expected);
  });
});

it('a trace header of 100 KiB ends the connection of its sender, and harms no other', async () => {
  const otel = instrument();
  const { port, client } = await scope.serve([MathController]);
  const mine = client();
  const socket = await RawSocket.open(port);
  scope.defer(() => socket.socket.destroy());

  socket.send([101, 10, { target: '/default/sum', traceparent: '0'.repeat(100 * 1024) }, { a: 1, b: 2 }]);

  expect(await socket.next()).toEqual([203, 4, expect.anything(), 'header too large']);
  expect(await mine.call('sum', { a: 1, b: 2 })).toBe(3);
  await otel.ended(2);
});

it('baggage that is too large for a header does not leave, and its call does', async () => {
  instrument();
  const { client } = await scope.serve([MathController]);
  const value = 'x'.repeat(4000);
  const entries = { a: { value }, b: { value }, tenant: { value: 'acme' } };
  const inside = propagation.setBaggage(context.active(), propagation.createBaggage(entries));

  const trace_ = await context.with(inside, () => client().call('header'));

  expect(trace_).toMatch(/^00-/);
});

describe('metrics', () => {
  it('are durations in seconds in the buckets of the convention, and messages', async () => {
    const otel = instrument();
    const { client, port } = await scope.serve([MathController]);

    await client().call('sum', { a: 1, b: 2 });
    for await (const _ of client().stream('count', 5)) void _;
    await rejection(client().call('missing'));
    await otel.ended(6);
    const metrics = await otel.metrics();

    for (const side of ['client', 'server']) {
      const durations = metrics.get(`rpc.${side}.call.duration`) as HistogramMetricData;
      expect(durations.descriptor.unit).toBe('s');
      const sum = durations.dataPoints.find((it) => it.attributes['rpc.method'] === 'default/sum');
      expect(sum?.value.count).toBe(1);
      expect(sum?.value.buckets.boundaries).toEqual([
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
      ]);
      expect(sum?.attributes).toEqual({
        'rpc.system.name': 'rap',
        'rpc.method': 'default/sum',
        'rpc.status_code': 'OK',
        'server.address': expect.any(String),
        'server.port': port,
      });
      expect(durations.dataPoints.flatMap((it) => Object.keys(it.attributes))).not.toContain(
        'rpc.method_original',
      );
    }
    const counted = (name: string): unknown =>
      Object.fromEntries(
        metrics.get(name)?.dataPoints.map((it) => [it.attributes['rpc.method'], it.value]) ?? [],
      );
    expect(counted('rap.client.messages.received')).toMatchObject({ 'default/sum': 1, 'default/count': 5 });
    expect(counted('rap.server.messages.sent')).toEqual({ 'default/sum': 1, 'default/count': 5, _OTHER: 0 });
    expect(counted('rap.server.messages.received')).toEqual({
      'default/sum': 1,
      'default/count': 1,
      _OTHER: 1,
    });
  });
});

describe('what fails in the SDK', () => {
  it('harms no call: a tracer that throws', async () => {
    const broken = {
      getTracer: () => ({
        startSpan: () => {
          throw new Error('broken');
        },
      }),
    };
    scope.defer(instrumentRap({ tracerProvider: broken as never }));
    const { client } = await scope.serve([MathController]);

    expect(await client().call('sum', { a: 1, b: 2 })).toBe(3);
  });

  it('harms no call: an exporter that throws, or never ends', async () => {
    const exporter = {
      export: () => {
        throw new Error('broken');
      },
      shutdown: () => Promise.resolve(),
    };
    const hanging = { export: () => {}, shutdown: () => Promise.resolve() };
    const tracerProvider = new BasicTracerProvider({
      spanProcessors: [new SimpleSpanProcessor(exporter), new SimpleSpanProcessor(hanging)],
    });
    scope.defer(instrumentRap({ tracerProvider }));
    const { client } = await scope.serve([MathController]);

    expect(await client().call('sum', { a: 1, b: 2 })).toBe(3);
    expect(await client().call('sum', { a: 1, b: 2 })).toBe(3);
  });
});

it('ends if it is undone: nothing is traced any more, and no header sent', async () => {
  const otel = instrument();
  const { client } = await scope.serve([MathController]);
  expect(await client().call('header')).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  await otel.ended(2);

  otel.undo();

  expect(await client().call('header')).toBeNull();
  expect(otel.spans()).toHaveLength(2);
});

it('names an option that does not exist, and a trust that is none', () => {
  expect(() => instrumentRap({ tracerprovider: 1 } as never)).toThrow(
    new RangeError(
      'instrumentRap.tracerprovider is not an option; did you mean instrumentRap.tracerProvider?',
    ),
  );
  expect(() => instrumentRap({ trust: 'all' as never })).toThrow("trust must be 'parent' or 'link', not all");
});
