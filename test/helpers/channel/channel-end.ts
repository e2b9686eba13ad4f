import { Fault } from '../../../lib/protocol/fault.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import type { ChannelMessage } from '../../../lib/rpc/channel/message-queue.js';
import { outcomeOf, type Outcome } from '../outcome.js';

export const STEPS = [
  'write',
  'tryWrite',
  'unsendable',
  'read',
  'leave',
  'poll',
  'end',
  'close',
  'fail',
  'cancel',
  'accept',
  'abandon',
  'deliver',
  'process',
  'cut',
] as const;

/** What happens, on which conversation, by which side, and how much of it. */
export type Step = readonly [kind: (typeof STEPS)[number], talk: number, byClient: boolean, amount: number];

const UNSENDABLE = 2n ** 70n;

/** What a side fails with, and what one cancels with. */
export const failure = new Fault({ status: 500, message: 'the other side failed' });
export const cancellation = new Fault({ status: 1006, message: 'cancelled here' });

/** One side of a conversation: what it did, and what came of it. */
export class End {
  channel: Channel | undefined;
  /** Numbers of what was written, with their outcomes, in the order of the writes. */
  readonly writes: { readonly place: number; readonly outcome: Outcome<void> }[] = [];
  /** What was read, in order; a number is a message that was there already. */
  readonly reads: (Outcome<ChannelMessage | undefined> | number)[] = [];
  /** Reads that were given up before anything came. */
  readonly left = new Set<unknown>();
  readonly ends: Outcome<void>[] = [];
  /** How this side ended the channel, if it did. */
  act: 'close' | 'fail' | 'cancel' | undefined;
  /** Whether the channel was over with that: processors may hold its end back. */
  isActDone = false;
  closedTimes = 0;
  /** What went wrong, seen as it happened. */
  defect: string | undefined;
  #places = 0;
  #leave = (): void => {};

  constructor(readonly name: string) {}

  attach(channel: Channel): void {
    this.channel = channel;
    channel.whenClosed(() => (this.closedTimes += 1));
  }

  take([kind, , , amount]: Step): void {
    const { channel } = this;
    if (!channel) return;
    switch (kind) {
      case 'write':
      case 'unsendable': {
        const place = this.#places++;
        const body = [place, kind === 'write' ? 'x'.repeat(amount) : UNSENDABLE];
        this.writes.push({ place, outcome: outcomeOf(channel.write(body)) });
        return;
      }
      case 'tryWrite':
        if (
          !channel.isEnding &&
          this.ends.length === 0 &&
          channel.tryWrite([this.#places, 'x'.repeat(amount)])
        ) {
          this.writes.push({ place: this.#places++, outcome: outcomeOf(Promise.resolve()) });
        }
        return;
      case 'read':
        this.reads.push(outcomeOf(channel.read()));
        return;
      case 'leave':
        this.#leave();
        this.reads.push(this.#leavableRead(channel));
        return;
      case 'poll':
        this.poll();
        return;
      case 'end':
        this.ends.push(outcomeOf(channel.end()));
        return;
      case 'close':
      case 'fail':
      case 'cancel':
        if (channel.isClosed || (kind !== 'cancel' && channel.isEnding)) return;
        this.act = kind;
        if (kind === 'cancel') channel.cancel(cancellation);
        else if (kind === 'fail') channel.close(failure, 'ServerError');
        else channel.close();
        this.isActDone = channel.isClosed;
    }
  }

  /** A read whose reader leaves with the next one of its kind, if nothing has come by then. */
  #leavableRead(channel: Channel): Outcome<ChannelMessage | undefined> {
    let hasLeft = false;
    const read = outcomeOf(
      new Promise<ChannelMessage | undefined>((resolve, reject) => {
        const leave = channel.readInto({
          resolve: (message) => {
            if (hasLeft) this.defect = 'a reader that has left gets a message';
            resolve(message);
          },
          reject,
        });
        this.#leave = () => {
          leave();
          hasLeft = true;
          this.left.add(read);
        };
      }),
    );
    return read;
  }

  /** Whether a read waits whose reader has not left. */
  get isReading(): boolean {
    return this.reads.some(
      (read) => typeof read !== 'number' && read.state === 'pending' && !this.left.has(read),
    );
  }

  poll(): boolean {
    const message = this.channel?.poll();
    if (message) this.reads.push(placeOf(message));
    return message !== undefined;
  }

  /** Places of what was read. */
  get received(): number[] {
    const places: number[] = [];
    let isOver = false;
    for (const read of this.reads) {
      const place = typeof read === 'number' ? read : read.value && placeOf(read.value);
      if (place === undefined) isOver ||= typeof read !== 'number' && read.state !== 'pending';
      else if (isOver) throw new Error(`the ${this.name} reads ${place} after the end`);
      else places.push(place);
    }
    return places;
  }

  get hasEnded(): boolean {
    return this.ends.some(({ state }) => state === 'resolved');
  }

  /** Places of what was sent, as this side was told. */
  get sent(): number[] {
    return this.writes.filter(({ outcome }) => outcome.state === 'resolved').map(({ place }) => place);
  }
}

function placeOf({ body }: ChannelMessage): number {
  return (body as [number])[0];
}
