import { expectTypeOf } from 'expect-type';
import type { Observable } from 'rxjs';
import * as v from 'valibot';
import { z } from 'zod';
import {
  clientStream,
  defineService,
  duplex,
  type InputOf,
  type OutputOf,
  type RapCallOptions,
  type RapChannel,
  type RapClient,
  type RapContext,
  type RapHandlers,
  type RapIterable,
  type RapServiceClient,
  serverStream,
  unary,
} from '../../lib/index.js';

// The compiler is the test, see services.spec.ts: what must not compile is marked, and if it does, that fails.

interface Terms {
  a: number;
  b: number;
}

const SumSchema = z.object({ a: z.number(), b: z.number() });
const S = defineService('math', {
  sum: unary<Terms, number>({ input: SumSchema, output: z.number() }),
  ping: unary(),
  inferred: unary({ input: z.object({ n: z.number().default(1) }), output: z.date().transform(String) }),
  inOnly: unary({ input: v.object({ n: v.number() }) }),
  outOnly: unary({ output: z.string() }),
  optional: unary<string | undefined>(),
  count: serverStream<{ n: number }, number>(),
  total: clientStream<number, { total: number }>(),
  chat: duplex<string, number>(),
});
type Service = typeof S;
type Handlers = RapHandlers<Service>;
type Client = RapServiceClient<Service>;

/** Never run: only its types count. */
const unused = (..._: unknown[]): void => {};

/** What the caller may call. */
export function whatTheCallerMayCall(): void {
  expectTypeOf<Client['sum']>().toEqualTypeOf<(input: Terms, options?: RapCallOptions) => Promise<number>>();
  expectTypeOf<Client['ping']>().toBeCallableWith();
  expectTypeOf<Client['ping']>().returns.toEqualTypeOf<Promise<void>>();
  expectTypeOf<Client['inferred']>().toEqualTypeOf<
    (input: { n?: number | undefined }, options?: RapCallOptions) => Promise<string>
  >();
  expectTypeOf<Client['inOnly']>().toEqualTypeOf<
    (input: { n: number }, options?: RapCallOptions) => Promise<void>
  >();
  expectTypeOf<Client['outOnly']>().returns.toEqualTypeOf<Promise<string>>();
  expectTypeOf<Client['optional']>().toBeCallableWith();
  expectTypeOf<Client['count']>().returns.toEqualTypeOf<RapIterable<number>>();
  expectTypeOf<Client['total']>().parameter(0).toEqualTypeOf<AsyncIterable<number> | Iterable<number>>();
  expectTypeOf<Client['total']>().returns.toEqualTypeOf<Promise<{ total: number }>>();
  expectTypeOf<Client['chat']>().returns.toEqualTypeOf<Promise<RapChannel<number, string>>>();
}

/** What the handlers get and give. */
export function whatTheHandlersGetAndGive(): void {
  expectTypeOf<Handlers['sum']>().parameters.toEqualTypeOf<[input: Terms, ctx: RapContext]>();
  expectTypeOf<Handlers['sum']>().returns.toEqualTypeOf<number | Promise<number> | Observable<number>>();
  expectTypeOf<Handlers['inferred']>().parameter(0).toEqualTypeOf<{ n: number }>();
  expectTypeOf<Handlers['inferred']>().returns.toEqualTypeOf<Date | Promise<Date> | Observable<Date>>();
  expectTypeOf<Handlers['total']>().parameter(0).toEqualTypeOf<RapChannel<number, never>>();
  expectTypeOf<Handlers['chat']>().parameter(0).toEqualTypeOf<RapChannel<string, number>>();
}

