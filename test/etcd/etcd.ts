import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WAIT_TIMEOUT_MS } from '../helpers/timeouts.js';
import { freePort } from '../helpers/ports.js';
import { describeWith, ServiceProcess } from '../helpers/service-process.js';

/** `describe` for tests that need etcd: without it they are skipped with a line, or fail if services are required. */
export const describeWithEtcd = describeWith('etcd', '--version');

type Json = Record<string, unknown>;

/** An etcd of its own on free ports of 127.0.0.1. */
export class TestEtcd extends ServiceProcess {
  readonly #folder = mkdtempSync(join(tmpdir(), 'rap-etcd-'));
  #lives = 0;

  private constructor(
    readonly port: number,
    private readonly peerPort: number,
  ) {
    super();
  }

  static async start(): Promise<TestEtcd> {
    const etcd = new TestEtcd(await freePort(), await freePort());
    await etcd.up();
    return etcd;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it, with the data it had or without. */
  async up({ empty = false } = {}): Promise<void> {
    if (empty) this.#lives += 1;
    const client = this.endpoint;
    const peer = `http://127.0.0.1:${this.peerPort}`;
    const child = spawn(
      'etcd',
      [
        `--data-dir=${join(this.#folder, String(this.#lives))}`,
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--listen-peer-urls=${peer}`,
        `--initial-advertise-peer-urls=${peer}`,
        `--initial-cluster=default=${peer}`,
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    this.process = child;
    let log = '';
    child.stderr.on('data', (data: Buffer) => (log = (log + data.toString()).slice(-10_000)));
    const life: { ended?: string } = {};
    child.once('error', ({ message }) => (life.ended = message));
    child.once('exit', () => (life.ended = log));
    const until = performance.now() + WAIT_TIMEOUT_MS;
    while (!(await this.#answers())) {
      if (life.ended !== undefined) throw new Error(`etcd ended\n${life.ended}`);
      if (performance.now() > until) throw new Error(`etcd does not answer\n${log}`);
    }
  }

  /** Whether it answers; if not, after a moment. */
  async #answers(): Promise<boolean> {
    try {
      return (await fetch(`${this.endpoint}/version`)).ok;
    } catch {
      return new Promise((resolve) => setTimeout(resolve, 20, false));
    }
  }

  async call(path: string, body: Json): Promise<Json> {
    const response = await fetch(`${this.endpoint}${path}`, { method: 'POST', body: JSON.stringify(body) });
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as Json;
  }

  async put(key: string, value: unknown): Promise<void> {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    await this.call('/v3/kv/put', { key: base64(key), value: base64(text) });
  }

  async delete(key: string): Promise<void> {
    await this.call('/v3/kv/deleterange', { key: base64(key) });
  }

  /** Keys and values of everything that it holds. */
  async all(): Promise<{ key: string; value: unknown; lease: string }[]> {
    const { kvs = [] } = (await this.call('/v3/kv/range', { key: 'AA==', range_end: 'AA==' })) as {
      kvs?: { key: string; value: string; lease: string }[];
    };
    return kvs.map(({ key, value, lease }) => ({
      key: Buffer.from(key, 'base64').toString(),
      value: JSON.parse(Buffer.from(value, 'base64').toString()) as unknown,
      lease,
    }));
  }

  async compact(): Promise<void> {
    const { header } = (await this.call('/v3/kv/range', { key: 'AA==' })) as { header: { revision: string } };
    await this.call('/v3/kv/compaction', { revision: header.revision, physical: true });
  }

  async end(): Promise<void> {
    await this.down();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
