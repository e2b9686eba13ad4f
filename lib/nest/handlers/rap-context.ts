import { BaseRpcContext } from '@nestjs/microservices';
import { Extension } from '../../protocol/extension.js';
import { Fault } from '../../protocol/fault.js';
import { type Header, RESERVED } from '../../protocol/frame.js';
import type { RemoteAddress } from '../../protocol/link.js';
import type { AnyIncoming } from '../../rpc/server/any-incoming.js';
import type { Session } from '../../rpc/server/sessions.js';
import { Status } from '../../protocol/status.js';
import { audibleSignal } from '../streams/audible-signal.js';
import { toRapError } from '../errors/to-rap-error.js';
import { ItemLink } from '../streams/item-link.js';
import { currentScope, followCallScopes } from './call-scope.js';
import type { Route } from './handler.js';

/** @internal The time limit of a handler. */
export interface HandlerTime {
  /** Aborted when the time is over, or no caller waits for the handler any more. */
  readonly signal: AbortSignal;
  readonly timeLeftMs: number | undefined;
}

type RapContextArgs = [target: string, header: Header];

/** The call, for handlers, guards, pipes, interceptors and filters: `@Ctx() ctx: RapContext`. */
export class RapContext extends BaseRpcContext<RapContextArgs> {
  readonly #call: AnyIncoming;
  readonly #route: Route;
  #signal: AbortSignal | undefined;
  #draining: AbortSignal | undefined;
  #items: ItemLink | undefined;

  /** @internal */
  constructor(call: AnyIncoming, route: Route) {
    super([route.target, call.header]);
    this.#call = call;
    this.#route = route;
  }

  /**
   * The context of the call whose handler runs this code, in whatever function it calls: also in guards, interceptors, pipes,
   * filters and middleware for messages, in generators, and in Observables that the transport subscribes to. `undefined` outside.
   *
   * It follows calls as soon as something needs that: the option `requestContext` of the server, a client in the process, or the
   * first call of this function; calls that began before have none.
   */
  static current(): RapContext | undefined {
    followCallScopes();
    const context = currentScope()?.context;
    return context instanceof RapContext ? context : undefined;
  }

  /** `/<group>/<name>` */
  get target(): string {
    return this.#route.target;
  }

  get group(): string {
    return this.#route.group;
  }

  get name(): string {
    return this.#route.name;
  }

  /** Id of the call on its connection. */
  get correlationId(): number {
    return this.#call.id;
  }

  /** Id of the connection, assigned by this server: with `correlationId`, it names the call. */
  get connectionId(): string {
    return this.#call.connection.id;
  }

  /**
   * Names the request in logs: the text that the caller has sent as header `x-request-id`, if it is one of 1 to 128 letters, digits,
   * `.`, `_`, `:` or `-`; else `<connectionId>:<correlationId>`.
   */
  get requestId(): string {
    const { 'x-request-id': id } = this.header;
    return typeof id === 'string' && REQUEST_ID.test(id) ? id : `${this.connectionId}:${this.correlationId}`;
  }

  /** Header of the call as it was received, unknown keys included. */
  get header(): Header {
    return this.#call.header;
  }

  /** What the client sent about itself when it connected; shared by all calls of the connection. */
  get metadata(): Readonly<Record<string, unknown>> {
    return this.#call.connection.metadata;
  }

  /** What the client sent when it opened this channel; `undefined` in a unary call. */
  get channelMetadata(): unknown {
    return this.#call.kind === 'channel' ? this.#call.channel.metadata : undefined;
  }

  /**
   * The session that this call belongs to, the same object for all of its calls; `undefined` without one.
   *
   * @throws TooManyRequestsError if the connection has too many sessions, ProtocolError for an invalid session id
   */
  get session(): Session | undefined {
    const { session } = this.#call;
    if (session instanceof Fault) throw toRapError(session);
    return session;
  }

  /** The caller: address, port, and the subject of a verified TLS certificate. */
  get peer(): RemoteAddress {
    return this.#call.connection.remote;
  }

