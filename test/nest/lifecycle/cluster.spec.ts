import { type ChildProcess, spawn } from 'node:child_process';
import { RapClient } from '../../../lib/index.js';
import { eventually, testScope, within } from '../../helpers/async.js';
import { compile, type Compiled } from '../../helpers/compiled.js';

const WORKERS = 2;
const scope = testScope();
const source = 'test/nest/lifecycle/fixtures/cluster-app.ts';
let compiled: Compiled;
/** The same for all tests, in their order: each leaves as many workers as it found. */
let app: ClusterApp;
beforeAll(async () => {
  compiled = await compile([source]);
  app = await new ClusterApp().started(WORKERS);
}, 60_000);
afterAll(async () => {
  await app.stop();
  await compiled.remove();
});

/** The processes of one server: a primary, and workers that share a port. */
class ClusterApp {
  readonly lines: string[] = [];
  readonly #primary: ChildProcess;

  constructor() {
    this.#primary = spawn(process.execPath, [compiled.path(source), String(WORKERS)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let rest = '';
    this.#primary.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop() ?? '';
      this.lines.push(...parts);
    });
  }

  /** Ends all of its processes: a worker ends when its primary does. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#primary.once('close', resolve)); // its pipe is that of the workers, too
    this.#primary.kill('SIGKILL');
    await within('the end of the cluster', closed, 20_000);
  }

  /** Waits until so many workers have begun to listen since the start. */
  async started(count: number): Promise<this> {
    await eventually(`${count} workers`, () => this.#listening().length >= count, 30_000);
    return this;
  }

  get ports(): number[] {
    return this.#listening().map(([, , port]) => Number(port));
  }

  get pids(): number[] {
    return this.#listening().map(([, pid]) => Number(pid));
  }

  async exitOf(pid: number): Promise<string> {
    const find = (): string | undefined => this.lines.find((line) => line.startsWith(`exit ${pid} `));
    await eventually(`the end of ${pid}`, () => find() !== undefined, 20_000);
    return find() as string;
  }

  client(options: object = {}): RapClient {
    const client = new RapClient({ host: '127.0.0.1', port: this.ports[0] as number, ...options });
    scope.defer(() => client.close());
    return client;
  }

  /** Clients whose connections are with different workers, by the pid of each. */
  async clients(): Promise<Map<number, RapClient>> {
    const byPid = new Map<number, RapClient>();
    for (let i = 0; i < 4 * WORKERS; i++) {
      const client = this.client();
      byPid.set((await client.call('who')) as number, client);
    }
    return byPid;
  }

  #listening(): string[][] {
    return this.lines.filter((line) => line.startsWith('listening ')).map((line) => line.split(' '));
  }
}

it('workers of node:cluster share one port, and connections spread over them', async () => {
  expect(new Set(app.ports).size).toBe(1);
  const byPid = await app.clients();
  expect(new Set(byPid.keys())).toEqual(new Set(app.pids));
}, 60_000);

it('a worker that is killed does not take the port away', async () => {
  const byPid = await app.clients();
  const [[pid, client]] = [...byPid] as [[number, RapClient]];

  process.kill(pid, 'SIGKILL');
  expect(await app.exitOf(pid)).toBe(`exit ${pid} SIGKILL`);

  // the same client reaches another worker, and the new one takes its place
  expect(await within('a call', client.call('who'), 10_000)).not.toBe(pid);
  await app.started(WORKERS + 1);
  expect(new Set(app.ports).size).toBe(1);
  const after = await app.clients();
  expect([...after.keys()]).toContain(app.pids.at(-1));
}, 60_000);

it('SIGTERM drains one worker: what runs there is answered, the others go on', async () => {
  const byPid = await app.clients();
  const [[pid, client]] = [...byPid] as [[number, RapClient]];
  const calls = Array.from({ length: 50 }, () => client.call('slow'));
  await eventually('the calls', () => app.lines.filter((line) => line === `slow ${pid}`).length === 50);

  process.kill(pid, 'SIGTERM');

  expect(await Promise.all(calls)).toEqual(calls.map(() => ({ pid, isOpen: true })));
  expect(await app.exitOf(pid)).toBe(`exit ${pid} SIGTERM`);
  for (const [other, its] of byPid) if (other !== pid) expect(await its.call('who')).toBe(other);
  expect(await within('a call', client.call('who'), 10_000)).not.toBe(pid);
  await app.started(WORKERS + 2);
}, 60_000);
