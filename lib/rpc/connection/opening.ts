import { carefulFrame } from '../../protocol/values/careful-decode.js';
import { EventTarget } from '../../protocol/event.js';
import { type AgreedExtensions, type ExtensionOffer, offeredExtensions } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { CRYPTO_ERROR, cryptoFault, type FrameSeal } from '../../protocol/frame-seal.js';
import { MsgType, type Frame, type Header } from '../../protocol/frame.js';
import type { Link } from '../../protocol/link.js';
import { isErrorStatus } from '../../protocol/status.js';
import { fromErrorFrame } from '../../protocol/wire-error.js';
import type { Role } from './connection-info.js';
import { asRecord, declareAnswer, declareBody, readDeclared } from './handshake.js';
import { advertisedLimits } from './peer-limits.js';
import type { PeerOptions } from './peer-options.js';
import type { ClientHandshake, ConnectionSecurity, SecurityHooks, ServerHandshake } from './security.js';

/** What the opening needs from its connection. */
export interface OpeningHost {
  /** Name of the connection: the server assigns it, the client reads it from the answer. */
  id: string;
  /** Metadata of the client. */
  metadata: Readonly<Record<string, unknown>>;
  /** DECLARE is done with these extensions: calls may follow. */
  opened(agreed: AgreedExtensions): void;
  /** Tells the owner that the connection is open, after the last frame of the opening was sent. */
  announce(): void;
  ping(): void;
  /** Frames that do not belong to the opening. */
  onFrame(frame: Frame, bytes: number, cost: number): void;
  onServerEvent(frame: Frame, bytes: number): void;
  protocolError(message: string): void;
  cryptoError(fault: Fault): void;
  abort(fault: Fault): void;
  /** The keys are used up. */
  retire(): void;
}

export interface OpeningOptions {
  readonly host: OpeningHost;
  readonly link: Link;
  readonly offer: ExtensionOffer;
  readonly security: ConnectionSecurity | undefined;
  readonly hooks: SecurityHooks;
}

/** The opening of one side; it offers the extensions that the limits and the security allow. */
export function openingOf(
  role: Role,
  {
    host,
    link,
    limits,
    security,
    clock,
  }: Omit<OpeningOptions, 'offer' | 'hooks'> & Pick<PeerOptions, 'limits' | 'clock'>,
): Opening {
  const isServer = role === 'server';
  const told = advertisedLimits(limits, isServer);
  return new (isServer ? ServerOpening : ClientOpening)({
    host,
    link,
    offer: offeredExtensions(limits.channelWindowBytes, told, security?.isJson !== true),
    security,
    hooks: { retire: () => void clock.after(0, () => host.retire()) },
  });
}

/** The first frames of a connection: DECLARE, its answer, and the key exchange. */
export interface Opening {
  /** The link for calls; security may wrap the plain one. */
  readonly link: Link;
  /** Whether outgoing frames are sealed. */
  readonly isSealed: boolean;
  /** A client sends DECLARE, under the id that `nextId` gives. */
  start(nextId: () => number): void;
  onFrame(frame: Frame, bytes: number, cost: number): void;
  /** Why the connection ends if a frame cannot be opened. */
  failed(fault: Fault): Fault;
  /** The failure if the connection ends before the peer has proven its key; `undefined` if it need not. */
  unproven(): Fault | undefined;
}

/** The client's half: `[103, 3, {target: "/_event/DECLARE"}, {...}]` out, the answer in. */
export class ClientOpening implements Opening {
  readonly link: Link;
  isSealed = false;

  readonly #handshake: ClientHandshake | undefined;
  #id = 0;
  /** DECLARE as sent, for the key exchange. */
  #sent: Buffer | undefined;

  constructor(private readonly options: OpeningOptions) {
    this.#handshake = options.security?.client(options.link, options.hooks);
    this.link = this.#handshake?.link ?? options.link;
  }

