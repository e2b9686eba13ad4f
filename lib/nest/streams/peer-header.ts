import { type Header, RESERVED_KEYS } from '../../protocol/frame.js';
import { setEach } from '../../protocol/values/own-property.js';
import { isThenable } from '../../protocol/values/unknown.js';
import type { Channel } from '../../rpc/channel/channel.js';
import type { ChannelMessage } from '../../rpc/channel/message-queue.js';
import { forgettable } from '../errors/forgettable.js';

/** Gets the headers that the application on the other side has set: `onHeader` of a call. */
export type HeaderListener = (header: Readonly<Record<string, unknown>>) => void;

const RESERVED: ReadonlySet<string> = new Set(RESERVED_KEYS);

/** The header of an answer or message without keys of the protocol. */
export function applicationHeader(header: Header | null | undefined): Record<string, unknown> {
  const own = header ? Object.entries(header).filter(([key]) => !RESERVED.has(key)) : [];
  return setEach({}, own);
}

/** Calls a listener. One that is an async function is not waited for: its failure is logged. @throws what it throws */
export function callListener(onHeader: HeaderListener, header: Record<string, unknown>): void {
  const pending: unknown = onHeader(header);
  if (isThenable(pending)) void forgettable(Promise.resolve(pending), 'onHeader');
}

/**
 * Reads a message and tells the channel's listener of its header, or of that of the end. If the listener throws, the channel is
 * cancelled.
 *
 * @throws the fault that ended the channel; what the listener throws
 */
export async function hearing(
  channel: Channel,
  read: Promise<ChannelMessage | undefined>,
): Promise<ChannelMessage | undefined> {
  let message: ChannelMessage | undefined;
  try {
    message = await read;
  } catch (error) {
    tellEnd(channel);
    throw error;
  }
  tell(channel, message);
  return message;
}

/** Tells the listener what came with a message; `undefined`: with the end. @throws what the listener throws */
export function tell(channel: Channel, message: ChannelMessage | undefined): void {
  if (message) tellHeader(channel, message.header);
  else tellEnd(channel);
}

/** Tells the listener what came with the end, once. @throws what the listener throws */
export function tellEnd(channel: Channel): void {
  tellHeader(channel, channel.fault?.header ?? channel.endHeader);
  channel.onHeader = undefined;
}

function tellHeader(channel: Channel, header: Header | undefined): void {
  const { onHeader } = channel;
  if (!onHeader) return;
  const shown = applicationHeader(header);
  if (Object.keys(shown).length === 0) return;
  try {
    callListener(onHeader, shown);
  } catch (error) {
    channel.onHeader = undefined;
    channel.cancel();
    throw error;
  }
}
