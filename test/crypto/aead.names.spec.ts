import net from 'node:net';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { CryptoProcessor, type RapClient } from '../../lib/index.js';
import { eventually, rejection, testScope, type ServedApp } from '../helpers/async.js';

const scope = testScope();
const key = CryptoProcessor.generateKey();

let runs: number;

@Controller()
class Orders {
  @MessagePattern('pay') pay(): string {
    runs += 1;
    return 'paid';
  }
}

let app: ServedApp;
let onServer: CryptoProcessor;
beforeEach(() => (runs = 0));

async function serve(name?: string): Promise<void> {
  onServer = new CryptoProcessor({ keys: { shared: key }, ...(name !== undefined && { name }) });
  app = await scope.serve([Orders], { processors: [onServer] });
}

/** Changes what travels; by default nothing. */
type Change = (direction: 'up' | 'down', chunk: Buffer) => Buffer;

/** Somebody without the key whom the client takes for the way to its server, and who leads it here. */
async function ledHere(options: object, change: Change = (_direction, chunk) => chunk): Promise<RapClient> {
  const relay = net.createServer((near) => {
    const far = net.connect(app.port, '127.0.0.1');
    for (const [from, to, direction] of [
      [near, far, 'up'],
      [far, near, 'down'],
    ] as const) {
      from.on('data', (chunk) => to.write(change(direction, chunk)));
      from.on('error', () => {});
      from.on('close', () => to.destroy());
    }
  });
  await new Promise<void>((resolve) => void relay.listen(0, '127.0.0.1', resolve));
  scope.defer(() => relay.close());
  const { port } = relay.address() as net.AddressInfo;
  const processor = new CryptoProcessor({ keyId: 'shared', key, ...options });
  return app.client({ port, processors: [processor], reconnect: false });
}

const renamed =
  (where: 'up' | 'down', from: string, to: string): Change =>
  (direction, chunk) => {
    const at = direction === where ? chunk.indexOf(from) : -1;
    const changed = Buffer.from(chunk);
    if (at >= 0) changed.write(to, at, 'latin1');
    return changed;
  };

async function expectNothing(client: RapClient): Promise<void> {
  await rejection(client.call('pay'));
  await eventually('no connection is left', () => app.server.stats().connections === 0);
  expect([runs, onServer.stats().secured]).toEqual([0, 0]);
}

it('a process that is led back to itself is not answered', async () => {
  await serve('orders');
  await expectNothing(await ledHere({ name: 'orders' }));
  expect(onServer.stats().refused).toBe(1);
  expect(app.log.lines).toEqual([expect.stringContaining('has the name of this server, "orders"')]);
});

it.each<[string, object, Change]>([
  ['the name of the client is changed on the way', { name: 'orders' }, renamed('up', 'orders', 'others')],
  ['the name of the client is taken away', { name: 'orders' }, renamed('up', 'name', 'none')],
  ['the server has not the name that is wanted', { serverName: 'ledger' }, (_, chunk) => chunk],
  ['its name is changed on the way', { serverName: 'ledger' }, renamed('down', 'orders', 'ledger')],
  ['its name is taken away', { name: 'orders' }, renamed('down', 'name', 'none')],
])('nothing runs if %s', async (_what, options, change) => {
  await serve('orders');
  await expectNothing(await ledHere(options, change));
});

it('nothing runs on a server without a name if one is wanted', async () => {
  await serve();
  await expectNothing(await ledHere({ serverName: 'ledger' }));
});

it.each<[string, string | undefined, object]>([
  ['names differ', 'orders', { name: 'shop', serverName: 'orders' }],
  ['only the server has one', 'orders', {}],
  ['only the client has one', undefined, { name: 'shop' }],
])('calls are answered if %s', async (_what, name, options) => {
  await serve(name);
  expect(await (await ledHere(options)).call('pay')).toBe('paid');
});

it.each<[string, object, string]>([
  ['name', { keys: { shared: key }, name: '' }, 'name must be a text of 1 to 128 bytes'],
  ['name', { keyId: 'shared', key, name: 'x'.repeat(129) }, 'name must be a text of 1 to 128 bytes'],
  ['serverName', { keyId: 'shared', key, serverName: 5 }, 'serverName must be a text of 1 to 128 bytes'],
  ['serverName', { keys: { shared: key }, serverName: 'a' }, 'serverName is for clients'],
  [
    'serverName',
    { keyId: 'shared', key, name: 'a', serverName: 'a' },
    'a client does not call a server of its own',
  ],
  ['name', { mode: 'rap-cbc', keyId: 'shared', key: 'x'.repeat(16), name: 'a' }, "name needs mode 'aead'"],
])('a %s that cannot hold is refused', (_what, options, message) => {
  expect(() => new CryptoProcessor(options as never)).toThrow(message);
});
