import { CallTimeoutError, ConnectionLostError, RapClient } from 'nestjs-rap';
import {
  createRapTestBed,
  expectNoLeaks,
  mockClient,
  mockService,
  type RapTestBed,
} from 'nestjs-rap/testing';
import { MathService, ShopModule } from './shop';

const price = jest.fn((_name: string) => 7);

function makeBed(): Promise<RapTestBed> {
  return createRapTestBed({
    modules: [ShopModule],
    overrides: [
      { provide: 'STOCK', useValue: mockClient({ price }) },
      { provide: 'TAX', useValue: 2 },
    ],
    clock: 'manual',
    logger: false,
  });
}

it('serves a module with mocks, faults and a clock', async () => {
  const bed = await makeBed();
  expect(bed.client).toBeInstanceOf(RapClient);
  expect(await bed.client.call<number>('total', 'tea')).toBe(9);
  expect(price).toHaveBeenCalledWith('tea');
  const late = bed.client.call('never', undefined, { timeoutMs: 3_000 }).catch((error: unknown) => error);
  await bed.clock.advance(3_000);
  expect(await late).toBeInstanceOf(CallTimeoutError);
  const lost = bed.client.call('never').catch((error: unknown) => error);
  await bed.client.ping();
  bed.faults.disconnect();
  expect(await lost).toBeInstanceOf(ConnectionLostError);
  await bed.close();
});

it('has methods that can be spied on', async () => {
  const math = mockService(MathService, { sum: jest.fn(({ a, b }: { a: number; b: number }) => a + b) });
  expect(await math.sum({ a: 1, b: 2 })).toBe(3);
  const spy = jest.spyOn(math, 'sum').mockResolvedValueOnce(9);
  expect(await math.sum({ a: 1, b: 2 })).toBe(9);
  expect(spy).toHaveBeenCalledTimes(1);
});

it('says which bed was not closed', async () => {
  const forgotten = createRapTestBed({ providers: [], logger: false });
  await expect(expectNoLeaks()).rejects.toThrow(
    /test bed \d+ \(made at .*shop\.spec\.ts:\d+:\d+\) was not closed/,
  );
  await (await forgotten).close();
  await expectNoLeaks();
});
