import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';
import { freePort } from '../helpers/ports.js';
import { describeWith, ServiceProcess } from '../helpers/service-process.js';

/** `describe` for tests that need Redis: without it they are skipped with a line, or fail if services are required. */
export const describeWithRedis = describeWith('redis-server', '--version');

/** A Redis of its own on a free port, empty and without persistence. */
export class TestRedis extends ServiceProcess {
  readonly #clients: Redis[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), 'rap-redis-'));

  private constructor(readonly port: number) {
    super();
  }

  static async start(): Promise<TestRedis> {
    const redis = new TestRedis(await freePort());
    await redis.up();
    return redis;
  }

  /** Starts it on its port, empty: again, after `down`. */
  async up(): Promise<void> {
    const options = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    const child = spawn('redis-server', [...options, '--dir', this.#folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.process = child;
    await new Promise<void>((resolve, reject) => {
      let output = '';
      child.stdout.on('data', (data: Buffer) => {
        output += data.toString();
        if (output.includes('Ready to accept connections')) resolve();
      });
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`redis-server ended\n${output}`)));
    });
  }

  /** A client that comes back soon; closed at the end. */
  client(options: RedisOptions = {}): Redis {
    const client = new Redis(this.port, '127.0.0.1', {
      retryStrategy: () => 20,
      disconnectTimeout: 50,
      ...options,
    });
    client.on('error', () => {}); // a Redis that is down is what the test is about
    this.#clients.push(client);
    return client;
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    this.thaw();
    await this.down();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** One Redis for the tests of a `describe`, emptied before each; `take` gets it, and a client of it. */
export function useRedis(take: (redis: TestRedis, client: Redis) => void): void {
  let client: Redis;
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await TestRedis.start();
    client = redis.client();
    take(redis, client);
  });
  beforeEach(() => client.flushall());
  afterAll(() => redis.end());
}
