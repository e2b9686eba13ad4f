import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type BalancerOption, RapClient } from '../../lib/index.js';
import { eventually, testScope } from '../helpers/async.js';
import { answerDeclare, scriptedServer, type RawSocket } from '../helpers/raw-socket.js';
import { silenced } from '../helpers/silent-log.js';

silenced();
const scope = testScope();
const raw = async (isBroken: boolean): Promise<number> => {
  const server = await scriptedServer((peer: RawSocket) => {
    void (async () => {
      await answerDeclare(peer);
      for (;;) {
        const [, id] = await peer.next(([type]) => type === 101);
        if (isBroken) return peer.destroy();
        peer.send([101, id, {}, 'answer']);
      }
    })().catch(() => {});
  });
  scope.defer(() => server.close());
  return server.port;
};

it('who listens to rap.client.retry alone hears of retries', async () => {
  const [broken, sound] = [await raw(true), await raw(false)];
  const heard: unknown[] = [];
  const listener = (message: unknown): number => heard.push(message);
  subscribe('rap.client.retry', listener);
  scope.defer(() => unsubscribe('rap.client.retry', listener));
  const inOrder: BalancerOption = (candidates) =>
    candidates.find(({ address }) => address.endsWith(`:${broken}`)) ?? candidates[0];
  const client = new RapClient({
    servers: [broken, sound].map((port) => ({ host: '127.0.0.1', port })),
    balancer: inOrder,
  });
  scope.defer(() => client.close());
  const open = new Set<string>();
  client.on('endpoint', ({ address, state }) => void (state === 'ready' && open.add(address)));
  await client.connect();
  await eventually('both', () => open.size === 2);

  expect(await client.call('name', {}, { idempotent: true })).toBe('answer');
  expect(heard).toHaveLength(1);
});
