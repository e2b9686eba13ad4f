import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import { type FrameSeal, KeysUsedUp } from '../frame-seal.js';
import type { AeadSuite, DirectionKeys } from './aead-keys.js';

const TAG_BYTES = 16;
/** `node:crypto` offers both suites with the interface of GCM. */
const TAG = { authTagLength: TAG_BYTES };

/** When the keys of a connection are used up. Each limit applies to each direction. */
export interface WearLimits {
  /** Frames. */
  readonly frames: number;
  /** Bytes that were sealed or bound. */
  readonly bytes: number;
}

export interface AeadSealOptions {
  readonly suite: AeadSuite;
  readonly send: DirectionKeys;
  readonly receive: DirectionKeys;
  /** At these limits the connection should end; at twice the limits, nothing is sealed or opened. */
  readonly limits: WearLimits;
  readonly records: boolean;
  /** Called once, when the first of the limits is reached: in the middle of a frame, so act later. */
  readonly onWorn: () => void;
}

/** Seals with a counter for each direction that is never sent: a frame opens only at its own position in the stream. */
export class AeadSeal implements FrameSeal {
  readonly overheadBytes = TAG_BYTES;
  readonly records: boolean;
  readonly #suite: 'aes-128-gcm';
  readonly #send: Direction;
  readonly #receive: Direction;
  readonly #limits: WearLimits;
  #onWorn: (() => void) | undefined;

  constructor({ suite, send, receive, limits, records, onWorn }: AeadSealOptions) {
    this.records = records;
    this.#suite = suite as 'aes-128-gcm'; // Node's types do not say that the other suite has the same interface
    this.#send = new Direction(send);
    this.#receive = new Direction(receive);
    this.#limits = limits;
    this.#onWorn = onWorn;
  }

  seal(bound: Uint8Array, plaintext: readonly Uint8Array[]): Uint8Array[] {
    const direction = this.#send;
    const bytes = plaintext.reduce((sum, piece) => sum + piece.length, bound.length);
    if (this.#isSpent(direction, bytes)) throw new KeysUsedUp();
    const cipher = createCipheriv(this.#suite, direction.key, direction.nextNonce(), TAG);
    cipher.setAAD(bound);
    const sealed: Uint8Array[] = plaintext.map((piece) => cipher.update(piece));
    cipher.final();
    sealed.push(cipher.getAuthTag());
    return sealed;
  }

  open(bound: Uint8Array, sealed: Uint8Array): Buffer | undefined {
    const direction = this.#receive;
    const textBytes = sealed.length - TAG_BYTES;
    if (textBytes < 0) return undefined;
    if (this.#isSpent(direction, bound.length + textBytes)) throw new KeysUsedUp();
    const decipher = createDecipheriv(this.#suite, direction.key, direction.nextNonce(), TAG);
    decipher.setAAD(bound);
    decipher.setAuthTag(sealed.subarray(textBytes));
    const plaintext = decipher.update(sealed.subarray(0, textBytes));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return plaintext;
  }

  /** Counts a frame. @returns whether the direction has no more left */
  #isSpent(direction: Direction, bytes: number): boolean {
    direction.bytes += bytes;
    const worn = Math.max(direction.frames / this.#limits.frames, direction.bytes / this.#limits.bytes);
    if (worn < 1) return false;
    this.#onWorn?.();
    this.#onWorn = undefined;
    return worn >= 2;
  }
}

/** One direction: its key, and the nonce of its next frame. */
class Direction {
  readonly key: KeyObject;
  frames = 0;
  bytes = 0;
  readonly #nonce: Buffer;
  readonly #high: number;
  readonly #low: number;

  constructor({ key, iv }: DirectionKeys) {
    this.key = createSecretKey(key);
    this.#nonce = Buffer.from(iv);
    this.#high = iv.readUInt32BE(4);
    this.#low = iv.readUInt32BE(8);
  }

  /** The IV, its last eight bytes xor the number of the frame. */
  nextNonce(): Buffer {
    const frame = this.frames++;
    this.#nonce.writeUInt32BE((this.#high ^ Math.floor(frame / 0x1_0000_0000)) >>> 0, 4);
    this.#nonce.writeUInt32BE((this.#low ^ frame) >>> 0, 8);
    return this.#nonce;
  }
}
