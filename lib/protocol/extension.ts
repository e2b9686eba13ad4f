import { isRecord } from './values/unknown.js';

/** Extensions that this project adds to rap. One is in force on a connection if both sides named it in DECLARE. */
export const Extension = {
  /** Client event `/_event/cancel` with body `{id}`: stop the call; no answer follows. */
  Cancel: 'cancel',
  /** Flow control of a channel's messages by bytes, per direction. Parameter `window`: bytes that may be in flight. */
  Credit: 'credit',
  /** Life cycle `END`: the sender writes no more, and still reads. */
  HalfClose: 'half_close',
  /** A channel's messages may follow its DECLARE without waiting for the answer. */
  FastOpen: 'fast_open',
  /** Header `one_way: true` on a call: an event, no answer. */
  OneWay: 'one_way',
  /** With `one_way`: an event is answered when it is accepted or refused, and `/_event/event_end` says how many have ended. */
  EventAnswer: 'event_answer',
  /** A call may be answered by a stream of channel messages under its id. */
  StreamReply: 'stream_reply',
  /** Header `accept_stream: true`: on a call, the caller accepts a stream as well as one value; on a channel, it expects a stream. */
  AcceptStream: 'accept_stream',
  /** Client event `/_event/session_close` with body `{session_id}`. */
  Session: 'session',
  /** Header `timeout_ms` on a call and a channel's DECLARE: the remaining time. */
  Deadline: 'deadline',
  /** Parameters `max_frame_bytes`, and of a server `max_in_flight`, `max_channels`: what this side accepts. */
  Limits: 'limits',
  /** Header of CLOSE: `close_code`, and `last_id`, after which no call or channel was accepted. */
  Close: 'close',
  /** Server event `/_event/load`: how busy the server is, several times a second while the connection is in use. */
  Load: 'load',
  /** Values that msgpack has no type for, anywhere in a body, as extension types of msgpack: see `ValueType`. */
  Values: 'values',
} as const;

/** A window is an integer from 1 on; a larger one counts as this. */
const MAX_WINDOW = 2 ** 31;

export type Extension = (typeof Extension)[keyof typeof Extension];

/** Extension name to its parameters, as DECLARE carries it. */
export type ExtensionOffer = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/**
 * What this implementation offers. `windowBytes` is what it lets a peer send ahead on a channel, `limits` those of its own
 * that it tells the peer; JSON bodies have no `values`.
 */
export function offeredExtensions(
  windowBytes: number,
  limits: Readonly<Record<string, number>> = {},
  takesValues = true,
): ExtensionOffer {
  const names = Object.values(Extension).filter((name) => takesValues || name !== Extension.Values);
  const offer = Object.fromEntries(names.map((name) => [name, {}]));
  const window = Math.max(1, Math.floor(Math.min(windowBytes, MAX_WINDOW)));
  return { ...offer, [Extension.Credit]: { window }, [Extension.Limits]: limits };
}

/** The extensions that both sides named, with the peer's parameters. Anything that is not a map of maps offers nothing. */
export type AgreedExtensions = ReadonlyMap<string, Readonly<Record<string, unknown>>>;

export function agreedExtensions(own: ExtensionOffer, offered: unknown): AgreedExtensions {
  const agreed = new Map<string, Readonly<Record<string, unknown>>>();
  if (!isMap(offered)) return agreed;
  for (const name of Object.keys(own)) {
    const parameters = Object.hasOwn(offered, name) ? offered[name] : undefined;
    if (!isMap(parameters)) continue;
    if (name === Extension.Credit && windowOf(parameters) === undefined) continue;
    agreed.set(name, parameters);
  }
  return agreed;
}

/** Bytes that the peer lets this side send ahead on a channel; `undefined` if it did not agree to credits. */
export function sendWindow(agreed: AgreedExtensions): number | undefined {
  const parameters = agreed.get(Extension.Credit);
  return parameters && windowOf(parameters);
}

function windowOf({ window }: Readonly<Record<string, unknown>>): number | undefined {
  return Number.isInteger(window) && (window as number) > 0
    ? Math.min(window as number, MAX_WINDOW)
    : undefined;
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return isRecord(value) && !ArrayBuffer.isView(value);
}
