import { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { Fault } from '../../protocol/fault.js';
import { CRYPTO_ERROR, cryptoFault, type FrameSeal } from '../../protocol/frame-seal.js';
import { type Frame, type Header, MsgType } from '../../protocol/frame.js';
import { heldValue } from '../../protocol/held-body.js';
import { LifeCycle } from '../../protocol/life-cycle.js';
import { ITEM_COST } from '../../protocol/limits.js';
import type { Link, LinkReceiver, RemoteAddress } from '../../protocol/link.js';
import { Status } from '../../protocol/status.js';
import { valuesIn } from '../../protocol/values/values-in.js';
import type { CryptoStats } from './crypto-stats.js';
import type { PythonKey } from './python-key.js';

/** Bodies of a connection that may fail before it ends. */
const MAX_FAILURES = 3;

/**
 * A link whose bodies are encrypted in Python's way as soon as it has a key. Events and errors above 400 stay in clear, as
 * with Python.
 */
export class PythonLink implements Link, LinkReceiver {
  /** Encrypts from now on; before, everything passes. */
  key: PythonKey | undefined;
  #failures = 0;
  #receiver: LinkReceiver | undefined;

  constructor(
    private readonly inner: Link,
    private readonly role: 'client' | 'server',
    private readonly stats: CryptoStats,
  ) {}

  get remote(): RemoteAddress {
    return this.inner.remote;
  }

  get local(): RemoteAddress {
    return this.inner.local;
  }

  get pendingBytes(): number {
    return this.inner.pendingBytes;
  }

  get frameAt(): number | undefined {
    return this.inner.frameAt;
  }

  get isBehind(): boolean {
    return this.inner.isBehind;
  }

  get received(): Buffer | undefined {
    return this.inner.received;
  }

  attach(receiver: LinkReceiver): void {
    this.#receiver = receiver;
    this.inner.attach(this);
  }

  start(receiver: LinkReceiver): void {
    this.#receiver = receiver;
    this.inner.start(this);
  }

  admit(peerMaxFrameBytes?: number, values?: boolean): void {
    this.inner.admit(peerMaxFrameBytes, values);
  }

  secure(seal: FrameSeal): void {
    this.inner.secure(seal);
  }

  sendExact(type: MsgType, id: number, header: Header | null, body: unknown): Buffer {
    return this.inner.sendExact(type, id, header, body);
  }

  send(type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown): number {
    const { key } = this;
    if (!key || isEvent(type)) return this.inner.send(type, id, header, body);
    const status = header instanceof EncodedHeader ? undefined : header?.status_code;
    if (status !== undefined && status >= 400) return this.inner.send(type, id, header, body);
    return this.inner.send(type, id, status === undefined ? header : sparse(header), sealed(key, body));
  }

  pause(): void {
    this.inner.pause();
  }

  resume(): void {
    this.inner.resume();
  }

  end(isAwaited?: boolean): void {
    this.inner.end(isAwaited);
  }

  destroy(): void {
    this.inner.destroy();
  }

  // --- callbacks of the inner link ----------------------------------------------------------------------------

  onFrame(frame: Frame, bytes: number, cost: number): void {
    const [type, id, header, body] = frame;
    if (!this.key || isEvent(type) || this.#isClear(frame))
      return this.#receiver?.onFrame(frame, bytes, cost);
    let opened: unknown;
    try {
      opened = this.key.open(body);
    } catch (error) {
      return this.#fail(frame, bytes, error);
    }
    this.#receiver?.onFrame([type, id, header, opened], bytes, cost + ITEM_COST * valuesIn(opened));
  }

  onBytes(): void {
    this.#receiver?.onBytes();
  }

  onDrain(): void {
    this.#receiver?.onDrain();
  }

  onFault(fault: Fault): void {
    this.#receiver?.onFault(fault);
  }

  onClose(error: Error | undefined): void {
    this.#receiver?.onClose(error);
  }

  /** Errors come in clear to a client; a server accepts them only as the end of a channel. */
  #isClear([type, , header, body]: Frame): boolean {
    const { status_code: status, channel_life_cycle: lifeCycle } = header;
    if (typeof status !== 'number' || status < 400) return false;
    // Python sends 400 in both forms
    if (status === 400 && body instanceof Uint8Array) return false;
    return this.role === 'client' || (type === MsgType.Channel && lifeCycle !== LifeCycle.Declare);
  }

  /** The error for one message, on both sides; the third ends the connection. */
  #fail([type, id, header]: Frame, bytes: number, cause: unknown): void {
    this.stats.failed += 1;
    this.#failures += 1;
    const isCall = type === MsgType.Msg;
    const error: Header = isCall
      ? { status_code: Status.Crypto }
      : { channel_life_cycle: LifeCycle.Drop, status_code: Status.Crypto };
    const isAnswer = isCall && this.role === 'client';
    if (!isAnswer && header.one_way !== true) this.inner.send(type, id, error, CRYPTO_ERROR);
    if (isAnswer || !isCall) this.#receiver?.onFrame([type, id, error, CRYPTO_ERROR], bytes, bytes);
    if (this.#failures >= MAX_FAILURES) {
      this.#receiver?.onFault(cryptoFault(`${MAX_FAILURES} bodies were not accepted`, cause));
    }
  }
}

function isEvent(type: MsgType): boolean {
  return type !== MsgType.Msg && type !== MsgType.Channel;
}

/** The header of an error whose text is encrypted: what this project adds to it would show the text in clear. */
function sparse(header: Header | EncodedHeader | null): Header {
  const { error: _, ...rest } = header as Header;
  return rest;
}

/** @throws {@link Fault} if the body has no form in JSON */
function sealed(key: PythonKey, body: unknown): Buffer {
  try {
    // JSON leaves out what is undefined, and a body is required
    return key.seal(heldValue(body) ?? null);
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unreadable value';
    throw new Fault({
      status: Status.Server,
      code: 'ERR_RAP_UNSERIALIZABLE',
      message: `the body cannot be sent in mode 'rap-cbc': ${reason}`,
      cause: error,
    });
  }
}