/** Wrong calls do not compile. */
export function wrongCallsDoNotCompile(math: Client): void {
  // @ts-expect-error -- no parameters
  void math.sum();
  // @ts-expect-error -- a parameter of the wrong type
  void math.sum({ a: 1, b: 'x' });
  // @ts-expect-error -- a missing parameter
  void math.sum({ a: 1 });
  // @ts-expect-error -- an extra parameter
  void math.sum({ a: 1, b: 2, c: 3 });
  // @ts-expect-error -- a method that is not there
  void math.multiply({ a: 1, b: 2 });
  // @ts-expect-error -- parameters of a method that has none
  void math.ping(5);
  // @ts-expect-error -- an option that is none
  void math.sum({ a: 1, b: 2 }, { timeout: 5 });
  // @ts-expect-error -- an option of the wrong type
  void math.sum({ a: 1, b: 2 }, { idempotent: 'yes' });
  // @ts-expect-error -- neither is nothing
  void math.optional(null);
  // @ts-expect-error -- one item is no list of them
  void math.total(1);
  // @ts-expect-error -- a stream is no promise
  void math.count({ n: 1 }).then();
  // @ts-expect-error -- an item of the wrong type
  void math.total(['x']);
  // @ts-expect-error -- what is written to the channel has the wrong type
  void math.chat().then((chat) => chat.write(5));
  // @ts-expect-error -- the result is another
  void math.sum({ a: 1, b: 2 }).then((result: string) => result);
  // @ts-expect-error -- the proxy is not to be changed
  math.ping = (): Promise<void> => Promise.resolve();
}

/** Right controllers compile. */
export function rightControllersCompile(): void {
  const Two = defineService('two', {
    call: unary<Terms, number>(),
    count: serverStream<number, number>(),
    total: clientStream<number, number>(),
    chat: duplex<string, number>(),
  });
  class One implements RapHandlers<typeof Two> {
    call(input: Terms, ctx: RapContext): Promise<number> {
      return Promise.resolve(input.a + ctx.correlationId);
    }
    async *count(n: number): AsyncGenerator<number> {
      yield Promise.resolve(n);
    }
    async total(items: AsyncIterable<number>): Promise<number> {
      for await (const item of items) return item;
      return 0;
    }
    async chat(channel: RapChannel<string, number>): Promise<void> {
      await channel.write(1);
    }
    /** More than the contract is for the server to judge. */
    helper(): void {}
  }
  class Other implements RapHandlers<typeof Two> {
    call = (): Observable<number> => null as never;
    *count(): Generator<number> {}
    total = (items: RapChannel<number, never>): number => items.id;
    chat(): void {}
  }
  unused(One, Other);
}

/** Wrong controllers do not compile. */
export function wrongControllersDoNotCompile(): void {
  const Sum = defineService('sum', { sum: unary<Terms, number>() });
  const Count = defineService('count', { count: serverStream<number, number>() });
  const Total = defineService('total', { total: clientStream<number, number>() });
  const Chat = defineService('chat', { chat: duplex<string, number>() });

  // @ts-expect-error -- the method is missing
  class Missing implements RapHandlers<typeof Sum> {}
  class WrongParameter implements RapHandlers<typeof Sum> {
    // @ts-expect-error -- b is no text
    sum(input: { a: number; b: string }): number {
      return input.a;
    }
  }
  class MoreParameters implements RapHandlers<typeof Sum> {
    // @ts-expect-error -- the caller sends no c
    sum(input: Terms & { c: number }): number {
      return input.c;
    }
  }
  class WrongResult implements RapHandlers<typeof Sum> {
    // @ts-expect-error -- the caller expects a number
    sum(): Promise<string> {
      return Promise.resolve('x');
    }
  }
  class NoResult implements RapHandlers<typeof Sum> {
    // @ts-expect-error -- the caller expects a number
    sum(): void {}
  }
  class WrongItem implements RapHandlers<typeof Count> {
    // @ts-expect-error -- the caller expects numbers
    async *count(): AsyncGenerator<string> {
      yield Promise.resolve('x');
    }
  }
  class ArrayIsNoStream implements RapHandlers<typeof Count> {
    // @ts-expect-error -- an array is a value
    count(): number[] {
      return [1];
    }
  }
  class NoStream implements RapHandlers<typeof Count> {
    // @ts-expect-error -- one number is no stream
    count(): Promise<number> {
      return Promise.resolve(1);
    }
  }
  class WrongUpload implements RapHandlers<typeof Total> {
    // @ts-expect-error -- the caller sends numbers
    total(items: AsyncIterable<string>): number {
      unused(items);
      return 1;
    }
  }
  class WrongUploadResult implements RapHandlers<typeof Total> {
    // @ts-expect-error -- the caller expects a number
    total(): string {
      return 'x';
    }
  }
  class WrongIncoming implements RapHandlers<typeof Chat> {
    // @ts-expect-error -- the caller sends texts
    chat(channel: RapChannel<number, number>): void {
      unused(channel);
    }
  }
  class WrongOutgoing implements RapHandlers<typeof Chat> {
    // @ts-expect-error -- the caller reads numbers
    chat(channel: RapChannel<string, string>): void {
      unused(channel);
    }
  }
  unused(
    Missing,
    WrongParameter,
    MoreParameters,
    WrongResult,
    NoResult,
    WrongItem,
    ArrayIsNoStream,
    NoStream,
  );
  unused(WrongUpload, WrongUploadResult, WrongIncoming, WrongOutgoing);
}

