import { readdirSync, readFileSync } from 'node:fs';
import { CallTimeoutError, RapClient } from '../lib/index.js';
import { systemClock } from '../lib/rpc/time/system-clock.js';
import { answerDeclare, scriptedServer } from './helpers/raw-socket.js';
import { PeerPair } from './helpers/peer-pair.js';
import { StoppedTime } from './helpers/stopped-time.js';

const HOUR_MS = 3_600_000;
const turn = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** Steps the wall clock by so much for as long as `work` takes. */
async function withWallClock(stepMs: () => number, work: () => void | Promise<void>): Promise<void> {
  const real = Date.now;
  Date.now = () => real() + stepMs();
  try {
    await work();
  } finally {
    Date.now = real;
  }
}

it.each(['rpc', 'pipeline', 'net', 'cluster', 'protocol'])(
  'has no place in lib/%s that reads the wall clock',
  (layer) => {
    const folder = new URL(`../lib/${layer}/`, import.meta.url);
    const readers = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
      (file) =>
        file.endsWith('.ts') &&
        // a date that is made of a value reads no clock
        /\bDate\b(?!`|\([^)])|performance\.timeOrigin|hrtime/.test(
          withoutComments(readFileSync(new URL(file, folder), 'utf8')),
        ),
    );
    expect(readers).toEqual([]);
  },
);

it.each([HOUR_MS, -HOUR_MS])('fires its timers by time that passed, not by a step of %i ms', async (step) => {
  await withWallClock(
    () => step,
    async () => {
      let fired = false;
      const before = systemClock.now();
      systemClock.after(30, () => (fired = true));
      await turn(10);
      expect(fired).toBe(false);
      await turn(60);
      expect(fired).toBe(true);
      expect(systemClock.now() - before).toBeLessThan(HOUR_MS / 2);
    },
  );
});

it.each([HOUR_MS, -HOUR_MS])(
  'keeps connection, calls and deadlines through a step of %i ms',
  async (step) => {
    let wall = 0;
    await withWallClock(
      () => wall,
      () => {
        const pair = new PeerPair().open();
        const { sink } = pair.call();
        pair.flow();
        pair.serverOwner.call().limitRun(9_000);
        wall = step;
        pair.pass(8_999, 1000);
        expect([sink.settled, pair.client.state, pair.server.state]).toEqual([false, 'open', 'open']);
        expect(pair.serverOwner.call().timeLeftMs).toBe(1);
        pair.pass(1);
        expect(sink.fault).toMatchObject({ status: 301, remoteName: 'RpcRunTimeError' });
        pair.end();
      },
    );
  },
);

it('lets a real call wait for its own time when the wall clock jumps an hour ahead', async () => {
  const time = new StoppedTime();
  const server = await scriptedServer(async (peer) => void (await answerDeclare(peer)));
  const client = new RapClient({ host: '127.0.0.1', port: server.port });
  try {
    await client.connect();
    let wall = 0;
    await withWallClock(
      () => wall,
      async () => {
        const call = client.call('never', null, { timeoutMs: 150 }).catch((error: unknown) => error);
        wall = HOUR_MS;
        time.pass(149);
        await turn(0);
        expect(client.stats().inFlight).toBe(1);
        time.pass(1);
        expect(await call).toBeInstanceOf(CallTimeoutError);
      },
    );
  } finally {
    time.resume();
    client.close();
    await server.close();
  }
});

function withoutComments(source: string): string {
  return source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
}
