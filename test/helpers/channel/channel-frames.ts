import { DECLARE, type RawFrame, RawSocket } from '../raw-socket.js';

/** Every extension, as a peer of this project offers it. */
export const EXTENSIONS: Readonly<Record<string, Record<string, unknown>>> = {
  cancel: {},
  credit: { window: 256 * 1024 },
  half_close: {},
  fast_open: {},
  one_way: {},
  stream_reply: {},
  session: {},
  deadline: {},
};

/** The DECLARE of a client that offers these extensions. */
export function declareWith(extensions: Readonly<Record<string, unknown>>): RawFrame {
  const [type, id, header, body] = DECLARE;
  return [type, id, header, { ...(body as object), extensions }];
}

/** A raw client that offers these extensions, its handshake done. */
export function openWith(
  port: number,
  extensions: Readonly<Record<string, unknown>> = EXTENSIONS,
): Promise<RawSocket> {
  return RawSocket.open(port, declareWith(extensions));
}

/** Answers DECLARE as a server that knows these extensions. */
export async function answerDeclareWith(
  peer: RawSocket,
  extensions: Readonly<Record<string, unknown>> = EXTENSIONS,
): Promise<RawFrame> {
  const asked = await peer.next((frame) => frame[2]['target'] === '/_event/DECLARE');
  const server_info = { host: ['127.0.0.1', 1], version: '0.1', user_agent: 'test' };
  peer.send([103, asked[1], {}, { conn_id: '1', server_info, extensions }]);
  return asked;
}

/** `[102, id, {channel_life_cycle: DECLARE, target}, metadata]` */
export function declare(
  id: number,
  target: string,
  metadata: unknown = {},
  header: Record<string, unknown> = {},
): RawFrame {
  return [102, id, { channel_life_cycle: 'DECLARE', target: `/default/${target}`, ...header }, metadata];
}

/** The answer to a channel's DECLARE. */
export function declared(id: number): RawFrame {
  return [102, id, { channel_life_cycle: 'DECLARE' }, null];
}

export function msg(id: number, body: unknown, header: Record<string, unknown> = {}): RawFrame {
  return [102, id, { channel_life_cycle: 'MSG', ...header }, body];
}

export function drop(id: number): RawFrame {
  return [102, id, { channel_life_cycle: 'DROP' }, null];
}

export function end(id: number): RawFrame {
  return [102, id, { channel_life_cycle: 'END' }, null];
}

export function credit(id: number, bytes: unknown): RawFrame {
  return [102, id, { channel_life_cycle: 'CREDIT' }, bytes];
}

/** A unary call. */
export function call(
  id: number,
  target: string,
  body: unknown,
  header: Record<string, unknown> = {},
): RawFrame {
  return [101, id, { target: `/default/${target}`, ...header }, body];
}

/** What a channel's frame says it is; for an error frame its status too. */
export function lifeCycle([, , header]: RawFrame): string {
  const { channel_life_cycle: name, status_code: status } = header as Record<string, string | number>;
  return status === undefined ? String(name) : `${String(name)} ${status}`;
}

/** All frames under an id up to DROP, or up to an error. */
export async function untilDrop(raw: RawSocket, id: number): Promise<RawFrame[]> {
  const frames: RawFrame[] = [];
  for (;;) {
    const frame = await raw.next((it) => it[1] === id && it[0] !== 203);
    frames.push(frame);
    if (frame[2]['channel_life_cycle'] === 'DROP' || frame[2]['status_code'] !== undefined) return frames;
  }
}

let pings = 1_000_001;

/**
 * Waits until the peer has seen everything that was sent, and all that it sent before is here. Returns what has come
 * under `id` so far, and takes it.
 */
export async function fence(raw: RawSocket, id?: number): Promise<RawFrame[]> {
  const ping = (pings += 2);
  raw.send([103, ping, { target: '/_event/ping' }, {}]);
  await raw.answer(ping);
  const taken: RawFrame[] = [];
  for (let i = raw.frames.length - 1; i >= 0; i--) {
    if (raw.frames[i]?.[1] === id) taken.unshift(...raw.frames.splice(i, 1));
  }
  return taken;
}

/** The same for a scripted server: pings the client. */
export async function fenceClient(peer: RawSocket): Promise<void> {
  const ping = (pings += 2) + 1;
  peer.send([203, ping, { target: '/_event/ping' }, '']);
  await peer.next((frame) => frame[0] === 203 && frame[1] === ping);
}