  /**
   * Aborted when no caller waits for the result any more: cancel, deadline, run timeout, disconnect, shutdown. If it was
   * aborted before the first access, the `abort` event comes once more, after the turn of that access.
   */
  get signal(): AbortSignal {
    this.#signal ??= audibleSignal(this.#call.signal);
    return this.#signal;
  }

  /**
   * Aborted when the server begins to drain (`app.close()`, SIGTERM, `server.drain()`): an endless feed should end then, and
   * its reader sees a regular end. What goes on has `closeTimeoutMs` left, then `signal` is aborted. In a handler that
   * begins later it is aborted already; its `abort` event comes once more, as that of `signal`.
   */
  get draining(): AbortSignal {
    this.#draining ??= audibleSignal(this.#call.draining);
    return this.#draining;
  }

  /** Time at which the caller stops waiting, as `Date.now()` counts; `undefined` if it has no limit. */
  get deadline(): number | undefined {
    const left = this.#call.timeLeftMs;
    return left === undefined ? undefined : Date.now() + left;
  }

  /**
   * Sets a header of the answer, also of an error: the caller gets it by `onHeader`. In a stream or channel, it goes with the next
   * item or message, or with the end. The application may not set keys of the protocol.
   *
   * @throws RangeError for a reserved key.
   */
  setHeader(key: string, value: unknown): void {
    if (RESERVED.has(key)) throw new RangeError(`header "${key}" is reserved by rap`);
    this.#call.setHeader(key, value);
  }

  /** The pattern, as in Nest's own contexts. */
  getPattern(): string {
    return this.#route.pattern;
  }

  /** Text entries of the call's header: instrumentation finds its trace in them. */
  getMetadata(): Record<string, string> | undefined {
    const entries = Object.entries(this.#call.header).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string' && !RESERVED.has(entry[0]),
    );
    return entries.length > 0 ? Object.fromEntries(entries) : undefined;
  }

  /** @internal The arguments of the constructor. */
  get origin(): [call: AnyIncoming, route: Route] {
    return [this.#call, this.#route];
  }

  /** @internal Connects the source of a stream with its reader. */
  get items(): ItemLink {
    this.#items ??= new ItemLink();
    return this.#items;
  }

  /** @internal Interceptors have called the handler. */
  isHandled = false;
  /** @internal Whether the handler returns a stream; set if there are interceptors. */
  isStreamOf: (() => boolean) | undefined;

  /**
   * @internal Refuses one value of an interceptor that has not called the handler: a cache has kept the last item.
   *
   * @throws Fault 1008
   */
  assertNotKept(): void {
    if (this.isHandled || this.#items?.count !== 1 || !this.isStreamOf?.()) return;
    throw new Fault({
      status: Status.Channel,
      message: `${this.target} streams, and an interceptor answers with one value in its place: one that keeps results (CacheInterceptor) cannot keep a stream; let it give an iterable`,
    });
  }

  /** @internal Whether the connection carries a `Date` and the like as such. */
  get carriesValues(): boolean {
    return this.#call.connection.has(Extension.Values);
  }

  /** @internal The error of the handler before Nest masked it. */
  failure: unknown;
}

/** @internal The context of one of several handlers of a message: it has its own time limit and failure. */
export class HandlerContext extends RapContext {
  readonly #whole: RapContext;
  readonly #time: HandlerTime | undefined;

  constructor(whole: RapContext, time: HandlerTime | undefined) {
    super(...whole.origin);
    this.#whole = whole;
    this.#time = time;
  }

  static {
    // loggers name the transport after the class of the context
    Object.defineProperty(this, 'name', { value: RapContext.name });
  }

  override get signal(): AbortSignal {
    return (this.#time ?? this.#whole).signal;
  }

  override get draining(): AbortSignal {
    return this.#whole.draining;
  }

  override get deadline(): number | undefined {
    if (!this.#time) return this.#whole.deadline;
    const left = this.#time.timeLeftMs;
    return left === undefined ? undefined : Date.now() + left;
  }

  override setHeader(key: string, value: unknown): void {
    this.#whole.setHeader(key, value);
  }
}

/** As Nest's instrumentation takes it from a caller: nothing else of a peer goes into logs. */
const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;
