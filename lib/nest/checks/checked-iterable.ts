import { leaveEarly } from '../streams/stream-source.js';
import { type Check, checked } from '../validation/standard-schema.js';

/** The items of a stream. One that does not fit ends it, and its source. */
export class CheckedIterable implements AsyncIterable<unknown> {
  constructor(
    private readonly source: AsyncIterable<unknown> | Iterable<unknown>,
    private readonly check: Check,
  ) {}

  [Symbol.asyncIterator](): AsyncIterator<unknown> {
    const { source, check } = this;
    const iterator =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
    const leave = (): Promise<void> => leaveEarly(source, iterator);
    return {
      async next() {
        const result = await iterator.next();
        if (result.done) return result;
        try {
          return { done: false, value: await checked(check, result.value) };
        } catch (error) {
          await leave();
          throw error;
        }
      },
      // at once, also while a value is awaited: that is how a cancelled generator hears of it
      async return() {
        await leave();
        return { done: true, value: undefined };
      },
    };
  }
}
