import { bytesOf, type EncodedHeader } from '../../lib/protocol/bytes/encoded-frame.js';
import { encodeFrame } from '../../lib/protocol/encoder.js';
import { Fault } from '../../lib/protocol/fault.js';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import type { FrameSeal } from '../../lib/protocol/frame-seal.js';
import type { Frame, Header, MsgType } from '../../lib/protocol/frame.js';
import {
  DEFAULT_FRAME_LIMITS,
  type FrameLimits,
  type SendLimits,
  sendLimits,
} from '../../lib/protocol/limits.js';
import type { Link, LinkReceiver, RemoteAddress } from '../../lib/protocol/link.js';

/** After this many rounds of frames and answers the two peers are taken to be in a loop. */
const MAX_ROUNDS = 50_000;

/**
 * One direction of a linked pair: real bytes behind a fence. Nothing moves but in `flow`, so a test sees each step.
 */
export class Wire {
  /** Every frame that was sent, also those that were held or lost. */
  readonly frames: Frame[] = [];
  /** Bytes that were sent and wait at the fence. */
  bytes = 0;
  /** Whether the sender has ended or destroyed its link. */
  ending: 'end' | 'destroy' | undefined;

  #fence: 'open' | 'held' | 'lost' = 'open';
  #pieceBytes = Infinity;
  #queue: Buffer[] = [];
  readonly #log: FrameDecoder;

  constructor(private readonly limits: FrameLimits) {
    this.#log = new FrameDecoder(limits);
    this.#log.admit(limits.maxFrameBytes, true);
  }

  /** Bytes wait, as with a peer that does not read. */
  hold(): void {
    this.#fence = 'held';
  }

  /** Bytes get lost and nobody is told, as with a pulled cable. */
  lose(): void {
    this.#fence = 'lost';
  }

  /** Bytes arrive, at most this many at a time. */
  release(pieceBytes = Infinity): void {
    this.#fence = 'open';
    this.#pieceBytes = pieceBytes;
  }

  /** The frames with this target, such as `/_event/ping`. */
  to(target: string): Frame[] {
    return this.frames.filter(([, , header]) => header.target === target);
  }

  /** Sends a frame as if the sender had; any bytes if a frame will not do. */
  inject(...what: (Frame | Buffer)[]): void {
    for (const it of what) {
      this.push(Buffer.isBuffer(it) ? it : encoded(it[0], it[1], it[2], it[3], this.limits));
    }
  }

