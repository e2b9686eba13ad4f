import { once } from 'node:events';
import net from 'node:net';
import { systemClock } from '../../../lib/rpc/time/system-clock.js';

const timeouts = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

const turn = (ms = 0): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** A server that sends back what comes, and says so when the kernel has it. */
async function echo(): Promise<{ port: number; server: net.Server }> {
  const server = net.createServer((peer) => {
    peer.on('error', () => {});
    peer.on('data', (chunk) => void peer.write(chunk, () => server.emit('echoed')));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as net.AddressInfo).port, server };
}

it('counts milliseconds and never goes back', async () => {
  const before = systemClock.now();
  await turn(20);
  const passed = systemClock.now() - before;
  expect(passed).toBeGreaterThanOrEqual(19);
});

it('fires once, and not when it was cancelled', async () => {
  let fired = 0;
  let cancelled = 0;
  systemClock.after(1, () => (fired += 1));
  const timer = systemClock.after(1, () => (cancelled += 1));
  timer.cancel();
  timer.cancel();
  await turn(20);
  expect([fired, cancelled]).toEqual([1, 0]);
});

it('does not fire at once for times that Node cannot count: 25 days, or no end', async () => {
  let fired = 0;
  const timers = [2 ** 31, 1e12, Infinity].map((ms) => systemClock.after(ms, () => (fired += 1)));
  await turn(30);
  for (const timer of timers) timer.cancel();
  expect(fired).toBe(0);
});

it('looks at the sockets before a timer that comes late, which can still be cancelled then', async () => {
  const log: string[] = [];
  const { port, server } = await echo();
  const socket = net.connect({ port, host: '127.0.0.1' });
  await once(socket, 'connect');
  socket.on('data', () => {
    log.push('data');
    cancelled.cancel();
  });
  systemClock.after(200, () => log.push('late'));
  const cancelled = systemClock.after(200, () => log.push('cancelled'));
  socket.write('x');
  await new Promise((resolve) => void server.once('echoed', resolve));
  const end = performance.now() + 400;
  while (performance.now() < end);
  await turn(20);
  expect(log).toEqual(['data', 'late']);
  socket.destroy();
  server.close();
});

it('keeps no process alive, unless somebody waits for it', () => {
  const before = timeouts();
  const timers = [1e5, 2 ** 31].map((ms) => systemClock.after(ms, () => {}));
  expect(timeouts() - before).toBe(0);
  for (const timer of timers) timer.hold(true);
  expect(timeouts() - before).toBe(2);
  timers[0]?.hold(false);
  expect(timeouts() - before).toBe(1);
  for (const timer of timers) timer.cancel();
  expect(timeouts() - before).toBe(0);
});
