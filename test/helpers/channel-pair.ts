import type { Frame } from '../../lib/protocol/frame.js';
import type { Channel } from '../../lib/rpc/channel/channel.js';
import type { IncomingChannel } from '../../lib/rpc/server/incoming-channel.js';
import type { CallRequest } from '../../lib/rpc/client/call-request.js';
import type { Wire } from './linked-links.js';
import { PeerPair, requestOf, type PairOptions } from './peer-pair.js';

/** Both ends of a channel between two peers. */
export interface ChannelEnds {
  readonly client: Channel;
  readonly server: Channel;
  /** The channel as the server's handler has it. */
  readonly incoming: IncomingChannel;
}

export interface ChannelPairOptions extends PairOptions {
  /** Extensions that the client does not offer. */
  readonly without?: readonly string[];
}

/** Two peers that open channels to each other. */
export class ChannelPair extends PeerPair {
  readonly #without: readonly string[];

  constructor(options: ChannelPairOptions = {}) {
    super(options);
    this.#without = options.without ?? [];
  }

  /** Completes the handshake. */
  override open(): this {
    if (this.#without.length === 0) return super.open();
    const { toServer } = this.links;
    this.server.start();
    toServer.lose();
    this.client.start();
    this.flow();
    toServer.release();
    const [type, id, header, body] = toServer.frames[0] as Frame;
    const { extensions } = body as { extensions: object };
    const offered = Object.entries(extensions).filter(([name]) => !this.#without.includes(name));
    toServer.inject([type, id, header, { ...(body as object), extensions: Object.fromEntries(offered) }]);
    this.flow();
    expect([this.client.state, this.server.state]).toEqual(['open', 'open']);
    return this;
  }

  /** Opens a channel to `/default/x`, which the server has not accepted yet. */
  declare(metadata: unknown = null, request: Partial<CallRequest> = {}): ChannelEnds {
    const client = this.client.openChannel({ ...requestOf(metadata, request), ...request });
    this.flow();
    const incoming = this.serverOwner.channels.at(-1);
    if (!incoming) throw new Error('no channel came in');
    return { client, server: incoming.channel, incoming };
  }

  /** Opens a channel that the server accepts. */
  connect(metadata: unknown = null, request: Partial<CallRequest> = {}): ChannelEnds {
    const ends = this.declare(metadata, request);
    expect(ends.incoming.takeSlot()).toBe(true);
    ends.incoming.open();
    this.flow();
    expect([ends.client.state, ends.server.state]).toEqual(['open', 'open']);
    return ends;
  }
}

/** Frames of channels that were sent in a direction: header and body. */
export function channelFrames(
  { frames }: Wire,
  id?: number,
): readonly (readonly [header: object, body: unknown])[] {
  return frames
    .filter(([type, frameId]) => type === 102 && (id === undefined || frameId === id))
    .map(([, , header, body]) => [header, body]);
}

/** Bodies of the messages that wait at one end. */
export function readable(channel: Channel): unknown[] {
  const bodies: unknown[] = [];
  for (let message = channel.poll(); message; message = channel.poll()) bodies.push(message.body);
  return bodies;
}
