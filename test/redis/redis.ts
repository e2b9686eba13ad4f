import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';

const installed = spawnSync('redis-server', ['--version']).status === 0;
const required = process.env['RAP_TEST_SERVICES'] === 'required';

/** `describe` for tests that need Redis: without it they are skipped with a line, or fail if services are required. */
export const describeWithRedis = installed || required ? describe : skipped;

function skipped(name: string, _tests: () => void): void {
  it(`${name}: left out, there is no redis-server on the PATH`, () => {});
}

/** A Redis of its own on a free port, empty and without persistence. */
export class TestRedis {
  readonly #clients: Redis[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), 'rap-redis-'));
  #process: ChildProcess | undefined;

  private constructor(readonly port: number) {}

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
    this.#process = child;
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

  /** Kills it, as a crash would. */
  async down(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** Stops it from answering, while its connections stay open. */
  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
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

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
