import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { RapClient } from 'nestjs-rap';
import { ServerProcess } from '../processes.js';
import { Load } from './load.js';
import { Screen } from './screen.js';

const file = new URL('server.js', import.meta.url);
const servers = await Promise.all([1, 2, 3].map(() => new ServerProcess(file).start()));
const [a, b, c] = servers as [ServerProcess, ServerProcess, ServerProcess];

Logger.overrideLogger(false); // the client logs each change of state, which this sample shows itself
const client = new RapClient({
  servers: servers.map(({ port }) => ({ host: '127.0.0.1', port })),
  hedge: { quantile: 0.99 }, // the slowest calls get a second attempt at another server
});
await client.connect();
const load = new Load(client);
const screen = new Screen(
  client,
  servers.map(({ port }) => port),
  () => load.toString(),
);

screen.tell('three servers, 200 calls a second');
await sleep(3000);
screen.snapshot();

screen.tell('server A is killed (SIGKILL)');
await a.end('SIGKILL');
await sleep(2000);
screen.snapshot();
screen.tell('server A is started again');
await a.start();
await sleep(3000);

screen.tell('server B is frozen (SIGSTOP)');
b.signal('SIGSTOP');
await sleep(5000);
screen.snapshot();
screen.tell('server B goes on (SIGCONT)');
b.signal('SIGCONT');
await sleep(3000);

screen.tell('server C drains (SIGTERM)');
await c.end('SIGTERM');
screen.tell('server C has ended');
await sleep(1000);
screen.tell('server C is started again');
await c.start();
await sleep(3000);

await load.stop();
screen.snapshot();
screen.end();
await client.drain();
await Promise.all(servers.map((server) => server.end('SIGTERM')));
