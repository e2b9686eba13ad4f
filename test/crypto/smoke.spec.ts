import { CryptoProcessor } from '../../lib/index.js';
import { PythonFunctions } from '../helpers/python-functions.js';
import { testScope } from '../helpers/async.js';

const scope = testScope();
const secret = CryptoProcessor.generateKey();
it.each(['aead','rap-cbc'] as const)('%s', async (mode) => {
  const key = mode === 'aead' ? secret : 'xxxxxxxxxxxxxxxx';
  const app = await scope.serve([PythonFunctions], { processors: [new CryptoProcessor({ mode, keys: { demo: key } })], exposeErrors: true });
  const client = app.client({ processors: [new CryptoProcessor({ mode, keyId: 'demo', key })] });
  expect(await client.call('sync_sum', { a: 1, b: 2 })).toBe(3);
  const big = mode === 'aead' ? Buffer.alloc(300_000, 7) : 'x'.repeat(300_000);
  expect(await client.call('echo', { x: big })).toEqual(big);
  const items = [];
  for await (const i of client.stream('async_gen', { a: 500 })) items.push(i);
  expect(items).toHaveLength(500);
  await expect(client.call('boom', { a: 1 })).rejects.toThrow('boom 1');
  const plain = app.client({ reconnect: false });
  await expect(plain.connect()).rejects.toThrow();
  console.log(app.log.lines);
});
