import type { Socket } from 'node:net';
import type { Clock } from '../protocol/clock.js';
import { bytesOf, type EncodedHeader } from '../protocol/bytes/encoded-frame.js';
import { encodeFrame } from '../protocol/encoder.js';
import { Fault, protocolFault } from '../protocol/fault.js';
import { FrameDecoder } from '../protocol/frame-decoder.js';
import { type FrameSeal, KeysUsedUp } from '../protocol/frame-seal.js';
import type { Header, MsgType } from '../protocol/frame.js';
import { type FrameLimits, type SendLimits, sendLimits } from '../protocol/limits.js';
import type { Link, LinkReceiver, RemoteAddress } from '../protocol/link.js';
import { RecordDecoder } from '../protocol/record.js';
import { localOf, remoteOf } from './address.js';
import type { EarlyEnd } from './early-end.js';
import type { InputBudget } from './input-budget.js';
import { Linger } from './linger.js';
import { openedLink } from './open-handles.js';
import { SocketWriter } from './socket-writer.js';
import { processTurns, TURN_MS, type TurnTaker } from './turns.js';
import { type FrameHolder, UnfinishedFrame } from './unfinished-frame.js';

/**
 * The frames of a chunk are delivered in shares of a quarter, so that the peer works on one share of answers while the next
 * is made; a share has at least this many frames, since each costs a write, and at most `framesPerTick`.
 */
const MIN_SHARE_FRAMES = 16;
const SHARES = 4;
/** Growth of the shares, from one frame on, as long as they are quick. */
const SHARE_GROWTH = 4;

export interface SocketLinkLimits extends FrameLimits {
  readonly incompleteFrameTimeoutMs: number;
  readonly framesPerTick: number;
  readonly writeStallTimeoutMs: number;
}

export interface SocketLinkOptions {
  readonly limits: SocketLinkLimits;
  readonly clock: Clock;
  /** Path of the Unix socket, if it is one. */
  readonly path?: string | undefined;
  /** Limits what the unfinished frames of all connections hold. */
  readonly budget?: InputBudget | undefined;
  /** The other side has identified itself. */
  readonly onAdmitted?: (() => void) | undefined;
  /** Gets every frame instead of the receiver, to pass it on: at once, later, or in another order. */
  readonly intercept?: ((receiver: LinkReceiver) => LinkReceiver) | undefined;
  /** The likely cause, if known, when a connection ends before the other side has identified itself. */
  readonly explain?: ((end: EarlyEnd) => Error | undefined) | undefined;
}

/** A TCP, TLS or Unix socket as a link. */
export class SocketLink implements Link, FrameHolder, TurnTaker {
  readonly remote: RemoteAddress;
  readonly local: RemoteAddress;
  readonly clock: Clock;
  frameAt = 0;

  #decoder: FrameDecoder | RecordDecoder;
  readonly #writer: SocketWriter;
  readonly #unfinished: UnfinishedFrame;
  #receiver: LinkReceiver | undefined;
  #seal: FrameSeal | undefined;
  #sendLimits: SendLimits;
  /** Both sides offered `values`. */
  #values = false;
  #error: Error | undefined;
  /** The first chunk, and what explains the end of the connection; until it is admitted. */
  #first: Buffer | undefined;
  #explain: SocketLinkOptions['explain'];
  /** Chunks that came while frames of an earlier one wait for their turn. */
  #backlog: Buffer[] = [];
  /** Bytes of a share of the chunk that is delivered now. */
  #shareBytes = 0;
  /** Frames of the next share. At first DECLARE, or its answer, and one more, until it is known how long handlers block the process. */
  #shareFrames = 2;
  /** Frames of this turn. */
  #turnFrames = 0;
  #delivering = false;
  #pauses = 0;
  #ended = false;
  /** The socket is closed; what was received is still delivered. */
  #isSocketClosed = false;
  #linger: Linger | undefined;

