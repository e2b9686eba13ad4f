import { readFileSync } from 'node:fs';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Registry } from 'prom-client';
import { type BalancerOption, ChannelPattern, type RapChannel } from '../../lib/index.js';
import { collectRapMetrics } from '../../lib/prometheus.js';
import { eventually, Gate, rejection, testScope } from '../helpers/async.js';
import { parsePrometheus, type Sample } from '../helpers/prometheus-text.js';

interface Panel {
  readonly type: string;
  readonly title: string;
  readonly datasource?: object;
  readonly fieldConfig?: { defaults: { unit?: string } };
  readonly targets?: readonly { expr: string; legendFormat: string; datasource: object }[];
}

interface Variable {
  readonly name: string;
  readonly type: string;
  /** `label_values(SELECTOR, LABEL)` */
  readonly definition?: string;
}

interface Dashboard {
  readonly __inputs: readonly { name: string; type: string; pluginId: string }[];
  readonly panels: readonly Panel[];
  readonly templating: { list: readonly Variable[] };
  readonly uid: string;
  readonly title: string;
  readonly schemaVersion: number;
}

const text = readFileSync(new URL('../../docs/grafana-dashboard.json', import.meta.url), 'utf8');
const dashboard = JSON.parse(text) as Dashboard;
const panels = dashboard.panels.filter(({ type }) => type !== 'row');
const variables = dashboard.templating.list.filter(({ type }) => type === 'query');

const scope = testScope();
const held: { gate?: Gate } = {};

@Controller()
class PriceController {
  @MessagePattern('price', { idempotent: true }) price(@Payload() n: number): number {
    return n;
  }
  @MessagePattern('fail') fail(): never {
    throw new Error('no');
  }
  @MessagePattern('count') async *count(): AsyncGenerator<number> {
    yield 1;
  }
  @ChannelPattern('echo') async echo(channel: RapChannel<number, number>): Promise<void> {
    for await (const message of channel) await channel.write(message);
  }
}

/** Answers at once, until there is a gate: then after that has opened. */
@Controller()
class SlowPriceController {
  @MessagePattern('price', { idempotent: true }) async price(@Payload() n: number): Promise<number> {
    await held.gate?.opened;
    return n;
  }
}

/** All samples of a process in which each thing that is counted has happened. */
async function samplesOfAll(): Promise<Sample[]> {
  const registry = new Registry();
  scope.defer(collectRapMetrics({ registry }));
  const first = await scope.serve([SlowPriceController]);
  const second = await scope.serve([PriceController], { limits: { maxConnections: 2 } });

  const single = second.client();
  await single.call('price', 1);
  await rejection(single.call('fail'));
  for await (const each of single.stream('count')) void each;
  const channel = await single.channel<number, number>('echo');
  await channel.write(1);
  await channel.read();
  channel.close();

  const inOrder: BalancerOption = (candidates) =>
    candidates.find(({ address }) => address.endsWith(`:${first.port}`)) ?? candidates[0];
  const servers = [first, second].map(({ port }) => ({ host: '127.0.0.1', port }));
  const fleet = first.client({
    host: undefined,
    port: undefined,
    servers,
    balancer: inOrder,
    hedge: { minSamples: 40 },
    eject: { consecutiveFailures: 2 },
  });
  const open = new Set<string>();
  let isEjected = false;
  fleet.on('endpoint', ({ address, state }) => {
    if (state === 'ready') open.add(address);
    if (state === 'ejected') isEjected = true;
  });
  await fleet.connect();
  await eventually('both are connected', () => open.size === 2);
  await rejection(second.client({ reconnect: false }).connect()); // one too many

  for (let i = 0; i < 40; i += 1) await fleet.call('price', i, { idempotent: true });
  const gate = (held.gate = new Gate());
  scope.defer(() => {
    delete held.gate;
    gate.open();
  });
  await fleet.call('price', 0, { idempotent: true }); // hedged
  await eventually('an ejection', async () => {
    await fleet.call('price', 0, { timeoutMs: 5 }).catch(() => {});
    return isEjected;
  });

  await eventually('the end of the channel', async () =>
    /rap_server_handled_total\{[^}]*rap_method="echo"/.test(await registry.metrics()),
  );
  return parsePrometheus(await registry.metrics());
}

/** Given by Prometheus to whatever it scrapes. */
const OF_PROMETHEUS = 'job';
const WORDS = new Set(['sum', 'by', 'rate', 'histogram_quantile', 'or', 'label_values']);

