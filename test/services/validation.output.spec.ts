import 'reflect-metadata';
import { BadRequestException } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { type Observable, of, range } from 'rxjs';
import { z } from 'zod';
import {
  clientStream,
  defineService,
  ParseError,
  type RapHandlers,
  RapService,
  ServerError,
  serverStream,
  type StandardSchema,
  unary,
} from '../../lib/index.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { collect } from '../helpers/streams.js';
import { details } from './validation-details.js';

const scope = testScope();

/** A schema that does what `validate` does. */
const schemaOf = (validate: (value: unknown) => unknown): StandardSchema<void> =>
  ({ '~standard': { version: 1, vendor: 'by hand', validate } }) as StandardSchema<void>;

describe('the output of a call', () => {
  const Small = z.number().max(3);
  const S = defineService('out', {
    value: unary<number, number>({ output: Small }),
    items: serverStream<number, number>({ output: Small }),
    rx: serverStream<number, number>({ output: Small }),
    one: unary<number, number>({ output: Small }),
    known: unary({ output: z.object({ name: z.string() }) }),
    last: clientStream<number, number>({ output: Small }),
  });
  let left = 0;
  @RapService(S)
  class OutController implements RapHandlers<typeof S> {
    value(n: number): number {
      return n;
    }
    async *items(n: number): AsyncGenerator<number> {
      try {
        for (let i = 0; i < n; i++) yield i;
      } finally {
        left += 1;
      }
    }
    rx(n: number): Observable<number> {
      return range(0, n);
    }
    one(n: number): Observable<number> {
      return of(n);
    }
    known(): { name: string } {
      return { name: 'ann', password: 'secret' } as { name: string };
    }
    last(): Observable<number> {
      return of(1, 4);
    }
  }

  it('is what the schema makes of it', async () => {
    const { client } = await scope.serve([OutController]);
    const out = client().service(S);

    expect(await out.value(3)).toBe(3);
    expect(await out.one(3)).toBe(3);
    expect(await out.known()).toEqual({ name: 'ann' });
    expect(await collect(out.items(2))).toEqual([0, 1]);
    expect(await collect(out.rx(2))).toEqual([0, 1]);
  });

  it.each(['value', 'one'] as const)('that does not fit is a fault of the server: %s', async (name) => {
    const { client, log } = await scope.serve([OutController]);

    const error = await rejection(client().service(S)[name](4));

    expect(error).toBeInstanceOf(ServerError);
    expect(error).toMatchObject({ message: 'Internal server error', details: undefined });
    expect(log.lines.join('\n')).toContain(`the output of /out/${name} does not fit its schema: Too big`);
  });

  it.each(['items', 'rx'] as const)(
    'of a stream: the items before arrive, then the fault: %s',
    async (name) => {
      const { client, log } = await scope.serve([OutController]);
      const found: number[] = [];
      left = 0;

      const read = async (): Promise<void> => {
        for await (const item of client().service(S)[name](10)) found.push(item);
      };

      expect(await rejection(read())).toMatchObject({ status: 500, message: 'Internal server error' });
      expect(found).toEqual([0, 1, 2, 3]);
      expect(log.lines.join('\n')).toContain(`the output of /out/${name} does not fit its schema`);
      expect(left).toBe(name === 'items' ? 1 : 0);
    },
  );

  it('of an upload that is an Observable is its last value, and is checked', async () => {
    const { client, log } = await scope.serve([OutController]);

    const error = await rejection(client().service(S).last([]));

    expect(error).toMatchObject({ status: 500, message: 'Internal server error' });
    expect(log.lines.join('\n')).toContain('the output of /out/last does not fit its schema');
  });

  it('with exposeErrors, says what was wrong', async () => {
    const { client } = await scope.serve([OutController], { exposeErrors: true });
    expect((await rejection(client().service(S).value(4))).message).toContain('does not fit its schema');
  });

  it('of a generator that was left early runs its clean-up at once', async () => {
    const { client } = await scope.serve([OutController]);
    left = 0;
    for await (const item of client().service(S).items(1_000_000)) if (item === 1) break;
    await eventually('the generator is left', () => left === 1);
  });
});

describe('a schema that fails itself', () => {
  const broken: [string, () => unknown][] = [
    [
      'throws',
      () => {
        throw new RpcException('secret');
      },
    ],
    [
      'throws an HttpException',
      () => {
        throw new BadRequestException('secret');
      },
    ],
    ['rejects', () => Promise.reject(new Error('secret'))],
    ['gives nothing', () => undefined],
    ['gives nonsense', () => ({ issues: 'secret' })],
    [
      'throws what is not an error',
      () => {
        // oxlint-disable-next-line typescript/only-throw-error -- a schema may throw anything
        throw null;
      },
    ],
  ];
  it.each(broken)('is a fault of the server: one that %s', async (_, validate) => {
    const S = defineService('broken', {
      input: unary({ input: schemaOf(validate) }),
      output: unary({ output: schemaOf(validate) }),
    });
    let ran = 0;
    @RapService(S)
    class BrokenController implements RapHandlers<typeof S> {
      input(): void {
        ran += 1;
      }
      output(): void {}
    }
    const { client, log } = await scope.serve([BrokenController]);
    const service = client().service(S);

    for (const name of ['input', 'output'] as const) {
      const error = await rejection(service[name]());
      expect(error).toBeInstanceOf(ServerError);
      expect(error.message).toBe('Internal server error');
      expect(log.lines.join('\n')).toContain(`the schema of the ${name} of /broken/${name} failed`);
    }
    expect(ran).toBe(0);
  });

  it('with long texts in all of its issues: those that fit arrive', async () => {
    const issues = Array.from({ length: 40 }, () => ({ message: 'ü'.repeat(500), path: ['p'.repeat(500)] }));
    const S = defineService('long', { call: unary({ input: schemaOf(() => ({ issues })) }) });
    @RapService(S)
    class LongController implements RapHandlers<typeof S> {
      call(): void {}
    }
    const { client } = await scope.serve([LongController]);

    const error = await rejection(client().service(S).call());

    expect(details(error).length).toBeGreaterThan(3);
    expect(details(error)[0]).toEqual({ path: 'p'.repeat(256), message: 'ü'.repeat(128) });
    expect(error.message).toMatch(/\(and 3\d more\)$/);
  });

  it('whose issues are hostile still refuses', async () => {
    const hostile = {
      get message(): string {
        throw new Error('gotcha');
      },
    };
    const issues = [
      hostile,
      null,
      { message: 'odd', path: [Symbol('s'), { key: 0 }, 'a b', '__proto__', Number.NaN] },
      { message: 'x'.repeat(100_000), path: Array(10_000).fill('k') },
      { message: 'no path', path: 'text' },
    ];
    const S = defineService('hostile', { call: unary({ input: schemaOf(() => ({ issues })) }) });
    @RapService(S)
    class HostileController implements RapHandlers<typeof S> {
      call(): void {}
    }
    const { client } = await scope.serve([HostileController]);

    const error = await rejection(client().service(S).call());

    expect(error).toBeInstanceOf(ParseError);
    expect(details(error).map(({ path }) => path)).toEqual([
      '',
      '',
      '[Symbol(s)][0]["a b"].__proto__[NaN]',
      expect.stringMatching(/^k(\.k)+$/),
      '',
    ]);
  });
});
