import { Readable } from 'node:stream';
import { expectTypeOf } from 'expect-type';
import type { Observable } from 'rxjs';
import type { RapCallOptions, RapChannel, RapClient, RapContext, RapIterable } from '../../lib/index.js';

// The compiler is the test, see services.spec.ts: `client.controller()` of classes as they are written.

interface Terms {
  a: number;
  b: number;
}

class UserDto {
  name = '';
  constructor(private readonly id: number) {}
  shown(): string {
    return `${this.id} ${this.name}`;
  }
}

abstract class Crud<T> {
  find(_id: string): Promise<T> {
    return null as never;
  }
  all(): Observable<T> {
    return null as never;
  }
  protected hidden(): void {}
}

/* oxlint-disable typescript/no-explicit-any -- what users write */
class Controller extends Crud<UserDto> {
  static make(): void {}
  arrow = (x: number): number => x + this.own();
  anyInput(x: any): number {
    return x as number;
  }
  anyInputWithContext(x: any, _ctx: RapContext): number {
    return x as number;
  }
  anyStream(_x: any): AsyncIterable<number> {
    return null as never;
  }
  anyResult(x: Terms): any {
    return x;
  }
  anyLater(x: Terms): Promise<any> {
    return Promise.resolve(x);
  }
  unknowns(x: unknown): Promise<unknown> {
    return Promise.resolve(x);
  }
  optional(x?: Terms): number {
    return x?.a ?? 0;
  }
  defaults(x: Terms = { a: 1, b: 2 }, ctx?: RapContext): number {
    return x.a + (ctx?.correlationId ?? 0);
  }
  onlyContext(ctx: RapContext): string {
    return ctx.name;
  }
  maybeContext(ctx?: RapContext): string {
    return ctx?.name ?? '';
  }
  nothing(): void {}
  list(x: readonly number[]): string[] {
    return x.map(String);
  }
  text(x: string): Promise<string> {
    return Promise.resolve(x);
  }
  collection(x: Set<number>): Map<string, number> {
    return new Map(Array.from(x, (n) => [`${n}`, n]));
  }
  union(x: Terms | string): Terms | undefined {
    return typeof x === 'string' ? undefined : x;
  }
  bytes(x: Uint8Array): Buffer {
    return Buffer.from(x);
  }
  dto(x: UserDto): UserDto {
    return x;
  }
  generic<T>(x: T): T {
    return x;
  }
  *generator(n: number): Generator<number, string> {
    yield n;
    return '';
  }
  async *asyncGenerator(_n: number): AsyncGenerator<Terms> {}
  iterable(): AsyncIterable<string> {
    return null as never;
  }
  generatorLater(): Promise<AsyncGenerator<number>> {
    return null as never;
  }
  readable(): Readable {
    return null as never;
  }
  chat(c: RapChannel<string, number>, _ctx: RapContext): Promise<void> {
    return c.closed;
  }
  anyChat(_c: RapChannel): void {}
  upload(_c: RapChannel<number, never>): Observable<number> {
    return null as never;
  }
  get accessor(): number {
    return this.own();
  }
  private own(): number {
    return 1;
  }
}
/* oxlint-enable typescript/no-explicit-any */

const proxyOf = (client: RapClient) => client.controller(Controller);
type Proxy = ReturnType<typeof proxyOf>;

/** Values are promises of what the method gives, whatever way it gives it. */
export function values(): void {
  expectTypeOf<Proxy['find']>().toEqualTypeOf<
    (input: string, options?: RapCallOptions) => Promise<UserDto>
  >();
  expectTypeOf<Proxy['list']>().toEqualTypeOf<
    (input: readonly number[], options?: RapCallOptions) => Promise<string[]>
  >();
  expectTypeOf<Proxy['text']>().returns.toEqualTypeOf<Promise<string>>();
  expectTypeOf<Proxy['collection']>().returns.toEqualTypeOf<Promise<Map<string, number>>>();
  expectTypeOf<Proxy['collection']>().parameter(0).toEqualTypeOf<Set<number>>();
  expectTypeOf<Proxy['union']>().parameter(0).toEqualTypeOf<Terms | string>();
  expectTypeOf<Proxy['union']>().returns.toEqualTypeOf<Promise<Terms | undefined>>();
  expectTypeOf<Proxy['bytes']>().returns.toEqualTypeOf<Promise<Buffer>>();
  expectTypeOf<Proxy['dto']>().parameter(0).toEqualTypeOf<UserDto>();
  expectTypeOf<Proxy['generic']>().returns.toEqualTypeOf<Promise<unknown>>();
  expectTypeOf<Proxy['unknowns']>().returns.toEqualTypeOf<Promise<unknown>>();
  expectTypeOf<Proxy['arrow']>().returns.toEqualTypeOf<Promise<number>>();
}

