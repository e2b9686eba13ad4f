import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import type net from 'node:net';
import { DECLARE, pack, type RawFrame } from '../raw-socket.js';
import { WirePeer, type WireFrame } from '../wire-peer.js';

const SUITE = 'aes-128-gcm';

/** One direction, as docs/protocol.md has it; the code under test is not used. */
export class RawDirection {
  count = 0;

  constructor(
    readonly key: Buffer,
    readonly iv: Buffer,
  ) {}

  seal(bound: Buffer, plaintext: Buffer, count = this.count++): Buffer {
    const cipher = createCipheriv(SUITE, this.key, this.#nonce(count));
    cipher.setAAD(bound);
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }

  open(bound: Buffer, sealed: Buffer): Buffer {
    const decipher = createDecipheriv(SUITE, this.key, this.#nonce(this.count++));
    decipher.setAAD(bound);
    decipher.setAuthTag(sealed.subarray(-16));
    return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
  }

  #nonce(count: number): Buffer {
    const nonce = Buffer.from(this.iv);
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ BigInt(count), 4);
    return nonce;
  }
}

/** Both directions of a connection. */
export function rawKeys(
  key: Buffer,
  randoms: readonly [client: Buffer, server: Buffer],
  declare: Buffer,
  answer: Buffer,
): { client: RawDirection; server: RawDirection } {
  const hash = createHash('sha256').update(declare).update(answer).digest();
  const info = Buffer.concat([Buffer.from(`rap aead v1 keys ${SUITE}`), hash]);
  const all = Buffer.from(hkdfSync('sha256', key, Buffer.concat(randoms), info, 56));
  return {
    client: new RawDirection(all.subarray(0, 16), all.subarray(16, 28)),
    server: new RawDirection(all.subarray(28, 44), all.subarray(44)),
  };
}

export function rawConfirm(key: Buffer, randoms: readonly [Buffer, Buffer], declare: Buffer): Buffer {
  const info = Buffer.concat([
    Buffer.from(`rap aead v1 confirm ${SUITE}`),
    createHash('sha256').update(declare).digest(),
  ]);
  return Buffer.from(hkdfSync('sha256', key, Buffer.concat(randoms), info, 32));
}

export function boundOf([type, id, header]: RawFrame): Buffer {
  return Buffer.concat([pack(type), pack(id), pack(header)]);
}

/** The frame as it is on the wire: `bytes` in the place of the body. */
export function sealedFrame(bound: Buffer, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x94]), bound, pack(bytes)]);
}

/** A client of the authenticated mode that says literal bytes, frame by frame sealed. */
export class AeadPeer {
  send!: RawDirection;
  receive!: RawDirection;
  declare!: Buffer;
  /** What the server's answer to DECLARE says of the mode. */
  agreed!: Record<string, unknown>;

  constructor(readonly wire: WirePeer) {}

  get socket(): net.Socket {
    return this.wire.socket;
  }

  static async connect(
    port: number,
    key: Buffer,
    { keyId = 'demo', declare }: { keyId?: string; declare?: Buffer } = {},
  ): Promise<AeadPeer> {
    const peer = new AeadPeer(await WirePeer.connect(port));
    const random = randomBytes(32);
    const [type, id, header, body] = DECLARE;
    const aead = { v: 1, key_id: keyId, random, suites: [SUITE] };
    peer.declare = declare ?? pack([type, id, header, { ...(body as object), aead }]);
    peer.wire.send(peer.declare);
    const { bytes, frame } = await peer.wire.next('the answer to DECLARE');
    peer.agreed = (frame[3] as { aead: Record<string, unknown> }).aead;
    const randoms = [random, peer.agreed['random'] as Buffer] as const;
    const keys = rawKeys(key, randoms, peer.declare, bytes);
    peer.send = keys.client;
    peer.receive = keys.server;
    return peer;
  }

  seal(frame: RawFrame): Buffer {
    const bound = boundOf(frame);
    return sealedFrame(bound, this.send.seal(bound, pack(frame[3])));
  }

  say(...frames: RawFrame[]): void {
    for (const frame of frames) this.wire.send(this.seal(frame));
  }

  /** The next sealed frame that matches; those before it are opened and dropped. */
  async next(what: string, match: (frame: RawFrame) => boolean = () => true): Promise<RawFrame> {
    for (;;) {
      const { frame } = await this.wire.next(what);
      const opened = this.open({ frame });
      if (match(opened)) return opened;
    }
  }

  open({ frame }: Pick<WireFrame, 'frame'>): RawFrame {
    const [type, id, header, sealed] = frame;
    const plaintext = this.receive.open(boundOf(frame), sealed as Buffer);
    return [type, id, header, plaintext];
  }
}
