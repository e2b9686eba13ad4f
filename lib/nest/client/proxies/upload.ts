import { isObject } from '../../../protocol/values/unknown.js';
import { onAbort } from '../../../rpc/context/listeners.js';
import { ChannelError, ParseError } from '../../errors/errors.js';
import type { RapChannel } from '../../streams/rap-channel.js';
import { shown } from '../../errors/shown.js';

/** What an upload sends. */
export type Items<T> = AsyncIterable<T> | Iterable<T>;

/**
 * A string is iterable, too, but its characters are not meant as items.
 *
 * @throws ParseError before a channel is opened
 */
export function assertItems(items: unknown, target: string): asserts items is Items<unknown> {
  if (isIterable(items)) return;
  throw new ParseError(`the items of ${target} must be an iterable or async iterable, got ${shown(items)}`);
}

/** Whether it is an object with items: a string is not. */
export function isIterable(value: unknown): boolean {
  return isObject(value) && (Symbol.asyncIterator in value || Symbol.iterator in value);
}

/**
 * Sends items over a channel, never faster than the server reads, and returns the one message that comes back. The source
 * is closed early if the server has its result before the last item, or the channel ends.
 *
 * @throws what the source throws, of which the server is told, too; what ended the channel
 */
export async function upload<Item, Result>(
  channel: RapChannel<Result, Item>,
  items: Items<Item>,
  target: string,
): Promise<Result> {
  let failure: { readonly error: unknown } | undefined;
  const sending = send(channel, items).catch((error: unknown) => {
    if (channel.isClosed) return; // the reader below knows why
    failure = { error };
    channel.close(error);
  });
  try {
    const result = await channel.read();
    if (result !== undefined) return result;
  } catch (error) {
    if (!failure) throw error;
  }
  await sending;
  if (failure) throw failure.error;
  throw new ChannelError(`${target} ended without a result`);
}

async function send<Item>(channel: RapChannel<unknown, Item>, items: Items<Item>): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const leave = (): void => {
    try {
      // an error of a source that is not wanted any more is ignored
      Promise.resolve(iterator.return?.()).catch(() => {});
    } catch {
      // the same
    }
  };
  const unlisten = onAbort(channel.signal, leave);
  try {
    if (channel.isClosed) return leave();
    for (;;) {
      const next = await iterator.next();
      if (next.done || channel.isClosed) break;
      await channel.write(next.value);
    }
  } finally {
    unlisten();
  }
  if (!channel.isClosed) await channel.end();
}
