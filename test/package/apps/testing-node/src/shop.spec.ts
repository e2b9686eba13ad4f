import assert from 'node:assert/strict';
import { it, mock } from 'node:test';
import { CallTimeoutError, ConnectionLostError, RapClient } from 'nestjs-rap';
import { createRapTestBed, expectNoLeaks, mockClient, mockService } from 'nestjs-rap/testing';
import { MathService, ShopModule } from './shop.js';

it('serves a module with mocks, faults and a clock', async () => {
  const price = mock.fn((_name: string) => 7);
  const bed = await createRapTestBed({
    modules: [ShopModule],
    overrides: [
      { provide: 'STOCK', useValue: mockClient({ price }) },
      { provide: 'TAX', useValue: 2 },
    ],
    clock: 'manual',
    logger: false,
  });
  assert.ok(bed.client instanceof RapClient);
  assert.equal(await bed.client.call<number>('total', 'tea'), 9);
  assert.deepEqual(price.mock.calls[0]?.arguments, ['tea']);
  const late = assert.rejects(bed.client.call('never', undefined, { timeoutMs: 3_000 }), CallTimeoutError);
  await bed.clock.advance(3_000);
  await late;
  const lost = assert.rejects(bed.client.call('never'), ConnectionLostError);
  await bed.client.ping();
  bed.faults.disconnect();
  await lost;
  await bed.close();
});

it('has methods that can be spied on', async () => {
  const math = mockService(MathService, { sum: mock.fn(({ a, b }: { a: number; b: number }) => a + b) });
  assert.equal(await math.sum({ a: 1, b: 2 }), 3);
  mock.method(math, 'sum', () => Promise.resolve(9));
  assert.equal(await math.sum({ a: 1, b: 2 }), 9);
});

it('says which bed was not closed', async () => {
  const forgotten = createRapTestBed({ logger: false });
  await assert.rejects(expectNoLeaks(), /test bed \d+ \(made at .*shop\.spec\.js:\d+:\d+\) was not closed/);
  await (await forgotten).close();
  await expectNoLeaks();
});