/** `any` is a value that may be left out, and no stream. */
export function anything(proxy: Proxy): void {
  void proxy.anyInput({ deep: 1 }, { timeoutMs: 5 });
  void proxy.anyInputWithContext('x');
  expectTypeOf<Proxy['anyInput']>().returns.toEqualTypeOf<Promise<number>>();
  expectTypeOf<Proxy['anyInputWithContext']>().returns.toEqualTypeOf<Promise<number>>();
  expectTypeOf<Proxy['anyStream']>().returns.toEqualTypeOf<RapIterable<number>>();
  expectTypeOf<ReturnType<Proxy['anyResult']>>().toHaveProperty('then');
  expectTypeOf<Awaited<ReturnType<Proxy['anyResult']>>>().toBeAny();
  expectTypeOf<ReturnType<Proxy['anyLater']>>().toHaveProperty('then');
  expectTypeOf<Awaited<ReturnType<Proxy['anyLater']>>>().toBeAny();
}

/** What may be left out, and what nobody sends: the context. */
export function parameters(): void {
  expectTypeOf<Proxy['optional']>().toBeCallableWith();
  expectTypeOf<Proxy['defaults']>().toBeCallableWith();
  expectTypeOf<Proxy['onlyContext']>().toBeCallableWith();
  expectTypeOf<Proxy['maybeContext']>().toEqualTypeOf<Proxy['onlyContext']>();
  expectTypeOf<Proxy['nothing']>().returns.toEqualTypeOf<Promise<void>>();
}

/** Everything that gives several values is a stream. */
export function streams(): void {
  expectTypeOf<Proxy['generator']>().returns.toEqualTypeOf<RapIterable<number>>();
  expectTypeOf<Proxy['asyncGenerator']>().returns.toEqualTypeOf<RapIterable<Terms>>();
  expectTypeOf<Proxy['iterable']>().returns.toEqualTypeOf<RapIterable<string>>();
  expectTypeOf<Proxy['generatorLater']>().returns.toEqualTypeOf<RapIterable<number>>();
  expectTypeOf<Proxy['readable']>().returns.toExtend<AsyncIterable<unknown>>();
  expectTypeOf<Proxy['all']>().returns.toEqualTypeOf<RapIterable<UserDto>>();
}

/** Channels are seen from the other side. */
export function channels(): void {
  expectTypeOf<Proxy['chat']>().returns.toEqualTypeOf<Promise<RapChannel<number, string>>>();
  expectTypeOf<Proxy['anyChat']>().returns.toEqualTypeOf<Promise<RapChannel>>();
  expectTypeOf<Proxy['upload']>().returns.toEqualTypeOf<Promise<number>>();
}

/** Only what an instance has for all. */
export function wrongOnesDoNotCompile(client: RapClient, proxy: Proxy): void {
  // @ts-expect-error -- private
  void proxy.own();
  // @ts-expect-error -- protected
  void proxy.hidden();
  // @ts-expect-error -- static
  void proxy.make();
  // @ts-expect-error -- no method
  void proxy.accessor;
  // @ts-expect-error -- the server gives the context
  void proxy.onlyContext({ name: 'x' });
  // @ts-expect-error -- an item of the union is wrong
  void proxy.union({ a: 1 });
  // @ts-expect-error -- another class: it has private fields
  void proxy.dto({ name: 'x', shown: () => '' });
  // @ts-expect-error -- no instance can be
  client.controller(Crud);
  // @ts-expect-error -- an instance is no class
  client.controller(new Controller());
}
