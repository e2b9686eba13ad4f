import { collection } from '../../diagnostics/channels.js';
import type { RapClientNumbers, RapServerNumbers } from '../../diagnostics/messages.js';
import { type MetricValue, TextMetric } from './text-metric.js';

type Numeric<T> = { [K in keyof T]: T[K] extends number ? K : never }[keyof T];

const SERVER: Readonly<Record<Numeric<RapServerNumbers>, readonly [name: string, help: string]>> = {
  connections: ['connections', 'Open connections of clients'],
  inFlight: ['in_flight', 'Calls, events, streams and channels whose handlers run'],
  channels: ['channels', 'Open streams and channels'],
  waitingForCredit: ['channels_waiting', 'Streams and channels whose messages wait for credit of the client'],
};

const CLIENT: Readonly<Record<Numeric<RapClientNumbers>, readonly [name: string, help: string]>> = {
  connections: ['connections', 'Open connections to servers'],
  inFlight: ['in_flight', 'Calls that were sent and not answered'],
  queued: ['queued', 'Calls that wait to be sent'],
  channels: ['channels', 'Open streams and channels'],
  waitingForCredit: ['channels_waiting', 'Streams and channels whose messages wait for credit of the server'],
};

/** What all servers and clients of the process have at the moment of a scrape. */
export function gauges(): TextMetric[] {
  return [
    ...Object.entries(SERVER).map(([key, [name, help]]) =>
      gauge(`rap_server_${name}`, help, () => sum(collect().servers, key as keyof typeof SERVER)),
    ),
    ...Object.entries(CLIENT).map(([key, [name, help]]) =>
      gauge(`rap_client_${name}`, help, () => sum(collect().clients, key as keyof typeof CLIENT)),
    ),
    new TextMetric(
      'rap_client_endpoints',
      'gauge',
      'Servers of clients that may have several, by state',
      endpoints,
    ),
  ];
}

function gauge(name: string, help: string, value: () => number): TextMetric {
  return new TextMetric(name, 'gauge', help, () => [{ labels: {}, value: value() }]);
}

function sum<K extends string>(all: readonly Readonly<Record<K, number>>[], key: K): number {
  return all.reduce((total, each) => total + each[key], 0);
}

function endpoints(): MetricValue[] {
  const states = new Map<string, number>();
  for (const { endpoints: each } of collect().clients)
    for (const state of each) states.set(state, (states.get(state) ?? 0) + 1);
  return Array.from(states, ([state, value]) => ({ labels: { state }, value }));
}

interface Collected {
  readonly servers: RapServerNumbers[];
  readonly clients: RapClientNumbers[];
}

/** What this turn has collected: the metrics of one scrape ask one after the other. */
let collected: Collected | undefined;

function collect(): Collected {
  if (!collected) {
    collected = collectNow();
    queueMicrotask(() => (collected = undefined));
  }
  return collected;
}

function collectNow(): Collected {
  const servers: RapServerNumbers[] = [];
  const clients: RapClientNumbers[] = [];
  collection.publish({
    server: (numbers) => servers.push(numbers),
    client: (numbers) => clients.push(numbers),
  });
  return { servers, clients };
}
