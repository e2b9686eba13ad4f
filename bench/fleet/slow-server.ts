import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pass } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Logger } from '@nestjs/common';
import { RapClient, type RapClientOptions, RapServer } from 'nestjs-rap';

/**
 * What one slow server costs the calls of a client of three: latencies with three fast servers, with two, and with two and one
 * that takes 50 ms, in alternating rounds.
 *
 *     node bench/dist/fleet/slow-server.js [--rounds 9] [--seconds 3] [--rate 1000] [--balancer p2c]
 *
 * `--rate 0` keeps 64 calls in flight instead of an even rate.
 */

const SLOW_MS = 50;
const LANES = 64;
const TICK_MS = 2;

type Address = { readonly host: string; readonly port: number };
type Picks = { readonly all: number; readonly slow: number };
type Row = { readonly p50: number; readonly p99: number; readonly slowShare: number };

async function serve(delayMs: number): Promise<void> {
  const server = new RapServer({ host: '127.0.0.1', port: 0 });
  server.addHandler('echo', async (body: unknown) => {
    if (delayMs > 0) await pass(delayMs);
    return body;
  });
  await new Promise<void>((resolve, reject) =>
    server.listen((error?: unknown) => (error ? reject(error) : resolve())),
  );
  const address = server.address();
  process.send?.({ port: typeof address === 'object' && address ? address.port : 0 });
  process.once('disconnect', () => process.exit());
}

async function started(delayMs: number): Promise<{ child: ChildProcess; address: Address }> {
  const child = fork(fileURLToPath(import.meta.url), [String(delayMs)]);
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  return { child, address: { host: '127.0.0.1', port } };
}

async function measure(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '9' },
      seconds: { type: 'string', default: '3' },
      rate: { type: 'string', default: '1000' },
      balancer: { type: 'string', default: 'p2c' },
    },
  });
  Logger.overrideLogger(false);
  const processes = await Promise.all([0, 0, 0, SLOW_MS].map((delayMs) => started(delayMs)));
  const [a, b, c, slow] = processes.map(({ address }) => address) as [Address, Address, Address, Address];
  const fleets: Record<string, Address[]> = {
    'three fast': [a, b, c],
    'two fast': [a, b],
    'one slow': [a, b, slow],
  };
  const rows: Record<string, Row[]> = {};
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, servers] of Object.entries(fleets)) {
      const { balancer } = values as Pick<RapClientOptions, 'balancer'>;
      const client = new RapClient({ servers, balancer });
      const run = new Run(client, `127.0.0.1:${slow.port}`);
      (rows[name] ??= []).push(await run.measure(Number(values.seconds), Number(values.rate)));
      client.close();
    }
  }
  for (const { child } of processes) child.kill('SIGKILL');
  const load = Number(values.rate) > 0 ? `${values.rate} calls/s` : `${LANES} in flight`;
  console.log(`${values.balancer}, ${load}, medians of ${values.rounds} rounds of ${values.seconds} s`);
  for (const [name, each] of Object.entries(rows)) {
    const { p50, p99, slowShare } = medians(each);
    const share = name === 'one slow' ? `, ${(slowShare * 100).toFixed(2)} % of the calls at it` : '';
    console.log(`${name.padEnd(10)} p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms${share}`);
  }
}

/** Calls of one client. */
class Run {
  readonly #latencies: number[] = [];
  #isOver = false;

  constructor(
    private readonly client: RapClient,
    private readonly slow: string,
  ) {}

  async measure(seconds: number, rate: number): Promise<Row> {
    const { client } = this;
    await client.connect();
    while (client.stats().endpoints?.some(({ state }) => state !== 'ready')) await pass(5);
    await this.#warmUp();
    const before = this.#picks();
    const over = pass(seconds * 1000).then(() => (this.#isOver = true));
    const work =
      rate > 0 ? this.#evenly(rate) : Promise.all(Array.from({ length: LANES }, () => this.#lane()));
    await over;
    await work;
    const sorted = this.#latencies.toSorted((x, y) => x - y);
    const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] as number;
    return { p50: at(0.5), p99: at(0.99), slowShare: shareOfSlow(before, this.#picks()) };
  }

  /** Latencies of compiled code; the balancer learns, too. */
  async #warmUp(): Promise<void> {
    for (let i = 0; i < 20; i++)
      await Promise.all(Array.from({ length: LANES }, () => this.client.call('echo', i)));
  }

  async #call(): Promise<void> {
    const startedAt = performance.now();
    await this.client.call('echo', startedAt);
    this.#latencies.push(performance.now() - startedAt);
  }

  async #lane(): Promise<void> {
    while (!this.#isOver) await this.#call();
  }

  async #evenly(rate: number): Promise<void> {
    const pending = new Set<Promise<void>>();
    const startedAt = performance.now();
    for (let count = 0; !this.#isOver;) {
      for (; count < ((performance.now() - startedAt) / 1000) * rate; count++) {
        const call = this.#call().finally(() => pending.delete(call));
        pending.add(call);
      }
      await pass(TICK_MS);
    }
    await Promise.all(pending);
  }

  #picks(): Picks {
    const { endpoints = [] } = this.client.stats();
    const slow = endpoints.find(({ address }) => address === this.slow)?.picks ?? 0;
    return { all: endpoints.reduce((sum, { picks }) => sum + picks, 0), slow };
  }
}

function shareOfSlow(before: Picks, after: Picks): number {
  return (after.slow - before.slow) / (after.all - before.all);
}

function medians(rows: readonly Row[]): Row {
  const of = (key: keyof Row): number =>
    rows.map((row) => row[key]).toSorted((x, y) => x - y)[Math.floor(rows.length / 2)] as number;
  return { p50: of('p50'), p99: of('p99'), slowShare: of('slowShare') };
}

if (process.send) await serve(Number(process.argv[2]));
else await measure();
