import type { Frame } from '../../../lib/protocol/frame.js';
import type { PendingCall } from '../../../lib/rpc/client/pending-call.js';
import { PeerPair, RecordingSink, requestOf } from '../../helpers/peer-pair.js';

/** A generator of numbers that is the same in each run. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 7919 + 1;
  }

  below(count: number): number {
    this.#state = (this.#state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((this.#state / 2_147_483_648) * count);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

const TYPES = [101, 102, 103, 203] as const;
const HEADERS: readonly Record<string, unknown>[] = [
  {},
  { target: '/default/x' },
  { target: '/_event/ping' },
  { target: '/_event/DROP' },
  { target: '/_event/cancel' },
  { target: '/_event/session_close' },
  { target: '/_event/Server Error' },
  { target: '/_event/nope' },
  { target: 7 },
  { status_code: 301 },
  { status_code: 404 },
  { status_code: 'x' },
  { status_code: 1008, channel_life_cycle: 'DROP' },
  { target: '/default/x', one_way: true },
  { target: '/default/x', timeout_ms: 5 },
  { channel_life_cycle: 'DECLARE', target: '/default/x' },
  { channel_life_cycle: 'MSG' },
  { channel_life_cycle: 'END' },
  { channel_life_cycle: 'CREDIT' },
  { channel_life_cycle: 'DROP' },
  { channel_life_cycle: 'NOPE' },
];
/** Frames that end a connection, and so a run: they come seldom. */
const LAST_HEADERS: readonly Record<string, unknown>[] = [
  { target: '/_event/DECLARE' },
  { target: '/_event/CLOSE' },
  { target: '/_event/shutdown' },
];
const BODIES: readonly unknown[] = [
  null,
  '',
  'x',
  5,
  1e9,
  -1,
  {},
  [],
  { id: 5 },
  { session_id: 's' },
  Buffer.alloc(300),
];

function randomFrame(dice: Dice): Frame {
  const header = dice.below(60) === 0 ? dice.pick(LAST_HEADERS) : dice.pick(HEADERS);
  return [dice.pick(TYPES), 1 + dice.below(24), header, dice.pick(BODIES)];
}

const NOTHING = (): void => {};

/** One run: everything that either side, or a hostile one, may do, in any order. */
class Run {
  readonly pair: PeerPair;
  readonly sinks: RecordingSink[] = [];
  readonly abandoned = new Set<RecordingSink>();
  readonly #calls: { call: PendingCall; sink: RecordingSink }[] = [];

  constructor(private readonly dice: Dice) {
    this.pair = new PeerPair({
      limits: {
        maxInFlight: 4,
        maxQueuedCalls: 4,
        maxChannels: 3,
        channelWindowBytes: 500,
        sendBufferSoftBytes: 2_000,
        sendBufferHardBytes: 20_000,
      },
    });
  }

  play(steps: number): void {
    const { pair, dice } = this;
    if (dice.below(20) > 0) pair.open();
    else {
      pair.server.start();
      pair.client.start();
    }
    for (let i = 0; i < steps; i++) this.#step();
  }

  #step(): void {
    const { pair, dice } = this;
    const wire = dice.pick([pair.links.toClient, pair.links.toServer]);
    const running = pair.serverOwner.calls;
    switch (dice.below(17)) {
      case 0:
      case 1:
      case 2:
        return this.#call();
      case 3:
        return this.#abandon();
      case 4:
      case 5:
        return running.length > 0 ? dice.pick(running).reply(dice.pick(BODIES)) : undefined;
      case 6:
        return running.length > 0 ? dice.pick(running).ended() : undefined;
      case 7:
        return this.#limit();
      case 8:
        return wire.inject(randomFrame(dice));
      case 9:
        return wire.hold();
      case 10:
        return wire.release(dice.pick([1, 3, 100, Infinity]));
      case 11:
        return this.#ping();
      case 12:
        return this.#channel();
      case 13:
        return pair.pass(dice.below(30));
      case 14:
        return dice.below(40) === 0 ? pair.server.drain(100) : undefined;
      case 15:
        return dice.below(60) === 0 ? dice.pick([pair.server, pair.client]).close('chaos') : undefined;
      default:
        return pair.flow();
    }
  }

  #call(): void {
    const sink = new RecordingSink();
    const body = this.dice.pick([...BODIES, 2n ** 70n]);
    const call = this.pair.client.call(requestOf(body, { timeoutMs: 1 + this.dice.below(200) }), sink);
    this.sinks.push(sink);
    this.#calls.push({ call, sink });
  }

  #abandon(): void {
    if (this.#calls.length === 0) return;
    const { call, sink } = this.dice.pick(this.#calls);
    if (!call.settled) this.abandoned.add(sink);
    call.abandon();
  }

  #limit(): void {
    const running = this.pair.serverOwner.calls.filter(
      (call) => !call.settled && call.timeLeftMs === undefined,
    );
    if (running.length > 0) this.dice.pick(running).limitRun(1 + this.dice.below(50));
  }

  #ping(): void {
    const sink = new RecordingSink();
    this.sinks.push(sink);
    this.dice.pick([this.pair.client, this.pair.server]).measurePing(sink);
  }

  #channel(): void {
    const { pair, dice } = this;
    const served = pair.serverOwner.channels;
    const side = dice.below(3);
    if (side === 0 || served.length === 0) {
      if (pair.client.state === 'open') pair.client.openChannel(requestOf({}));
      return;
    }
    const { channel } = dice.pick(served);
    if (side === 1) channel.write(dice.pick(BODIES)).catch(NOTHING);
    else if (dice.below(2) === 0) channel.read().catch(NOTHING);
    else channel.close();
  }
}

it.each(Array.from({ length: 300 }, (_, i) => i + 1))(
  'settles everything once and leaves nothing, whatever comes in whatever order (seed %i)',
  (seed) => {
    const run = new Run(new Dice(seed));
    run.play(150);
    run.pair.end();
    for (const sink of run.sinks) {
      expect(sink.outcomes.length).toBe(run.abandoned.has(sink) ? 0 : 1);
    }
  },
);