  start(nextId: () => number): void {
    const id = (this.#id = nextId());
    const header = { target: EventTarget.Declare };
    const body = declareBody(this.link.local, this.options.host.metadata, this.options.offer);
    if (!this.#handshake) this.link.send(MsgType.ClientEvent, id, header, body);
    else {
      const secured = { ...body, ...this.#handshake.declare() };
      this.#sent = this.link.sendExact(MsgType.ClientEvent, id, header, secured);
    }
  }

  onFrame(frame: Frame, bytes: number): void {
    const [type, id, header, body] = frame;
    const { host } = this.options;
    if (type === MsgType.ServerEvent) host.onServerEvent(frame, bytes);
    else if (type !== MsgType.ClientEvent) host.protocolError('the first frame must answer DECLARE');
    else if (id !== this.#id)
      return; // not an answer to DECLARE
    else if (isErrorStatus(header.status_code)) host.abort(fromErrorFrame(header, body) as Fault);
    else this.#answered(body);
  }

  failed(fault: Fault): Fault {
    return this.#handshake?.failed(fault) ?? fault;
  }

  unproven(): undefined {
    return undefined; // a server proves its key in the answer
  }

  #answered(body: unknown): void {
    const { host, offer } = this.options;
    const { connectionId, agreed } = readDeclared(body, offer);
    let seal: FrameSeal | undefined;
    try {
      seal = this.#handshake?.answered(asRecord(body), this.#sent as Buffer, this.link.received as Buffer);
    } catch (error) {
      return host.abort(error as Fault);
    }
    this.#sent = undefined;
    host.id = connectionId ?? '';
    if (seal) {
      this.link.secure(seal);
      this.isSealed = true;
    }
    host.opened(agreed);
    if (seal) host.ping(); // proves the client's key before any call
    host.announce();
  }
}

/** The server's half: DECLARE in, `[103, 3, {}, {...}]` out. Nothing is dispatched before the client has proven its key. */
export class ServerOpening implements Opening {
  readonly link: Link;
  isSealed = false;

  readonly #handshake: ServerHandshake | undefined;
  /** DECLARE as received, until the client has proven its key: only the bytes, which are not trusted before. */
  #unproven: Buffer | undefined;

  constructor(private readonly options: OpeningOptions) {
    this.#handshake = options.security?.server(options.link, options.hooks);
    this.link = this.#handshake?.link ?? options.link;
  }

  start(): void {
    // the client speaks first
  }

  onFrame(frame: Frame, bytes: number, cost: number): void {
    const [type, id, header, body] = frame;
    if (this.#unproven) this.#proven([frame, bytes, cost], this.#unproven);
    else if (isDeclare(type, header)) this.#accept(id, body);
    else this.options.host.protocolError('the first frame must be DECLARE');
  }

  failed(fault: Fault): Fault {
    return this.#handshake?.failed(fault) ?? fault;
  }

  unproven(): Fault | undefined {
    return this.#unproven && this.failed(cryptoFault('no sealed frame came'));
  }

  #accept(id: number, body: unknown): void {
    const { host, offer } = this.options;
    const received = this.link.received as Buffer;
    let accepted;
    try {
      accepted = this.#handshake?.accept(asRecord(body), received);
    } catch (error) {
      return this.#refuse(id, error as Fault);
    }
    const { metadata, agreed } = readDeclared(body, offer);
    const answer = declareAnswer(this.link.local, host.id, agreed, offer);
    if (accepted?.seal) {
      const sent = this.link.sendExact(MsgType.ClientEvent, id, null, { ...answer, ...accepted.answer });
      this.link.secure(accepted.seal(sent));
      this.isSealed = true;
      this.#unproven = Buffer.from(received);
      return;
    }
    host.metadata = metadata;
    host.opened(agreed);
    this.link.send(MsgType.ClientEvent, id, null, answer);
    host.announce();
  }

  #refuse(id: number, fault: Fault): void {
    const { host } = this.options;
    if (!this.#handshake?.explains) return host.abort(fault);
    this.link.send(MsgType.ClientEvent, id, { status_code: fault.status }, CRYPTO_ERROR);
    host.cryptoError(fault);
  }

  /** The first sealed frame of the client has proven its key: only now is the connection open. */
  #proven(first: Parameters<OpeningHost['onFrame']>, declare: Buffer): void {
    const { host, offer } = this.options;
    const [, , , body] = carefulFrame(declare) as Frame;
    const { metadata, agreed } = readDeclared(body, offer);
    this.#unproven = undefined;
    this.#handshake?.proven();
    host.metadata = metadata;
    host.opened(agreed);
    host.announce();
    host.onFrame(...first);
  }
}

/** A DECLARE with an error status is not one. */
function isDeclare(type: MsgType, { target, status_code: status }: Header): boolean {
  return type === MsgType.ClientEvent && target === EventTarget.Declare && !isErrorStatus(status);
}