  constructor(
    private readonly socket: Socket,
    private readonly options: SocketLinkOptions,
  ) {
    const { limits, clock, path, budget } = options;
    this.clock = clock;
    this.#explain = options.explain;
    this.remote = remoteOf(socket, path);
    this.local = localOf(socket, path);
    this.#decoder = new FrameDecoder(limits);
    this.#sendLimits = limits;
    this.#unfinished = new UnfinishedFrame(this, {
      clock,
      timeoutMs: limits.incompleteFrameTimeoutMs,
      budget,
    });
    this.#writer = new SocketWriter(socket, {
      clock,
      stallTimeoutMs: limits.writeStallTimeoutMs,
      onDrain: () => this.#receiver?.onDrain(),
      onStall: () => {
        this.#error = new Error('the peer does not read (limits.writeStallTimeoutMs)');
        this.destroy();
      },
      onUnsealable: (fault) => this.#abort(fault),
    });
    socket.setNoDelay(true);
    openedLink(this, socket);
    socket.on('error', (error) => (this.#error ??= error));
    socket.on('close', () => this.#onClose());
  }

  get pendingBytes(): number {
    return this.#writer.pendingBytes;
  }

  get isBehind(): boolean {
    return this.#delivering || this.#pauses > 0;
  }

  /** Whether this side has ended the connection, and what was sent last is still being written. */
  get isEnding(): boolean {
    return this.#linger !== undefined && !this.socket.closed;
  }

  /** Node's socket. */
  unwrap(): Socket {
    return this.socket;
  }

  attach(receiver: LinkReceiver): void {
    this.#receiver = receiver;
  }

  start(receiver: LinkReceiver): void {
    this.#receiver = this.options.intercept?.(receiver) ?? receiver;
    if (this.#explain) this.socket.once('data', (chunk: Buffer) => (this.#first = chunk));
    this.socket.on('data', (chunk) => this.#onData(chunk));
  }

  admit(peerMaxFrameBytes = Infinity, values = false): void {
    const { limits } = this.options;
    this.#values = values;
    this.#explain = this.#first = undefined;
    this.#decoder.admit(limits.maxFrameBytes, values);
    this.#sendLimits = sendLimits(limits, peerMaxFrameBytes);
    this.options.onAdmitted?.();
  }

  send(type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown): number {
    try {
      const frame = encodeFrame(type, id, header, body, this.#sendLimits, this.#seal, this.#values);
      if (!this.#ended && !this.socket.destroyed) this.#writer.write(frame);
      return frame.size;
    } catch (error) {
      if (!(error instanceof KeysUsedUp)) throw error;
      this.#abort(error);
      return 0;
    }
  }

  sendExact(type: MsgType, id: number, header: Header | null, body: unknown): Buffer {
    const frame = encodeFrame(type, id, header, body, this.options.limits);
    const bytes = bytesOf(frame);
    if (!this.#ended && !this.socket.destroyed) this.#writer.write(frame);
    return bytes;
  }

  get received(): Buffer | undefined {
    return this.#decoder.raw;
  }

  secure(seal: FrameSeal): void {
    const frames = this.#decoder as FrameDecoder;
    if (seal.records) {
      this.#writer.secure(seal);
      this.#decoder = new RecordDecoder(frames, seal);
    } else {
      this.#seal = seal;
      frames.secure(seal);
    }
  }

  pause(): void {
    if (this.#pauses === 0) this.#unfinished.pause();
    this.#pauses += 1;
  }

  resume(): void {
    this.#pauses -= 1;
    if (this.#pauses > 0) return;
    this.#unfinished.resume();
    // a peer that was not read may have sent signs of life
    this.#receiver?.onBytes();
    if (!this.#delivering) this.#deliver();
  }

  end(isAwaited = false): void {
    if (this.#ended) return;
    this.#stopReading();
    this.#writer.end();
    this.#linger = new Linger(this, {
      clock: this.clock,
      stallTimeoutMs: this.options.limits.writeStallTimeoutMs,
      isAwaited,
    });
  }

  destroy(): void {
    this.#stopReading();
    this.socket.destroy();
  }

  /** Bytes of a frame that is not whole yet. */
  get unfinishedBytes(): number {
    return this.#decoder.unfinishedBytes;
  }

  failFrame(why: string): void {
    this.#receiver?.onFault(protocolFault(why));
  }

  /** Nothing more can be sealed, or opened: what is in flight is lost with the connection. */
  #abort(fault: Fault): void {
    this.#error ??= fault;
    this.destroy();
  }

  /** Further bytes are read and dropped: unread ones would make the kernel reset the connection. */
  #stopReading(): void {
    this.#ended = true;
    this.#backlog = [];
    this.#unfinished.stop();
    this.socket.resume();
  }

  #onData(chunk: Buffer): void {
    if (this.#ended) return;
    this.#receiver?.onBytes();
    if (this.#delivering || this.#pauses > 0) {
      this.#backlog.push(chunk);
      this.socket.pause();
      return;
    }
    this.#push(chunk);
    this.#deliver();
  }

  #push(chunk: Buffer): void {
    this.#shareBytes = chunk.length / SHARES;
    this.#decoder.push(chunk);
  }

  /** Begins a turn; the frames that remain after it wait for the next. */
  #deliver(): void {
    this.#turnFrames = 0;
    const since = this.clock.now();
    if (this.takeShare()) processTurns.goOn(this, since);
  }

  beginTurn(): void {
    this.#turnFrames = 0;
  }

  get isTurnOver(): boolean {
    return this.#turnFrames >= this.options.limits.framesPerTick;
  }

  /** Delivers some frames; none after one that has blocked the process for a whole turn. */
  takeShare(): boolean {
    this.#delivering = true;
    const since = (this.frameAt = this.clock.now());
    let frames = 0;
    let bytes = 0;
    try {
      while (this.#mayDeliver()) {
        const frame = this.#decoder.next();
        if (frame) {
          this.#receiver?.onFrame(frame, this.#decoder.frameBytes, this.#decoder.frameCost);
          this.#turnFrames += 1;
          frames += 1;
          bytes += this.#decoder.frameBytes;
          this.frameAt = this.clock.now();
          if (this.frameAt - since < TURN_MS && !this.isTurnOver && !this.#isShare(frames, bytes)) continue;
          this.#unfinished.ended();
          return true;
        }
        const chunk = this.#backlog.shift();
        if (!chunk) break;
        this.#push(chunk);
      }
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (error instanceof KeysUsedUp) this.#abort(error);
      else this.#receiver?.onFault(this.#explainedFault(error));
    }
    this.#delivering = false;
    if (frames > 0) this.#unfinished.ended();
    if (this.#isSocketClosed) this.#finish();
    if (this.#ended) return false;
    this.#unfinished.watch();
    if (this.#pauses === 0 && this.socket.isPaused()) this.socket.resume();
    return false;
  }

  #mayDeliver(): boolean {
    return !this.#ended && (this.#pauses === 0 || this.#isSocketClosed);
  }

  #isShare(frames: number, bytes: number): boolean {
    return frames >= this.#shareFrames || (frames >= MIN_SHARE_FRAMES && bytes >= this.#shareBytes);
  }

  shareTook(ms: number): void {
    const most = this.options.limits.framesPerTick;
    this.#shareFrames = ms < TURN_MS ? Math.min(this.#shareFrames * SHARE_GROWTH, most) : 1;
  }

  #explainedFault(fault: Fault): Fault {
    const why = this.#explained(fault);
    return why ? new Fault({ status: fault.status, message: why.message, cause: fault }) : fault;
  }

  #explained(error: Error | undefined): Error | undefined {
    return this.#explain?.({ first: this.#first, error });
  }

  /** What was received before the end is handled, also if it waits for its turn or for a slow reader. */
  #onClose(): void {
    this.#writer.stop();
    if (this.#ended || !(this.#delivering || this.#pauses > 0)) return this.#finish();
    this.#isSocketClosed = true;
    const rest = this.socket.read() as Buffer | null;
    if (rest) this.#backlog.push(rest);
    if (this.#delivering) return;
    this.#delivering = true;
    processTurns.add(this);
  }

  #finish(): void {
    this.#stopReading();
    this.#linger?.cancel();
    const receiver = this.#receiver;
    this.#receiver = undefined;
    receiver?.onClose(this.#explained(this.#error) ?? this.#error);
  }
}
