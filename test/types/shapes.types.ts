import { Readable } from 'node:stream';
import { type Observable, of } from 'rxjs';
import * as v from 'valibot';
import { z } from 'zod';
import {
  clientStream,
  defineService,
  duplex,
  type RapChannel,
  type RapClient,
  type RapContext,
  type RapHandlers,
  RapService,
  serverStream,
  type StandardSchema,
  unary,
} from '../../lib/index.js';

// The compiler is the test, see services.spec.ts: contracts of the shapes that values have in applications.

type Shape = { kind: 'circle'; r: number } | { kind: 'square'; side: number };
interface Page<T> {
  items: T[];
  next?: string;
}
class UserDto {
  name = '';
}
const ownSchema: StandardSchema<string, number> = null as never;

/* oxlint-disable typescript/no-explicit-any -- what users write */
const S = defineService('shapes', {
  field: unary<{ a?: number }, number | undefined>(),
  maybe: unary<Shape | undefined, number>(),
  nullable: unary<Shape | null, Shape | null>(),
  union: unary<Shape, Shape['kind']>(),
  page: unary<{ q: string }, Page<UserDto>>(),
  list: unary<readonly number[], number[]>(),
  tuple: unary<[number, string], [string, number]>(),
  anything: unary<any, any>(),
  unknowns: unary<unknown, unknown>(),
  nothing: unary(),
  map: unary<Record<string, number>, Map<string, number>>(),
  bytes: unary<Uint8Array, Buffer>(),
  stream: serverStream<{ n: number }, Shape>(),
  readable: serverStream<void, number>(),
  upload: clientStream<Shape, Page<number>>(),
  chat: duplex<Shape, number>(),
  schemas: unary({
    input: z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('a') }),
      z.object({ kind: z.literal('b'), n: z.number() }),
    ]),
    output: z.string().optional(),
  }),
  coerced: serverStream({ input: z.object({ n: z.coerce.number<string>() }), output: z.number() }),
  left: unary({ input: z.object({ a: z.number() }).optional(), output: z.number() }),
  own: unary({ input: ownSchema, output: ownSchema }),
  oneType: unary<Shape>({ timeoutMs: 5, idempotent: true, private: true, doc: 'x', aliases: ['y'] }),
});
/* oxlint-enable typescript/no-explicit-any */

/** Right controllers compile, also without declared results. */
@RapService(S)
export class ShapesController implements RapHandlers<typeof S> {
  constructor(private readonly dependency: string) {}
  field({ a }: { a?: number }) {
    return a;
  }
  maybe(shape?: Shape) {
    return Promise.resolve(shape ? 1 : 0);
  }
  nullable(shape: Shape | null) {
    return shape;
  }
  union(shape: Shape): Observable<Shape['kind']> {
    return of(shape.kind);
  }
  page({ q }: { q: string }) {
    return Promise.resolve({ items: [new UserDto()], next: q });
  }
  list(numbers: readonly number[]) {
    return [...numbers];
  }
  tuple([a, b]: [number, string]): [string, number] {
    return [b, a];
  }
  anything(x: { deep: string }) {
    return x.deep;
  }
  unknowns(x: unknown) {
    return x;
  }
  nothing() {}
  map(x: Record<string, number>) {
    return new Map(Object.entries(x));
  }
  bytes(x: Uint8Array) {
    return Buffer.from(x);
  }
  async *stream({ n }: { n: number }): AsyncGenerator<Shape> {
    yield Promise.resolve({ kind: 'circle' as const, r: n });
  }
  readable() {
    return Readable.from([1, 2]);
  }
  async upload(shapes: AsyncIterable<Shape>) {
    const items: number[] = [];
    for await (const shape of shapes) if (shape.kind === 'circle') items.push(shape.r);
    return { items };
  }
  async chat(channel: RapChannel<Shape, number>, ctx: RapContext) {
    for await (const shape of channel) await channel.write(shape.kind.length + ctx.correlationId);
  }
  schemas(x: { kind: 'a' } | { kind: 'b'; n: number }) {
    return x.kind;
  }
  *coerced({ n }: { n: number }) {
    yield n;
  }
  left(x?: { a: number }) {
    return x?.a ?? 0;
  }
  own(x: number) {
    return `${x}` + this.dependency;
  }
  oneType() {}
}

