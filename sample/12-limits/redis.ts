import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

/** `REDIS_URL`, or a local Redis if redis-server is installed; otherwise everything is counted in memory. */
export async function startRedis(): Promise<{ url: string | undefined; stop: () => void }> {
  const { REDIS_URL: url } = process.env;
  if (url || spawnSync('redis-server', ['--version']).status !== 0) return { url, stop: () => {} };
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  const redis = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '']);
  await once(redis.stdout, 'data');
  return { url: `redis://127.0.0.1:${port}`, stop: () => redis.kill() };
}