/** What is wrong with an expression, by the samples that there are. */
function faultsOf(expression: string, samples: readonly Sample[]): string[] {
  const faults: string[] = [];
  const used: string[] = [];
  const labelsOf = (metric: string): Set<string> =>
    new Set(samples.filter(({ name }) => name === metric).flatMap(({ labels }) => Object.keys(labels)));
  const check = (metrics: readonly string[], label: string): void => {
    for (const metric of metrics)
      if (label !== OF_PROMETHEUS && !labelsOf(metric).has(label)) faults.push(`${metric} has no ${label}`);
  };

  const rest = expression.replaceAll(/([\w:]*)\{(.*?)\}/g, (_, name: string, matchers: string) => {
    const all = [...matchers.matchAll(/(\w+)(=~|!~|!=|=)"(.*?)"/g)];
    const named = all.find(([, label]) => label === '__name__');
    const isMetric = new RegExp(`^(?:${named?.[3] ?? name})$`);
    const metrics = [...new Set(samples.map((sample) => sample.name).filter((it) => isMetric.test(it)))];
    if (metrics.length === 0) faults.push(`there is no ${name}${named?.[3] ?? ''}`);
    used.push(...metrics);
    for (const [whole, label = '', operator, value = ''] of all.filter((it) => it !== named)) {
      check(metrics, label);
      const isLiteral = operator === '=' || operator === '!=';
      if (isLiteral && !samples.some((it) => metrics.includes(it.name) && it.labels[label] === value))
        faults.push(`no value of ${metrics.join(', ')} has ${whole}`);
    }
    return '';
  });
  const groups = [...rest.matchAll(/\bby \((.*?)\)|, (\w+)\)$/g)];
  for (const [, by, last] of groups)
    for (const label of (by ?? last ?? '').split(', ')) check([...new Set(used)], label);
  const words = rest.replaceAll(/\bby \(.*?\)|, \w+\)$|\[\$\w+\]/g, '').match(/[a-zA-Z_:][\w:]*/g) ?? [];
  faults.push(...words.filter((word) => !WORDS.has(word)).map((word) => `${word} is not known`));
  return faults;
}

describe('docs/grafana-dashboard.json', () => {
  it('asks for metrics and labels that there are', async () => {
    const samples = await samplesOfAll();

    const expressions = [
      ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
      ...variables.map(({ definition = '' }) => definition),
    ];
    expect(expressions.length).toBeGreaterThan(20);
    expect(expressions.flatMap((each) => faultsOf(each, samples).map((fault) => [fault, each]))).toEqual([]);
    // and leaves none out
    const asked = expressions.join('\n');
    const names = new Set(
      samples.map(({ name }) => name).filter((name) => !/_seconds_(sum|count)$/.test(name)),
    );
    const started = /_started_total$/;
    expect([...names].filter((name) => !asked.includes(`${name}{`) && !started.test(name))).toEqual([]);

    // what the check is worth
    expect(faultsOf('sum(rate(rap_server_missing_total{job=~"$job"}[$__rate_interval]))', samples)).toEqual([
      'there is no rap_server_missing_total',
    ]);
    expect(faultsOf('sum(rap_server_missing)', samples)).toEqual(['rap_server_missing is not known']);
    expect(faultsOf('sum by (state) (rap_server_in_flight{state="x"})', samples)).toEqual([
      'rap_server_in_flight has no state',
      'no value of rap_server_in_flight has state="x"',
      'rap_server_in_flight has no state',
    ]);
    expect(faultsOf('label_values({__name__=~"rap_client_(a|b)"}, rap_group)', samples)).toEqual([
      'there is no rap_client_(a|b)',
    ]);
  });

  it.each(panels.map((panel, index) => [`${index + 1}: ${panel.title}`, panel] as const))(
    'panel %s has a title, a unit, and targets whose legend names labels that they keep',
    (_, { title, datasource, fieldConfig, targets = [] }) => {
      expect(title).toMatch(/\w/);
      expect(fieldConfig?.defaults.unit).toMatch(/^[a-z]+$/);
      expect(targets.length).toBeGreaterThan(0);
      for (const target of targets) {
        const kept = [...target.expr.matchAll(/\bby \((.*?)\)/g)].flatMap(([, by = '']) => by.split(', '));
        const named = [...target.legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label);
        expect(kept.filter((label) => label !== 'le')).toEqual(expect.arrayContaining(named));
        expect([datasource, target.datasource]).toEqual(
          Array.from({ length: 2 }, () => ({ type: 'prometheus', uid: '${datasource}' })),
        );
      }
    },
  );

  it('can be imported: it asks for a data source, and uses variables that it has', () => {
    expect(dashboard).toMatchObject({ uid: 'nestjs-rap', title: 'rap', schemaVersion: 42 });
    expect(dashboard.__inputs).toMatchObject([
      { name: 'DS_PROMETHEUS', type: 'datasource', pluginId: 'prometheus' },
    ]);
    const names = dashboard.templating.list.map(({ name }) => name);
    expect(names).toEqual(['datasource', 'job', 'rap_group', 'rap_method']);
    const used = new Set([...text.matchAll(/\$\{?(\w+)/g)].map(([, name = '']) => name));
    const known = [...names, 'DS_PROMETHEUS', '__rate_interval', '__all'];
    expect([...used].filter((name) => !known.includes(name))).toEqual([]);
  });
});