  /** @internal */
  push(bytes: Buffer): void {
    this.bytes += bytes.length;
    this.#queue.push(bytes);
    try {
      this.#log.push(bytes);
      for (let frame = this.#log.next(); frame; frame = this.#log.next()) this.frames.push(frame);
    } catch {
      // bytes that are no frame are for the receiver to judge
    }
  }

  /** @internal Drops what waits. */
  drop(): void {
    this.#queue = [];
    this.bytes = 0;
  }

  /** @internal What may move on now; `undefined` if nothing may. */
  take(): Buffer | undefined {
    if (this.#fence === 'lost') this.drop();
    if (this.#fence !== 'open' || this.bytes === 0) return undefined;
    const all = Buffer.concat(this.#queue);
    const piece = all.subarray(0, Math.min(all.length, this.#pieceBytes));
    this.#queue = piece.length < all.length ? [all.subarray(piece.length)] : [];
    this.bytes -= piece.length;
    return piece;
  }

  /** @internal Whether news of the sender's end gets through. */
  get isOpen(): boolean {
    return this.#fence === 'open';
  }
}

/** One end of a linked pair. */
export class LinkedLink implements Link {
  readonly remote: RemoteAddress;
  readonly local: RemoteAddress;
  /** Chunks that were handed to the decoder. */
  chunks = 0;
  /** Whether its owner was told that it is gone. */
  closed = false;
  /** The test plays this side: what comes is taken and dropped, it stands in the wire's `frames`. */
  played = false;

  readonly #decoder: FrameDecoder;
  #receiver: LinkReceiver | undefined;
  #seal: FrameSeal | undefined;
  #sendLimits: SendLimits;
  #values = false;
  #pauses = 0;
  #mayHaveFrames = false;

  constructor(
    readonly out: Wire,
    private readonly limits: FrameLimits,
    port: number,
  ) {
    this.local = { address: '127.0.0.1', port, family: 'IPv4' };
    this.remote = { address: '127.0.0.1', port: 3 - port, family: 'IPv4' };
    this.#decoder = new FrameDecoder(limits);
    this.#sendLimits = limits;
  }

  get pendingBytes(): number {
    return this.out.bytes;
  }

  get paused(): boolean {
    return this.#pauses > 0;
  }

  get isBehind(): boolean {
    return this.paused || this.#mayHaveFrames;
  }

  attach(): void {}

  start(receiver: LinkReceiver): void {
    this.#receiver = receiver;
  }

  admit(peerMaxFrameBytes = Infinity, values = false): void {
    this.#values = values;
    this.#decoder.admit(this.limits.maxFrameBytes, values);
    this.#sendLimits = sendLimits(this.limits, peerMaxFrameBytes);
  }

  send(type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown): number {
    return this.sendExact(type, id, header, body).length;
  }

  sendExact(type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown): Buffer {
    const bytes = encoded(type, id, header, body, this.#sendLimits, this.#seal, this.#values);
    if (!this.out.ending && !this.closed) this.out.push(bytes);
    return bytes;
  }

  get received(): Buffer | undefined {
    return this.#decoder.raw;
  }

  secure(seal: FrameSeal): void {
    this.#seal = seal;
    this.#decoder.secure(seal);
  }

  pause(): void {
    this.#pauses += 1;
  }

  resume(): void {
    this.#pauses -= 1;
  }

  end(): void {
    this.out.ending ??= 'end';
  }

  destroy(): void {
    if (this.out.ending === 'destroy' || this.closed) return;
    this.out.ending = 'destroy';
    this.out.drop();
  }

  /** @internal Hands on what has come. Whether anything moved. */
  receive(wire: Wire): boolean {
    if (this.closed || this.paused) return false;
    if (!this.#receiver) return this.played && wire.take() !== undefined;
    if (this.#mayHaveFrames) {
      this.#deliver();
      return true;
    }
    const chunk = wire.take();
    if (!chunk) return false;
    if (this.out.ending) return true; // read and dropped
    this.chunks += 1;
    this.#receiver.onBytes();
    this.#decoder.push(chunk);
    this.#deliver();
    return true;
  }

  /** @internal */
  drained(): void {
    if (!this.closed && !this.out.ending) this.#receiver?.onDrain();
  }

  /** @internal */
  close(error: Error | undefined): void {
    if (this.closed) return;
    this.closed = true;
    this.out.drop();
    this.#receiver?.onClose(error);
  }

  #deliver(): void {
    this.#mayHaveFrames = true;
    try {
      while (!this.paused && !this.out.ending) {
        const frame = this.#decoder.next();
        if (!frame) {
          this.#mayHaveFrames = false;
          return;
        }
        this.#receiver?.onFrame(frame, this.#decoder.frameBytes, this.#decoder.frameCost);
      }
      if (this.out.ending) this.#mayHaveFrames = false;
    } catch (error) {
      this.#mayHaveFrames = false;
      if (!(error instanceof Fault)) throw error;
      this.#receiver?.onFault(error);
    }
  }
}

/** Two links that carry encoded bytes to each other, through fences that the test controls. */
export class LinkedLinks {
  readonly toServer: Wire;
  readonly toClient: Wire;
  readonly client: LinkedLink;
  readonly server: LinkedLink;

  constructor(limits: FrameLimits = DEFAULT_FRAME_LIMITS) {
    this.toServer = new Wire(limits);
    this.toClient = new Wire(limits);
    this.client = new LinkedLink(this.toServer, limits, 1);
    this.server = new LinkedLink(this.toClient, limits, 2);
  }

  /** Lets everything arrive that no fence holds, and its answers, until nothing moves any more. */
  flow(): void {
    for (let round = 0; this.#round(); round++) {
      if (round === MAX_ROUNDS) throw new Error('the peers answer each other without end');
    }
  }

  #round(): boolean {
    const up = this.#move(this.client, this.toServer, this.server);
    const down = this.#move(this.server, this.toClient, this.client);
    return up || down;
  }

  #move(from: LinkedLink, wire: Wire, to: LinkedLink): boolean {
    const waited = wire.bytes;
    const moved = to.receive(wire);
    if (moved && waited > 0 && wire.bytes === 0) from.drained();
    if (moved || !wire.ending || from.closed) return moved;
    if (wire.ending === 'destroy') {
      from.close(undefined);
      if (wire.isOpen) to.close(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
    } else if (wire.bytes === 0 && wire.isOpen) {
      to.close(undefined);
      from.close(undefined);
    } else return false;
    return true;
  }
}

function encoded(
  type: MsgType,
  id: number,
  header: Header | EncodedHeader | null,
  body: unknown,
  limits: SendLimits,
  seal?: FrameSeal,
  values = false,
): Buffer {
  return bytesOf(encodeFrame(type, id, header, body, limits, seal, values));
}
