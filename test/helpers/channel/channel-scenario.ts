import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import type { IncomingCall } from '../../../lib/rpc/server/incoming-call.js';
import type { IncomingChannel } from '../../../lib/rpc/server/incoming-channel.js';
import type { PendingCall } from '../../../lib/rpc/client/pending-call.js';
import { cancellation, End, failure, type Step } from './channel-end.js';
import { ChannelPair } from './channel-pair.js';
import { Delays, type Processing, Sealing } from './channel-processors.js';
import { ChannelRules } from './channel-rules.js';
import type { LinkedLink } from '../linked-links.js';
import { requestOf } from '../peer-pair.js';

/** Unsent bytes at which channels wait, as the links of a scenario have it: small, so that it is met often. */
const MARK_BYTES = 300;
const REAL_MARK_BYTES = 256 * 1024;

export interface Setup {
  readonly without: readonly string[];
  readonly window: number;
  readonly processing: Processing;
  /** For each conversation, whether it is a channel of the client or a call that the server turns into a stream. */
  readonly talks: readonly ('channel' | 'reply')[];
  readonly steps: readonly Step[];
  /** How the conversations end that have not by then. */
  readonly endings: readonly number[];
}

/** What a server does with a channel that it has not accepted: it refuses it. */
const REFUSALS: ReadonlySet<Step[0]> = new Set(['close', 'fail', 'cancel']);

/** How a side ends a conversation; both end it in order, or wait for the end of the connection. */
const ENDINGS: readonly (readonly Step[0][])[] = [
  ['close'],
  ['fail'],
  ['cancel'],
  ['end'],
  ['end', 'close'],
  [],
];

const IGNORE = (): void => {};
const lost = new Fault({ status: 1006, code: LocalCode.ConnectionLost, message: 'gone', sent: 'unknown' });

/** A channel, or a call that may become one. */
class Talk {
  readonly client = new End('client');
  readonly server = new End('server');
  call: PendingCall | undefined;
  incoming: IncomingChannel | IncomingCall | undefined;
  accepted = false;
  abandoned = false;
  id = 0;
}

/** Channels between two peers, step by step, with all that must hold at the end. Throws if something does not. */
export class ChannelScenario {
  readonly pair: ChannelPair;
  readonly #talks: readonly Talk[];
  readonly #delays: Delays | undefined;
  #cut = false;

  constructor(private readonly setup: Setup) {
    const { without, window, processing } = setup;
    const delays = processing === 'later' ? new Delays() : undefined;
    this.#delays = delays;
    this.pair = new ChannelPair({
      without,
      limits: { channelWindowBytes: window },
      ...(processing !== 'none' && {
        clientProcessors: [new Sealing('client', delays)],
        serverProcessors: [new Sealing('server', delays)],
      }),
    });
    const { pair } = this;
    const { client: clientLink, server: serverLink } = pair.links;
    for (const link of [clientLink, serverLink]) {
      Object.defineProperty(link, 'pendingBytes', {
        get: () => Math.floor((link.out.bytes * REAL_MARK_BYTES) / MARK_BYTES),
      });
    }
    pair.open();
    const agreed = {
      window: without.includes('credit') ? undefined : window,
      halfClose: !without.includes('half_close'),
      fastOpen: !without.includes('fast_open'),
    };
    new ChannelRules(agreed, 'client').watch(pair.client, clientLink);
    new ChannelRules(agreed, 'server').watch(pair.server, serverLink);
    pair.serverOwner.serve = (call) => {
      const talk = this.#find(call.id);
      talk.incoming = call;
    };
    pair.serverOwner.onChannel = (incoming) => {
      pair.serverOwner.channels.push(incoming);
      const talk = this.#find(incoming.id);
      talk.incoming = incoming;
      talk.server.attach(incoming.channel);
    };
    this.#talks = setup.talks.map((kind) => this.#begin(kind));
  }

