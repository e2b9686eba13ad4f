import { Logger } from '@nestjs/common';
import { RapClient } from 'nestjs-rap';
import { etcdResolver } from 'nestjs-rap/etcd';
import { ServerProcess } from '../processes.js';
import { Etcd } from './etcd.js';

const etcd = await Etcd.start();
if (etcd) await run(etcd);
else console.log('left out: there is no etcd on the PATH (on Debian: apt-get install etcd-server)');

async function run(store: Etcd): Promise<void> {
  const names = new Map<string, string>();
  const start = async (name: string): Promise<ServerProcess> => {
    const env = { ...process.env, NAME: name, ETCD_URL: store.url };
    const server = await new ServerProcess(new URL('server.js', import.meta.url), env).start();
    names.set(`127.0.0.1:${server.port}`, name);
    return server;
  };
  const anna = await start('anna');
  const bert = await start('bert');

  Logger.overrideLogger(false);
  const client = new RapClient({
    resolver: etcdResolver({ endpoints: [store.url], service: 'greeting' }),
    balancer: 'roundRobin',
  });
  client.on('endpoint', ({ address, state }) => {
    if (state === 'draining' || state === 'gone') console.log(`  ${names.get(address)} is ${state}`);
  });

  /** Resolves when the server is in this state. */
  const seen = (server: ServerProcess, wanted: string): Promise<void> =>
    new Promise((resolve) => {
      const address = `127.0.0.1:${server.port}`;
      if (client.stats().endpoints?.some((each) => each.address === address && each.state === wanted))
        return resolve();
      client.on('endpoint', (change) => {
        if (change.address === address && change.state === wanted) resolve();
      });
    });
  const greet = async (times: number): Promise<void> => {
    const greetings = new Set<string>();
    for (let i = 0; i < times; i++) greetings.add(await client.call<string>('greet'));
    console.log([...greetings].toSorted().join('; '));
  };

  console.log('anna and bert are in etcd');
  await client.connect();
  await Promise.all([seen(anna, 'ready'), seen(bert, 'ready')]);
  await greet(6);

  console.log('carl starts');
  const carl = await start('carl');
  await seen(carl, 'ready');
  await greet(6);

  console.log('anna drains (SIGTERM): she leaves etcd before she refuses anything');
  const gone = seen(anna, 'gone');
  await anna.end('SIGTERM');
  await gone;
  await greet(6);

  console.log('etcd is gone: the client goes on with its list');
  await store.stop();
  await greet(6);

  client.close();
  await Promise.all([bert.end('SIGTERM'), carl.end('SIGTERM')]);
}
