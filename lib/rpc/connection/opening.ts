import { carefulFrame } from '../../protocol/values/careful-decode.js';
import { EventTarget } from '../../protocol/event.js';
import type { AgreedExtensions, ExtensionOffer } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { CRYPTO_ERROR, cryptoFault, type FrameSeal } from '../../protocol/frame-seal.js';
import { MsgType, type Frame, type Header } from '../../protocol/frame.js';
import type { Link } from '../../protocol/link.js';
import { isErrorStatus } from '../../protocol/status.js';
import { fromErrorFrame } from '../../protocol/wire-error.js';
import { asRecord, declareAnswer, declareBody, readDeclared } from './handshake.js';
import type { ClientHandshake, ConnectionSecurity, SecurityHooks, ServerHandshake } from './security.js';

/** What the opening of a connection does to it. */
export interface OpeningHost {
  /** Name of the connection: a server gives it, a client learns it. */
  id: string;
  /** What the client says of itself. */
  metadata: Readonly<Record<string, unknown>>;
  /** DECLARE is done, on these extensions: calls may come. */
  opened(agreed: AgreedExtensions): void;
  /** Tells the owner, once what belongs to the opening was sent. */
  announce(): void;
  ping(): void;
  /** Frames that are not the opening's own. */
  onFrame(frame: Frame, bytes: number, cost: number): void;
  onServerEvent(frame: Frame, bytes: number): void;
  protocolError(message: string): void;
  cryptoError(fault: Fault): void;
  abort(fault: Fault): void;
}

export interface OpeningOptions {
  readonly host: OpeningHost;
  readonly link: Link;
  readonly offer: ExtensionOffer;
  readonly security: ConnectionSecurity | undefined;
  readonly hooks: SecurityHooks;
}

/** The first frames of a connection: DECLARE, its answer, and what secures the rest. */
export interface Opening {
  /** The link that calls go over; security may have put itself around the plain one. */
  readonly link: Link;
  /** Whether what is sent now is sealed. */
  readonly isSealed: boolean;
  /** A client says DECLARE under this id. */
  start(id: number): void;
  onFrame(frame: Frame, bytes: number, cost: number): void;
  /** Why the connection ends, where what a frame is sealed with did not open it. */
  failed(fault: Fault): Fault;
  /** Why it ends while the other side has not proven its key, which counts as a failure; `undefined` where it need not. */
  unproven(): Fault | undefined;
}

/** The client's part: `[103, 3, {target: "/_event/DECLARE"}, {...}]` out, the answer in. */
export class ClientOpening implements Opening {
  readonly link: Link;
  isSealed = false;

  readonly #handshake: ClientHandshake | undefined;
  #id = 0;
  /** DECLARE as it went out, for whoever secures the connection. */
  #sent: Buffer | undefined;

  constructor(private readonly options: OpeningOptions) {
    this.#handshake = options.security?.client(options.link, options.hooks);
    this.link = this.#handshake?.link ?? options.link;
  }

  start(id: number): void {
    this.#id = id;
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
      return; // answers nothing that was asked
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
    if (seal) host.ping(); // proves this side, before any call
    host.announce();
  }
}

/** The server's part: DECLARE in, `[103, 3, {}, {...}]` out. Nothing is dispatched before a client has proven its key. */
export class ServerOpening implements Opening {
  readonly link: Link;
  isSealed = false;

  readonly #handshake: ServerHandshake | undefined;
  /** DECLARE as it came, while the client has still to prove itself: only its bytes, since nothing in it counts before. */
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

  /** The first sealed frame of the client: only now is the connection one. */
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

/** One that carries an error opens nothing. */
function isDeclare(type: MsgType, { target, status_code: status }: Header): boolean {
  return type === MsgType.ClientEvent && target === EventTarget.Declare && !isErrorStatus(status);
}
