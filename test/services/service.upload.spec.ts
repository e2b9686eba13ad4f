import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import {
  CallCancelledError,
  CallTimeoutError,
  clientStream,
  defineService,
  InvokeError,
  ParseError,
  RapChannel,
  type RapHandlers,
  RapService,
} from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';
import { collect } from '../helpers/streams.js';
import { MathController, MathService } from './math-service.js';

const scope = testScope();

function* endless(): Generator<number> {
  for (;;) yield 1;
}

function* broken(): Generator<number> {
  yield 1;
  throw new RangeError('no more disk');
}

async function* waits(): AsyncGenerator<number> {
  yield 1;
  await new Promise(() => {});
}

describe('an upload', () => {
  const Upload = defineService('upload', {
    first: clientStream<number, number>(),
    fail: clientStream<number, number>(),
    slow: clientStream<number, number>(),
    nothing: clientStream<number>(),
  });
  let ended: Gate;
  let failure: Gate<unknown>;
  @RapService(Upload)
  class UploadController implements RapHandlers<typeof Upload> {
    async first(items: RapChannel<number, never>): Promise<number> {
      return (await items.read()) ?? -1;
    }
    async fail(items: RapChannel<number, never>): Promise<number> {
      await items.read();
      throw new ParseError('the first item is wrong');
    }
    async slow(items: RapChannel<number, never>): Promise<number> {
      try {
        for await (const item of items) if (item < 0) return item;
        return 0;
      } catch (error) {
        failure.open(error);
        throw error;
      } finally {
        ended.open();
      }
    }
    nothing(): void {}
  }
  beforeEach(() => {
    ended = new Gate();
    failure = new Gate();
  });

  it('leaves its source if the result comes before the last item, also while that one is awaited', async () => {
    const { client } = await scope.serve([UploadController]);
    const left = new Gate();
    let asked = 0;
    const source: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({
        next: () =>
          ++asked === 1 ? Promise.resolve({ done: false, value: 7 }) : new Promise<never>(() => {}),
        return: () => {
          left.open();
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };

    expect(await client().service(Upload).first(source)).toBe(7);
    await within('the source is left', left.opened);
  });

  it('takes a generator, and never runs ahead of a server that does not read', async () => {
    const release = new Gate();
    const S = defineService('held', { take: clientStream<string, number>() });
    @RapService(S)
    class HeldController implements RapHandlers<typeof S> {
      async take(items: RapChannel<string, never>): Promise<number> {
        await release.opened;
        return (await collect(items)).length;
      }
    }
    const { client } = await scope.serve([HeldController], { limits: { channelWindowBytes: 4096 } });
    let made = 0;
    const source = function* (): Generator<string> {
      while (made < 64) {
        made += 1;
        yield 'x'.repeat(1024);
      }
    };

    const result = client().service(S).take(source());
    await eventually('the window is full', () => made >= 4);
    await new Promise((resolve) => setImmediate(resolve));
    const ahead = made;
    release.open();

    expect(await result).toBe(64);
    expect(ahead).toBeLessThan(16);
  });

  it('fails with what the handler throws', async () => {
    const { client } = await scope.serve([UploadController]);

    const error = await rejection(client().service(Upload).fail(endless()));

    expect(error).toBeInstanceOf(ParseError);
    expect(error.message).toBe('the first item is wrong');
  });

  it('fails with what its source throws, and the handler hears of it', async () => {
    const { client } = await scope.serve([UploadController]);

    const error = await rejection(client().service(Upload).slow(broken()));

    expect(error).toBeInstanceOf(RangeError);
    expect(await within('the handler', failure.opened)).toMatchObject({
      constructor: InvokeError,
      remoteName: 'RangeError',
      message: 'no more disk',
    });
  });

  it('is cancelled by its signal and its time, on both sides', async () => {
    const { client } = await scope.serve([UploadController]);
    const controller = new AbortController();
    const upload = client().service(Upload).slow(waits(), { signal: controller.signal });
    upload.catch(() => {});
    const timed = client().service(Upload).slow(waits(), { timeoutMs: 30 });

    expect(await rejection(timed)).toBeInstanceOf(CallTimeoutError);
    controller.abort();
    expect(await rejection(upload)).toBeInstanceOf(CallCancelledError);
    await within('the handler ends', ended.opened);
  });

  it('of no items, or without a result, is answered', async () => {
    const { client } = await scope.serve([UploadController]);
    const upload = client().service(Upload);

    expect(await upload.first([])).toBe(-1);
    expect(await upload.nothing([1, 2])).toBeNull();
  });

  it.each([undefined, null, 5, 'text', {}, () => [1]])(
    'of %p, which is not a list of items, sends nothing',
    async (items) => {
      const { client, server } = await scope.serve([MathController]);
      const error = await rejection(
        client()
          .service(MathService)
          .total(items as never),
      );

      expect(error).toBeInstanceOf(ParseError);
      expect(error.message).toContain('the items of /math/total must be an iterable or async iterable, got ');
      expect(server.stats().connections).toBe(0);
    },
  );

  it('of a function that is not an upload fails with a clear error', async () => {
    @Controller()
    class OtherController {
      @MessagePattern('/upload/first') first(): number {
        return 1;
      }
    }
    const { client } = await scope.serve([OtherController]);

    const error = await rejection(client().service(Upload).first([1]));

    expect(error.message).toContain('/upload/first is unary: use call()');
  });
});
