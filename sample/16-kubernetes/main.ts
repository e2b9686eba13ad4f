// Plays a rolling update with processes: maxSurge 1, maxUnavailable 0, while clients call.
import { Logger } from '@nestjs/common';
import { RapClient, type ServerAddress } from 'nestjs-rap';
import { Pod } from './pod.js';

Logger.overrideLogger(['error']);

// the endpoints of the headless Service: the ready pods. In a cluster: dnsResolver({ name: 'orders', port: 9000 })
let pods: Pod[] = [];
let tell: ((servers: readonly ServerAddress[]) => void) | undefined;
const servers = (): ServerAddress[] => pods.map(({ port }) => ({ host: '127.0.0.1', port }));
const setEndpoints = (next: Pod[]): void => {
  pods = next;
  tell?.(servers());
};

setEndpoints(
  await Promise.all(['orders-1', 'orders-2', 'orders-3'].map((name) => new Pod(name, 'v1').start())),
);
console.log('3 pods of v1 are ready');

const client = new RapClient({
  resolver: {
    watch(listener) {
      tell = listener;
      listener(servers());
      return () => (tell = undefined);
    },
  },
});
await client.connect();

const end = new AbortController();
let failed = 0;
const answers = new Map<string, number>();
const callers = Array.from({ length: 20 }, async (_, caller) => {
  for (let id = caller; !end.signal.aborted; id += 20) {
    try {
      const { version } = await client.call<{ version: string }>('order', { id });
      answers.set(version, (answers.get(version) ?? 0) + 1);
    } catch (error) {
      failed += 1;
      console.log(`call ${id} failed:`, error);
    }
  }
});

for (const old of pods) {
  const pod = await new Pod(`${old.name}-new`, 'v2').start();
  console.log(`${pod.name} (v2) is ready`);
  setEndpoints([...pods, pod]);
  setEndpoints(pods.filter((each) => each !== old));
  await old.end();
  console.log(`${old.name} (v1) has ended`);
}
end.abort();
await Promise.all(callers);

const counts = ['v1', 'v2'].filter((version) => answers.has(version));
console.log(`answers of ${counts.join(' and ')}, ${failed} failed`);
client.close();
await Promise.all(pods.map((pod) => pod.end()));
process.exitCode = failed === 0 && counts.length === 2 ? 0 : 1;