/** Right calls compile, and give what was declared. */
export async function rightCallsCompile(client: RapClient): Promise<unknown> {
  const s = client.service(S);
  const field: number | undefined = await s.field({});
  await s.maybe();
  await s.maybe(undefined, { timeoutMs: 1, idempotent: true });
  const nullable: Shape | null = await s.nullable(null);
  await s.union({ kind: 'circle', r: 1 });
  const page: Page<UserDto> = await s.page({ q: '' });
  const tuple: [string, number] = await s.tuple([1, 'x']);
  await s.anything();
  await s.anything({ any: 'thing' });
  await s.unknowns();
  await s.nothing();
  await s.nothing(undefined, { timeoutMs: 4 });
  const map: Map<string, number> = await s.map({});
  for await (const shape of s.stream({ n: 1 })) if (shape.kind === 'square') return shape.side;
  for await (const n of s.readable()) if (n > 1) return n;
  const upload: Page<number> = await s.upload([{ kind: 'circle', r: 1 }]);
  const chat = await s.chat({ metadata: 5, timeoutMs: 5 });
  await chat.write({ kind: 'square', side: 1 });
  const read: number | undefined = await chat.read();
  const schemas: string | undefined = await s.schemas({ kind: 'b', n: 1 });
  for await (const n of s.coerced({ n: '5' })) if (n > 1) return n;
  await s.left();
  const own: number = await s.own('x');
  await s.oneType({ kind: 'circle', r: 1 });
  return [field, nullable, page, tuple, map, upload, read, schemas, own];
}

/** Wrong calls do not. */
export async function wrongCallsDoNotCompile(client: RapClient): Promise<void> {
  const s = client.service(S);
  // @ts-expect-error -- a field of the other member of the union
  await s.union({ kind: 'circle', side: 1 });
  // @ts-expect-error -- no member of the union
  await s.union({ kind: 'triangle' });
  // @ts-expect-error -- a parameter that may not be left out
  await s.field();
  // @ts-expect-error -- nothing is sent
  await s.nothing({});
  // @ts-expect-error -- a stream is awaited in a loop of its own kind
  for (const _ of s.stream({ n: 1 }));
  // @ts-expect-error -- no items
  await s.upload();
  // @ts-expect-error -- what goes into the schema, not what comes out
  s.coerced({ n: 5 });
  // @ts-expect-error -- the same for a schema of one's own
  await s.own(5);
  // @ts-expect-error -- no contract
  client.service({ group: 'x' });
  // @ts-expect-error -- a class is no contract
  client.service(ShapesController);
}

type Handlers = RapHandlers<typeof S>;

/** Wrong controllers do not compile. */
export function wrongControllersDoNotCompile(): void {
  class PartOfTheUnion implements Pick<Handlers, 'union'> {
    // @ts-expect-error -- squares come as well
    union(shape: { kind: 'circle'; r: number }): 'circle' {
      return shape.kind;
    }
  }
  // @ts-expect-error -- a private method is nobody's
  class Private implements Pick<Handlers, 'nothing'> {
    private nothing(): void {}
  }
  // @ts-expect-error -- a protected one neither
  class Protected implements Pick<Handlers, 'nothing'> {
    protected nothing(): void {}
  }
  class Text implements Pick<Handlers, 'stream'> {
    // @ts-expect-error -- text is a value
    stream(): string {
      return '';
    }
  }
  class WrongItem implements Pick<Handlers, 'readable'> {
    // @ts-expect-error -- the caller expects numbers
    readable(): Observable<string> {
      return of('');
    }
  }
  class MaybeNothing implements Pick<Handlers, 'maybe'> {
    // @ts-expect-error -- the caller expects a number, always
    maybe(): Promise<number | undefined> {
      return Promise.resolve(undefined);
    }
  }
  class MissingField implements Pick<Handlers, 'page'> {
    // @ts-expect-error -- no items
    page() {
      return Promise.resolve({ next: '' });
    }
  }
  class Generator_ implements Pick<Handlers, 'maybe'> {
    // @ts-expect-error -- a generator is no number
    *maybe(): Generator<number> {
      yield 1;
    }
  }
  class ThirdParameter implements Pick<Handlers, 'field'> {
    // @ts-expect-error -- nobody passes a third one
    field(_input: object, _ctx: RapContext, third: number): number {
      return third;
    }
  }
  class OtherContext implements Pick<Handlers, 'field'> {
    // @ts-expect-error -- the second is the context
    field(_input: object, ctx: { no: number }): number {
      return ctx.no;
    }
  }
  void [PartOfTheUnion, Private, Protected, Text, WrongItem, MaybeNothing, MissingField, Generator_];
  void [ThirdParameter, OtherContext];
}

/** Wrong contracts do not compile. */
export function wrongContractsDoNotCompile(): void {
  // @ts-expect-error -- no methods
  defineService('x');
  // @ts-expect-error -- a group is text
  defineService(5, { nothing: unary() });
  // @ts-expect-error -- not called
  defineService('x', { nothing: unary });
  // @ts-expect-error -- a kind that is none
  defineService('x', { nothing: { kind: 'both' } });
  // @ts-expect-error -- milliseconds are a number
  unary({ timeoutMs: '5' });
  // @ts-expect-error -- a list of them
  unary({ aliases: 'x' });
  // @ts-expect-error -- a boolean
  unary({ private: 'yes' });
  // @ts-expect-error -- the schema of another type
  unary<Shape, number>({ input: v.object({ kind: v.number() }) });
  // @ts-expect-error -- the same for items
  serverStream<Shape, string>({ output: v.number() });
  // @ts-expect-error -- no contract
  RapService({});
}