/** Wrong contracts do not compile. */
export function wrongContractsDoNotCompile(): void {
  // @ts-expect-error -- the schema gives something else than the types say
  unary<{ a: string }, number>({ input: SumSchema });
  // @ts-expect-error -- the same for what it answers
  unary<Terms, string>({ output: z.number() });
  // @ts-expect-error -- no schema
  unary({ input: { type: 'object' } });
  // @ts-expect-error -- an option that is none
  unary<Terms, number>({ timeout: 5 });
  // @ts-expect-error -- a method that is none
  defineService('x', { sum: () => 1 });
}

/** The proxy of a controller has the types of its methods. */
export function theProxyOfAControllerHasTheTypesOfItsMethods(): void {
  class C {
    readonly field = 1;
    sum(input: Terms, _ctx: RapContext): number {
      return input.a;
    }
    ping(): Promise<void> {
      return Promise.resolve();
    }
    *count(_n: number): Generator<number> {}
    rx(): Observable<string> {
      return null as never;
    }
    chat(_channel: RapChannel<string, number>): void {}
    total(_items: RapChannel<string, never>): Promise<number> {
      return Promise.resolve(1);
    }
    upload(_items: AsyncIterable<string>): Promise<number> {
      return Promise.resolve(1);
    }
  }
  const of = (client: RapClient) => client.controller(C);
  type Proxy = ReturnType<typeof of>;

  expectTypeOf<keyof Proxy>().toEqualTypeOf<'sum' | 'ping' | 'count' | 'rx' | 'chat' | 'total' | 'upload'>();
  expectTypeOf<Proxy['sum']>().toEqualTypeOf<(input: Terms, options?: RapCallOptions) => Promise<number>>();
  expectTypeOf<Proxy['ping']>().toBeCallableWith();
  expectTypeOf<Proxy['ping']>().returns.toEqualTypeOf<Promise<void>>();
  expectTypeOf<Proxy['count']>().returns.toEqualTypeOf<RapIterable<number>>();
  expectTypeOf<Proxy['rx']>().returns.toEqualTypeOf<RapIterable<string>>();
  expectTypeOf<Proxy['chat']>().returns.toEqualTypeOf<Promise<RapChannel<number, string>>>();
  expectTypeOf<Proxy['total']>().parameter(0).toEqualTypeOf<AsyncIterable<string> | Iterable<string>>();
  expectTypeOf<Proxy['total']>().returns.toEqualTypeOf<Promise<number>>();
  expectTypeOf<Proxy['upload']>().parameter(0).toEqualTypeOf<AsyncIterable<string> | Iterable<string>>();
  const calls = (proxy: Proxy): void => {
    // @ts-expect-error -- a parameter of the wrong type
    void proxy.sum({ a: 'x', b: 2 });
    // @ts-expect-error -- a field is no method
    void proxy.field;
  };
  unused(calls);
}

/** What the helper types take from a contract. */
export function whatTheHelperTypesTake(): void {
  expectTypeOf<InputOf<Service, 'sum'>>().toEqualTypeOf<Terms>();
  expectTypeOf<OutputOf<Service, 'sum'>>().toEqualTypeOf<number>();
  expectTypeOf<InputOf<Service, 'ping'>>().toEqualTypeOf<void>();
  expectTypeOf<InputOf<Service, 'inferred'>>().toEqualTypeOf<{ n?: number | undefined }>();
  expectTypeOf<InputOf<Service, 'count'>>().toEqualTypeOf<{ n: number }>();
  expectTypeOf<OutputOf<Service, 'count'>>().toEqualTypeOf<number>();
  expectTypeOf<OutputOf<Service, 'total'>>().toEqualTypeOf<{ total: number }>();
  expectTypeOf<InputOf<Service, 'chat'>>().toEqualTypeOf<string>();
  // @ts-expect-error -- the contract has no such method
  expectTypeOf<InputOf<Service, 'nothing'>>();
}
