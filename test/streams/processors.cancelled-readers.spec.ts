import 'reflect-metadata';
import { CallTimeoutError, RapProcessor } from '../../lib/index.js';
import { eventually, rejection, testScope, turn, within } from '../helpers/async.js';
import {
  FeedController,
  probe,
  type Source,
  TIMES,
  watchCancelledReaders,
  WAYS_TO_CANCEL,
} from '../helpers/cancelled-readers.js';
import { idle } from '../helpers/streams.js';

const scope = testScope();
watchCancelledReaders();

describe('through processors', () => {
  class Slow extends RapProcessor {
    override async processRequest(): Promise<void> {
      await turn();
    }
    override async processResponse(): Promise<void> {
      await turn();
    }
  }

  it.each(Object.keys(WAYS_TO_CANCEL).flatMap((way) => [0, 1, 3].map((count) => [way, count] as const)))(
    `that take their time: left by %s after %d items, ${TIMES} times`,
    async (way, count) => {
      const test = await scope.serve([FeedController], { processors: [new Slow()] });
      const client = test.client({ processors: [new Slow()] });
      const source: Source = (...args) => client.stream('feed', ...args);
      for (let i = 1; i <= TIMES; i++) {
        await WAYS_TO_CANCEL[way]?.(source, count, () => eventually('it runs', () => probe.started === i));
        await eventually('it has ended', () => probe.ended === i);
      }
      await idle(test);
      expect(probe).toMatchObject({ started: TIMES, ended: TIMES, aborted: TIMES });
      expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
    },
  );

  /** Holds the request, or answer, of this number for ever, of each stream. */
  class Stuck extends RapProcessor {
    readonly #seen = new WeakMap<object, number>();

    constructor(
      private readonly kind: 'request' | 'response',
      private readonly number: number,
    ) {
      super();
    }

    override processRequest(_: unknown, context: object): void | Promise<void> {
      return this.#hold('request', context);
    }

    override processResponse(_: unknown, context: object): void | Promise<void> {
      return this.#hold('response', context);
    }

    #hold(kind: string, context: object): void | Promise<void> {
      if (kind !== this.kind) return;
      const count = (this.#seen.get(context) ?? 0) + 1;
      this.#seen.set(context, count);
      if (count === this.number) return new Promise(() => {});
    }
  }

  const REQUESTS = { DECLARE: 1, 'its parameters': 2 };
  const RESPONSES = { 'the answer to DECLARE': 1, 'the first item': 2 };

  describe.each(Object.keys(WAYS_TO_CANCEL))('that are stuck, left by %s', (way) => {
    it.each(Object.entries(REQUESTS))(
      `with %s: the server runs nothing, ${TIMES} times`,
      async (_, number) => {
        const test = await scope.serve([FeedController]);
        const client = test.client({ processors: [new Stuck('request', number)] });
        await client.connect();
        for (let i = 0; i < TIMES; i++) {
          await WAYS_TO_CANCEL[way]?.((...args) => client.stream('feed', ...args), 0, turn);
          expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
        }
        await idle(test);
        expect(probe.started).toBe(0);
      },
    );

    it.each(Object.entries(RESPONSES))(`with %s: the handler ends, ${TIMES} times`, async (_, number) => {
      const test = await scope.serve([FeedController]);
      const client = test.client({ processors: [new Stuck('response', number)] });
      // of the server's view, an item has come
      const source: Source = (_count, options) => client.stream('feed', 1, options);
      for (let i = 1; i <= TIMES; i++) {
        await WAYS_TO_CANCEL[way]?.(source, 0, () => eventually('it runs', () => probe.started === i));
        await eventually('it has ended', () => probe.ended === i);
      }
      await idle(test);
      expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
    });

    it.each(Object.entries(RESPONSES))(`with %s of a stream that has ended`, async (_, number) => {
      const test = await scope.serve([FeedController]);
      const client = test.client({ processors: [new Stuck('response', number)] });
      const source: Source = (count, options) => client.stream('short', count, options);
      for (let i = 1; i <= TIMES; i++) {
        await WAYS_TO_CANCEL[way]?.(source, 0, () => eventually('it has ended', () => probe.ended === i));
      }
      await idle(test);
      expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
    });
  });

  it.each(Object.entries(RESPONSES))(
    'that are stuck with %s: a time limit ends the stream',
    async (_, number) => {
      const test = await scope.serve([FeedController]);
      const client = test.client({ processors: [new Stuck('response', number)] });
      const limited = client.stream('short', 0, { timeoutMs: 200 })[Symbol.asyncIterator]();
      const failed = rejection(limited.next());
      await eventually('it has ended', () => probe.ended === 1);
      expect(await within('the limit', failed)).toBeInstanceOf(CallTimeoutError);
    },
  );
});
