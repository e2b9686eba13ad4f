import { jest } from '@jest/globals';
import { expectTypeOf } from 'expect-type';
import {
  defineService,
  duplex,
  type RapChannel,
  type RapClient,
  type RapServer,
  type RapServiceClient,
  serverStream,
  unary,
} from '../../lib/index.js';
import {
  createRapTestBed,
  mockChannel,
  mockClient,
  mockService,
  type RapTestBed,
} from '../../lib/testing.js';

// The compiler is the test, see services.spec.ts: what must not compile is marked, and if it does, that fails.

const S = defineService('math', {
  sum: unary<{ a: number; b: number }, number>(),
  count: serverStream<{ n: number }, number>(),
  chat: duplex<string, string>(),
});

export function mocks(): void {
  expectTypeOf(mockService(S, { sum: ({ a, b }) => a + b })).toEqualTypeOf<RapServiceClient<typeof S>>();
  expectTypeOf(mockService(S, {}).sum).returns.resolves.toBeNumber();
  mockService(S, { sum: jest.fn<(terms: { a: number; b: number }) => number>() });
  mockService(S, {
    *count({ n }) {
      yield n;
    },
    async chat(channel) {
      expectTypeOf(channel).toEqualTypeOf<RapChannel<string, string>>();
      await channel.end();
    },
  });
  // @ts-expect-error -- the result is a number
  mockService(S, { sum: () => 'three' });
  // @ts-expect-error -- the contract has no such method
  mockService(S, { summ: () => 3 });
  // @ts-expect-error -- not a contract
  mockService({}, {});

  expectTypeOf(mockClient({})).toEqualTypeOf<RapClient>();
  mockClient({ sum: ({ a, b }: { a: number; b: number }) => a + b, spy: jest.fn(), plain: (data) => data.a });
  mockClient({ chat: mockChannel<string, number>((channel) => channel.write(1)) });
  // @ts-expect-error -- not a function
  mockClient({ sum: 3 });
}

export async function bed(): Promise<void> {
  const it = await createRapTestBed({
    modules: [],
    overrides: [{ provide: 'A', useValue: 1 }],
    clock: 'manual',
  });
  expectTypeOf(it).toEqualTypeOf<RapTestBed>();
  expectTypeOf(it.client).toEqualTypeOf<RapClient>();
  expectTypeOf(it.server).toEqualTypeOf<RapServer>();
  expectTypeOf(it.client.service(S).sum).returns.resolves.toBeNumber();
  expectTypeOf(it.clock.advance(1)).resolves.toBeVoid();
  class Prices {
    readonly tea = 7;
  }
  expectTypeOf(it.get(Prices)).toEqualTypeOf<Prices>();
  // @ts-expect-error -- no such option
  await createRapTestBed({ module: [] });
  // @ts-expect-error -- no such clock
  await createRapTestBed({ clock: 'fake' });
}