  async run(): Promise<void> {
    for (const step of this.setup.steps) {
      this.#take(step);
      if (step[0] === 'process') await ticks();
    }
    await this.#quiet();
    await ticks();
    this.#checkWrites();
    this.#checkMessages();
    this.setup.endings.forEach((how, i) => this.#end(this.#talks[i], how));
    await this.#quiet();
    await ticks();
    this.#checkWrites();
    this.#checkMessages();
    if (!this.#cut) {
      const { links, client, server } = this.pair;
      if (links.client.paused || links.server.paused)
        throw new Error('the reading of a connection stays paused');
      if (client.state !== 'open' || server.state !== 'open') throw new Error('the connection was closed');
    }
    this.pair.end();
    await ticks();
    this.#checkEnds();
  }

  #begin(kind: 'channel' | 'reply'): Talk {
    const talk = new Talk();
    const { client } = this.pair;
    if (kind === 'channel') {
      talk.client.attach(client.openChannel(requestOf()));
      talk.id = talk.client.channel?.id ?? 0;
    } else {
      const stream = (channel: Channel): void => talk.client.attach(channel);
      talk.call = client.call(requestOf(), { resolve: IGNORE, reject: IGNORE, stream });
      talk.id = talk.call.id;
    }
    return talk;
  }

  #find(id: number): Talk {
    const talk = this.#talks.find((each) => each.id === id);
    if (!talk) throw new Error(`the server hears of ${id}, which nobody has opened`);
    return talk;
  }

  #take(step: Step): void {
    const [kind, index, byClient, amount] = step;
    const talk = this.#talks[index % this.#talks.length] as Talk;
    if (kind === 'deliver') this.#deliver(byClient, amount);
    else if (kind === 'cut') this.#cutOff(byClient, amount);
    else if (kind === 'process') this.#delays?.release(amount);
    else if (kind === 'accept') this.#accept(talk);
    else if (kind === 'abandon') {
      talk.abandoned ||= talk.call?.settled === false;
      talk.call?.abandon();
    } else if (byClient) talk.client.take(step);
    else if (talk.accepted || REFUSALS.has(kind)) talk.server.take(step);
  }

  /** Some bytes arrive, wherever that cuts a frame. */
  #deliver(byClient: boolean, bytes: number): void {
    const { toServer, toClient, client, server } = this.pair.links;
    const [from, wire, to]: [LinkedLink, typeof toServer, LinkedLink] = byClient
      ? [client, toServer, server]
      : [server, toClient, client];
    const waited = wire.bytes;
    wire.release(1 + bytes);
    const moved = to.receive(wire);
    if (moved && waited > 0 && wire.bytes === 0) from.drained();
  }

  #cutOff(byClient: boolean, how: number): void {
    const { links, client, server } = this.pair;
    this.#cut = true;
    if (how % 3 === 0) (byClient ? client : server).abort(lost);
    else if (how % 3 === 1) (byClient ? links.client : links.server).destroy();
    else (byClient ? client : server).close('enough');
  }

  /** The server accepts a channel, or turns a call into a stream. */
  #accept(talk: Talk): void {
    const { incoming, server } = talk;
    if (!incoming || talk.accepted || this.pair.server.state === 'closed') return;
    talk.accepted = true;
    if ('channel' in incoming) {
      if (!incoming.channel.isClosed) incoming.open();
    } else {
      const stream = incoming.turnIntoStream();
      if (stream) server.attach(stream);
    }
  }

  #end(talk: Talk | undefined, how: number): void {
    if (!talk) return;
    const { client, server } = talk;
    const [by, other] = how % 2 === 0 ? [client, server] : [server, client];
    for (const kind of ENDINGS[Math.floor(how / 2) % ENDINGS.length] ?? []) {
      by.take([kind, 0, true, 0]);
      if (kind === 'end') other.take([kind, 0, true, 0]);
    }
  }

  /** Everything arrives and is read, until nothing moves any more. */
  async #quiet(): Promise<void> {
    const { pair } = this;
    pair.links.toServer.release();
    pair.links.toClient.release();
    for (let round = 0, moved = true; moved; round++) {
      if (round > 400) throw new Error('it never comes to rest');
      pair.flow();
      moved = await this.#processAll();
      for (const talk of this.#talks) {
        this.#accept(talk);
        for (const end of [talk.client, talk.server]) while (end.poll()) moved = true;
      }
      moved ||= pair.links.toServer.bytes + pair.links.toClient.bytes + (this.#delays?.size ?? 0) > 0;
    }
  }

  /** The processors go on with all that they hold back. Whether there was anything. */
  async #processAll(): Promise<boolean> {
    const delays = this.#delays;
    if (!delays) return false;
    await ticks();
    const wasBusy = delays.size > 0;
    for (let count = delays.size; count > 0; count--) delays.release(count * 7);
    await ticks();
    return wasBusy || delays.size > 0;
  }

  /** Whatever happened: once everything was delivered and read, no write and no end waits. */
  #checkWrites(): void {
    for (const talk of this.#talks) {
      for (const { channel, name, writes, ends, isReading, defect } of [talk.client, talk.server]) {
        if (defect) throw new Error(`${name}: ${defect}`);
        const waiting = [...writes.map(({ outcome }) => outcome), ...ends].filter(
          ({ state }) => state === 'pending',
        );
        if (waiting.length > 0) throw new Error(`${waiting.length} writes of the ${name} wait for ever`);
        if (isReading && (channel?.isClosed || channel?.state === 'peerEnded')) {
          throw new Error(`a read of the ${name} waits for ever`);
        }
      }
    }
  }

  /** Nothing is lost, doubled or out of order. */
  #checkMessages(): void {
    for (const { client, server, abandoned } of this.#talks) {
      for (const [from, to] of [
        [client, server],
        [server, client],
      ] as const) {
        const { sent } = from;
        const { received } = to;
        if (received.some((place, i) => place !== sent[i])) {
          throw new Error(`the ${to.name} reads ${received.join()} of ${sent.join()}`);
        }
        const wantsAll = !this.#cut && !to.act && !abandoned && !(this.#delays && isOverBefore(from, to));
        if (wantsAll && received.length < sent.length) {
          throw new Error(`the ${to.name} lacks the last of ${sent.join()}: ${received.join()}`);
        }
      }
    }
  }

  /** Both sides know how it ended, once, and nobody waits. */
  #checkEnds(): void {
    const { clientOwner, serverOwner } = this.pair;
    for (const { client, server } of this.#talks) {
      for (const [own, other, owner] of [
        [client, server, clientOwner],
        [server, client, serverOwner],
      ] as const) {
        const { channel, name } = own;
        if (!channel) continue;
        const { fault, signal } = channel;
        if (!channel.isClosed || own.closedTimes !== 1 || !signal.aborted) {
          throw new Error(`the ${name} was told of the end ${own.closedTimes} times`);
        }
        if (own.isReading) throw new Error(`a read of the ${name} waits for ever`);
        for (const read of own.reads) {
          if (typeof read === 'number' || read.state !== 'rejected') continue;
          if (read.error !== fault)
            throw new Error(`a read of the ${name} rejects with ${String(read.error)}`);
        }
        if (!this.#isToBeExpected(fault, own, other, owner.reason)) {
          throw new Error(`the ${name} ends with ${String(fault)}`);
        }
      }
    }
  }

  /** Whether a side ended by its own act, else by that of the other or by what both agreed on, else with the connection. */
  #isToBeExpected(fault: Fault | undefined, own: End, other: End, reason: Fault | undefined): boolean {
    if (own.act) {
      const isOwn = fault === (own.act === 'cancel' ? cancellation : undefined);
      if (isOwn || own.isActDone || !this.#delays) return isOwn;
    }
    const talk = this.#talks.find(({ client, server }) => client === own || server === own);
    const haveBothEnded = own.hasEnded && other.hasEnded;
    if (other.act === 'fail' && fault?.message === failure.message) return true;
    if (fault === undefined) {
      return haveBothEnded || talk?.abandoned === true || (other.act !== undefined && other.act !== 'fail');
    }
    // what the server has not taken is told apart: it is safe to repeat
    const isReason = fault === reason || (fault.sent === 'no' && fault.message === reason?.message);
    return isReason && (this.#cut || (!other.act && !haveBothEnded));
  }
}

/** Whether messages may be lost in slow processors: the channel was not opened, or its writer has cancelled it. */
function isOverBefore(from: End, { channel }: End): boolean {
  return !channel || from.act === 'cancel';
}

/** Lets the promises that have settled tell so. */
async function ticks(): Promise<void> {
  for (let i = 0; i < 16; i++) await Promise.resolve();
}
