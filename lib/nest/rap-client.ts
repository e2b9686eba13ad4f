import { Logger, type Type } from '@nestjs/common';
import { ClientProxy, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { AsyncSubject, Observable, throwError } from 'rxjs';
import { Connection, type ConnectionStatus } from '../cluster/connection.js';
import { describeEndpoint } from '../net/address.js';
import { dial } from '../net/dial.js';
import type { SocketLink } from '../net/socket-link.js';
import type { EncodedHeader } from '../protocol/encoded-frame.js';
import { Extension } from '../protocol/extension.js';
import type { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import type { Channel } from '../rpc/channel.js';
import { systemClock } from '../rpc/clock.js';
import { DeadlineQueue, Expiring, TimeLimit } from '../rpc/deadline-queue.js';
import { CLIENT_KEEP_ALIVE, resolveLimits, withDefaults } from '../rpc/limits.js';
import { allowManyListeners } from '../rpc/listeners.js';
import type { Peer } from '../rpc/peer.js';
import { callTimeout } from '../rpc/pending-call.js';
import { securityOf } from '../rpc/security.js';
import { currentScope, followCallScopes, inThisScope, runInSession, runOutside } from './call-scope.js';
import { Attempt, cancelledBy, type Outcome } from './client-attempt.js';
import { ClientLifecycle } from './client-lifecycle.js';
import { endpointOf, reconnectOf, type RapCallOptions, type RapClientOptions } from './client-options.js';
import { type ClientRoute, ClientRoutes } from './client-routes.js';
import { ParseError, toRapError } from './errors.js';
import { handlerFault } from './handler-fault.js';
import { Lifecycle } from './lifecycle.js';
import { assertLoadedOnce, loadProcessors } from './load-plugins.js';
import { RapChannel } from './rap-channel.js';
import { RapStatus, type RapClientEvents } from './rap-events.js';
import { RapSession, type SessionClient } from './rap-session.js';
import type { RapServiceDefinition } from './service/contract.js';
import { controllerProxy } from './service/controller-proxy.js';
import type { RapControllerClient } from './service/controller-types.js';
import { serviceProxy } from './service/service-proxy.js';
import type { RapServiceClient } from './service/service-types.js';
import { streamOf } from './rap-stream.js';

const DEFAULT_CALL_TIMEOUT_MS = 10_000;

/** What a call inherits and was told: where it goes, how long it may take, what cancels it. */
interface CallPlan {
  readonly route: ClientRoute;
  readonly header: Header;
  readonly encodedHeader: EncodedHeader | undefined;
  readonly session: RapSession | undefined;
  readonly timeoutMs: number;
  /** Somebody asked for this limit: the server is told, and streams and channels end with it. */
  readonly isLimited: boolean;
  readonly signals: readonly AbortSignal[];
}

const CLIENT_HOOKS = { start: 'onClientStart', stop: 'onClientStop' };

const logger = new Logger('RapClient');
const NO_SIGNALS: readonly AbortSignal[] = [];
const NOTHING = (): void => {};

/**
 * Calls a rap server: with promises (`call`, `stream`, `channel`), or as Nest's `ClientProxy` (`send`, `emit`).
 *
 *     const client = new RapClient({ host: 'localhost', port: 9000 });
 *     await client.call<number>('sum', { a: 1, b: 2 });
 *
 * It connects with the first call, and comes back by itself when the connection was lost.
 */
export class RapClient extends ClientProxy<RapClientEvents> implements SessionClient {
  readonly #callTimeoutMs: number;
  readonly #hasOwnTimeout: boolean;
  readonly #connection: Connection;
  readonly #deadlines = new DeadlineQueue(systemClock);
  readonly #routes = new ClientRoutes((pattern) => this.normalizePattern(pattern));
  readonly #listeners = new Map<string, ((...args: never[]) => unknown)[]>();
  /** Proxies by their contracts and controller classes. */
  readonly #proxies = new WeakMap<object, unknown>();
  /** `undefined` where nothing is to be told of start and stop. */
  readonly #lifecycle: ClientLifecycle | undefined;
  #link: SocketLink | undefined;

  /** @throws RangeError for an option that is no option, or out of range. */
  constructor(options: RapClientOptions = {}) {
    super();
    followCallScopes();
    this.#hasOwnTimeout = options.callTimeoutMs !== undefined;
    this.#callTimeoutMs = options.callTimeoutMs ?? DEFAULT_CALL_TIMEOUT_MS;
    if (!(this.#callTimeoutMs > 0))
      throw new RangeError(`callTimeoutMs must be above 0, got ${this.#callTimeoutMs}`);
    if (options.serializer) this.initializeSerializer(options);
    if (options.deserializer) this.initializeDeserializer(options);
    const limits = resolveLimits(options.limits);
    const endpoint = endpointOf(options);
    const { events, processors = [] } = options;
    assertLoadedOnce(processors);
    if (events || processors.length > 0)
      this.#lifecycle = new ClientLifecycle(new Lifecycle(this, events, processors, CLIENT_HOOKS), logError);
    const security = securityOf(options.processors, 'client');
    if (security?.warning) logger.warn(security.warning);
    this.#connection = new Connection({
      dial: async () => {
        if (this.#lifecycle) await this.#lifecycle.start();
        this.#link = await runOutside(() =>
          dial(endpoint, {
            tls: options.tls,
            connectTimeoutMs: limits.connectTimeoutMs,
            limits,
            clock: systemClock,
          }),
        );
        return this.#link;
      },
      where: describeEndpoint(endpoint),
      limits,
      keepAlive: withDefaults('keepAlive', options.keepAlive, CLIENT_KEEP_ALIVE),
      clock: systemClock,
      deadlines: this.#deadlines,
      metadata: options.metadata ?? {},
      processors: loadProcessors(processors, {
        toFault: handlerFault,
        toPublic: toRapError,
        onError: logError,
      }),
      security,
      reconnect: reconnectOf(options.reconnect),
      onStatus: (status, reason) => this.#onStatus(status, reason),
    });
  }

  /** Changes of the connection's state, the latest first. */
  override get status(): Observable<RapStatus> {
    return super.status as Observable<RapStatus>;
  }

  // --- the four kinds of calls --------------------------------------------------------------------------------

  /**
   * Calls a function and waits for its answer.
   *
   * @param pattern `'sum'`, `'/math/sum'`, `{ group: 'math', name: 'sum' }`, or any pattern of Nest
   * @param data what the handler gets; a map of named parameters for a Python server
   * @throws the error that the handler threw, as the same class; `CallTimeoutError`, `ConnectionLostError`,
   * `CallCancelledError` or `OverloadError` where no answer came; `ChannelError` where the function streams
   */
  call<T = unknown>(pattern: unknown, data?: unknown, options?: RapCallOptions): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#start<T>(pattern, data, options, { resolve, reject });
    });
  }

  /**
   * Calls a function that streams: `for await (const item of client.stream('count', { n: 10 }))`. It starts with the
   * first item asked for; the server never gets further ahead than the channel's window; leaving the loop cancels it.
   *
   * @throws in the loop: what `call` throws, and the error that ended the stream
   */
  stream<T = unknown>(pattern: unknown, data?: unknown, options?: RapCallOptions): AsyncIterable<T> {
    return streamOf<T>(
      async () => {
        const channel = await this.#openChannel(pattern, undefined, options, true);
        // a channel that cannot take its parameters has ended, and says why to the reader
        channel.write(data).catch((error: Fault) => channel.cancel(error));
        return channel;
      },
      (value) => this.serializeResponse(value) as T,
    );
  }

  /**
   * Opens a duplex channel. It can be used at once: `read` and `write` wait for the server.
   *
   * @throws ConnectionLostError or CallTimeoutError where there is no connection
   */
  async channel<In = unknown, Out = unknown>(
    pattern: unknown,
    options?: RapCallOptions & { metadata?: unknown },
  ): Promise<RapChannel<In, Out>> {
    try {
      return new RapChannel<In, Out>(await this.#openChannel(pattern, options?.metadata, options));
    } catch (error) {
      throw this.serializeError(toRapError(error));
    }
  }

  /**
   * Nest's contract: an Observable that calls when it is subscribed to, and emits every value that a streaming function
   * answers with. Unsubscribing cancels the call.
   */
  override send<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    if (pattern === undefined || pattern === null)
      return throwError(() => new ParseError('the pattern is missing'));
    return new Observable<TResult>((observer) =>
      this.#start<TResult>(pattern, data, undefined, {
        resolve: inThisScope((value: TResult) => {
          observer.next(value);
          observer.complete();
        }),
        reject: inThisScope((error: unknown) => observer.error(error)),
        stream: inThisScope((channel: Channel) => {
          new RapChannel<TResult>(channel).toObservable().subscribe({
            next: (value) => observer.next(this.serializeResponse(value) as TResult),
            error: (error) => observer.error(this.serializeError(error)),
            complete: () => observer.complete(),
          });
        }),
      }),
    );
  }

  /**
   * Sends an event at once, whether or not anybody subscribes. The Observable completes when the event was handed to
   * the connection, and fails where it could not be.
   */
  override emit<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    if (pattern === undefined || pattern === null)
      return throwError(() => new ParseError('the pattern is missing'));
    const done = new AsyncSubject<TResult>();
    const dispatch = async (): Promise<unknown> => this.dispatchEvent(this.#packet(pattern, data));
    dispatch().then(
      () => {
        done.next(undefined as TResult);
        done.complete();
      },
      (error: unknown) => done.error(this.serializeError(toRapError(error))),
    );
    return done.asObservable();
  }

  // --- typed proxies ------------------------------------------------------------------------------------------

  /**
   * The methods of a contract as functions: `await client.service(MathService).sum({ a: 1, b: 2 })`. Made once for each
   * contract; a call costs what `call` costs.
   */
  service<S extends RapServiceDefinition>(definition: S): RapServiceClient<S> {
    return this.#proxy(definition, () => serviceProxy(this, definition));
  }

  /**
   * The handlers of a controller class as functions, for whoever has the class at hand, as in a monorepo: types are those
   * of its methods, targets and kinds those of its decorators. A method that is no generator itself and returns one must
   * say so: `@MessagePattern('orders', { kind: 'stream' })`.
   *
   * @throws RegisteredError where the class handles nothing, or when a method is called that handles no pattern
   */
  controller<T extends object>(controller: Type<T>): RapControllerClient<T> {
    return this.#proxy(controller, () =>
      controllerProxy(
        {
          call: (...args) => this.call(...args),
          stream: (...args) => this.stream(...args),
          channel: (...args) => this.channel(...args),
          emit: (...args) => this.emit(...args),
          normalize: (pattern) => this.normalizePattern(pattern),
        },
        controller,
      ),
    );
  }

  #proxy<T>(key: object, make: () => T): T {
    const known = this.#proxies.get(key) as T | undefined;
    if (known) return known;
    const made = make();
    this.#proxies.set(key, made);
    return made;
  }

  // --- sessions -----------------------------------------------------------------------------------------------

  /**
   * Runs code in a session: every call inside, at any depth, goes over one connection and carries the session's id.
   * Sessions nest, and parallel ones do not meet.
   */
  async withSession<T>(work: (session: RapSession) => Promise<T> | T): Promise<T> {
    const session = await this.openSession();
    try {
      return await runInSession(session, () => work(session));
    } finally {
      session.close();
    }
  }

  /** Opens a session, which lasts until `session.close()` or the end of an `await using`. */
  async openSession(): Promise<RapSession> {
    return new RapSession(this, await this.#acquire('openSession', this.#callTimeoutMs));
  }

  /** @internal */
  executeIn<T>(
    session: RapSession,
    pattern: unknown,
    data: unknown,
    options?: RapCallOptions,
  ): Promise<T | AsyncIterable<T>> {
    return new Promise((resolve, reject) => {
      this.#start<T>(
        pattern,
        data,
        { ...options, session },
        {
          resolve,
          reject,
          stream: (channel) =>
            resolve(
              streamOf<T>(
                () => channel,
                (value) => this.serializeResponse(value) as T,
              ),
            ),
        },
      );
    });
  }

  // --- life ---------------------------------------------------------------------------------------------------

  /** Measures the way to the server and back. @returns milliseconds */
  async ping(): Promise<number> {
    const peer = await this.#acquire('ping', this.#callTimeoutMs);
    const started = systemClock.now();
    return new Promise((resolve, reject) => {
      const timer = systemClock.after(this.#callTimeoutMs, () =>
        reject(toRapError(callTimeout({ target: 'ping', timeoutMs: this.#callTimeoutMs }, 'response'))),
      );
      peer.measurePing({
        resolve: () => {
          timer.cancel();
          resolve(systemClock.now() - started);
        },
        reject: (fault) => {
          timer.cancel();
          reject(toRapError(fault));
        },
      });
    });
  }

  /** Connects now, for whoever does not want the first call to. @throws ConnectionLostError with the cause. */
  async connect(): Promise<void> {
    await this.#acquire('connect', this.#callTimeoutMs);
    await this.#lifecycle?.ready();
  }

  /**
   * Ends the connection; calls that wait reject with `ConnectionLostError`. A later call connects again.
   *
   * @returns where there are `events` or processors, a promise that they have stopped; else nothing
   */
  close(): unknown {
    const close = (): void => this.#connection.close('the client was closed');
    return this.#lifecycle?.isStarted ? this.#lifecycle.stop(close) : close();
  }

  /** Lets calls, streams and channels that run end, then closes the connection. A later call connects again. */
  drain(): Promise<void> {
    const drain = (): Promise<void> => this.#connection.drain();
    return this.#lifecycle?.isStarted ? this.#lifecycle.stop(drain) : drain();
  }

  /** Nest calls it at shutdown for clients that it has made, and waits for what it returns. */
  onApplicationShutdown(): unknown {
    return this.close();
  }

  /** Calls of this client now. */
  stats(): { inFlight: number; queued: number; channels: number; lateAnswers: number } {
    const { inFlight, queued, peer } = this.#connection;
    return { inFlight, queued, channels: peer?.channels.size ?? 0, lateAnswers: peer?.lateAnswers ?? 0 };
  }

  /** Listens to events of the connection. */
  override on<K extends keyof RapClientEvents>(event: K, callback: RapClientEvents[K]): void {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), callback]);
  }

  /** Nest's way to the thing inside: Node's socket. @throws Error before the client is connected. */
  unwrap<T>(): T {
    if (!this.#link || !this.#connection.peer) throw new Error('Not connected: call "connect" first.');
    return this.#link.unwrap() as T;
  }

  // --- Nest's inner contract ----------------------------------------------------------------------------------

  protected publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    try {
      return this.#send<unknown>(packet, undefined, {
        resolve: (response) => {
          callback({ response });
          callback({ isDisposed: true });
        },
        reject: (err) => callback({ err }),
      });
    } catch (err) {
      callback({ err: toRapError(err) });
      return NOTHING;
    }
  }

  protected async dispatchEvent<T = unknown>(packet: ReadPacket): Promise<T> {
    const { route, header, session, timeoutMs } = this.#plan(packet, undefined);
    const peer =
      session?.connection() ?? this.#connection.peer ?? (await this.#acquire(route.target, timeoutMs));
    const body = this.serializer ? await this.#serialize(packet) : packet.data;
    try {
      const pending = peer.emit({ target: route.target, header, body, timeoutMs }, header);
      if (pending) await pending;
    } catch (error) {
      throw toRapError(error);
    }
    return undefined as T;
  }

  // --- the way of a call --------------------------------------------------------------------------------------

  #start<T>(
    pattern: unknown,
    data: unknown,
    options: RapCallOptions | undefined,
    outcome: Outcome<T>,
  ): () => void {
    try {
      return this.#send(this.#packet(pattern, data), options, {
        resolve: (value: T) => {
          let response: T;
          try {
            response = this.serializeResponse(value) as T;
          } catch (error) {
            return outcome.reject(this.serializeError(error));
          }
          outcome.resolve(response);
        },
        reject: (error) => outcome.reject(this.serializeError(error)),
        stream: outcome.stream,
      });
    } catch (error) {
      outcome.reject(this.serializeError(toRapError(error)));
      return NOTHING;
    }
  }

  /** Sends a call now, or as soon as there is a connection. Returns what cancels it. */
  #send<T>(packet: ReadPacket, options: RapCallOptions | undefined, outcome: Outcome<T>): () => void {
    const plan = this.#plan(packet, options);
    const attempt = new Attempt(
      outcome,
      plan.isLimited ? (channel) => this.#limitChannel(channel, plan) : undefined,
    );
    if (plan.timeoutMs <= 0) attempt.reject(callTimeout(timingOf(plan), 'connect'));
    for (const signal of plan.signals) attempt.cancelOn(signal, plan.route.target);
    if (attempt.over) return NOTHING;
    const peer = plan.session ? plan.session.connection() : this.#connection.peer;
    if (peer && !this.serializer && !this.deserializer) {
      this.#sendTo(peer, plan, packet.data, plan.timeoutMs, attempt);
    } else void this.#sendLater(plan, packet, attempt);
    return () => attempt.abandon();
  }

  /** The way of a call that must wait for a connection, or for a serializer of Nest that may be asynchronous. */
  async #sendLater<T>(plan: CallPlan, packet: ReadPacket, attempt: Attempt<T>): Promise<void> {
    const { route, session, timeoutMs } = plan;
    try {
      const started = systemClock.now();
      if (this.serializer || this.deserializer) this.#limit(attempt, plan, started);
      const body = this.serializer ? await this.#serialize(packet) : packet.data;
      if (this.deserializer) attempt.decode = (response) => this.#deserialize<T>(response);
      const peer = session?.connection() ?? (await this.#connection.acquire(route.target, timeoutMs));
      if (attempt.over) return;
      const leftMs = Math.max(1, Math.ceil(timeoutMs - (systemClock.now() - started)));
      this.#sendTo(peer, plan, body, leftMs, attempt);
    } catch (error) {
      attempt.reject(error);
    }
  }

  #sendTo<T>(peer: Peer, plan: CallPlan, body: unknown, timeoutMs: number, attempt: Attempt<T>): void {
    const { route, isLimited } = plan;
    const headers = attempt.stream && peer.has(Extension.AcceptStream) ? acceptingStream(plan) : plan;
    attempt.pending = peer.call(
      {
        target: route.target,
        header: headers.header,
        encodedHeader: headers.encodedHeader,
        body,
        timeoutMs,
        tellTimeLeft: isLimited,
      },
      attempt,
    );
  }

  /** The user's serializer and deserializer may hang: the time of the call holds for them, too. */
  #limit<T>(attempt: Attempt<T>, plan: CallPlan, started: number): void {
    const limit = new TimeLimit(() => attempt.timeOut(timingOf(plan)));
    this.#deadlines.add(limit, plan.timeoutMs - (systemClock.now() - started));
    attempt.whenOver(() => this.#deadlines.remove(limit));
  }

  async #openChannel(
    pattern: unknown,
    metadata: unknown,
    options: RapCallOptions | undefined,
    forStream = false,
  ): Promise<Channel> {
    const plan = this.#plan(this.#packet(pattern, undefined), options);
    const { route, header, session, timeoutMs, isLimited, signals } = plan;
    const { target } = route;
    if (timeoutMs <= 0) throw callTimeout(timingOf(plan), 'connect');
    for (const signal of signals) if (signal.aborted) throw cancelledBy(signal, target);
    const started = systemClock.now();
    const peer = session?.connection() ?? (await this.#connection.acquire(target, timeoutMs));
    for (const signal of signals) if (signal.aborted) throw cancelledBy(signal, target);
    const leftMs = Math.max(1, Math.ceil(timeoutMs - (systemClock.now() - started)));
    const channel = peer.openChannel({
      target,
      header: forStream && peer.has(Extension.AcceptStream) ? acceptingStream(plan).header : header,
      body: metadata,
      timeoutMs: leftMs,
      tellTimeLeft: isLimited,
    });
    this.#limitChannel(channel, plan, leftMs);
    const unlisten = signals.map((signal) => cancelChannelOn(channel, signal, target));
    channel.whenClosed(() => {
      for (const stop of unlisten) stop();
    });
    return channel;
  }

  #limitChannel(channel: Channel, plan: CallPlan, leftMs = plan.timeoutMs): void {
    const { timeoutMs, isLimited } = plan;
    const limit = new ChannelLimit(channel, plan.route.target, { timeoutMs, whole: isLimited });
    this.#deadlines.add(limit, leftMs);
    channel.whenClosed(() => this.#deadlines.remove(limit));
  }

  /** What holds for a call: its own options, and what the handler or session that makes it hands down. */
  #plan(packet: ReadPacket, options: RapCallOptions | undefined): CallPlan {
    const route = this.#routes.of(packet.pattern);
    const scope = options?.detached ? undefined : currentScope();
    const session = options?.session ?? scope?.sessions?.find((open) => open.belongsTo(this));
    const { metadata } = packet as { metadata?: Record<string, string> };
    const isPlain = !session && !metadata && !options?.header;
    const header = isPlain
      ? route.header
      : {
          ...metadata,
          ...options?.header,
          ...(session ? { session_id: session.id } : {}),
          target: route.target,
        };
    const inherited = scope?.incoming;
    const inheritedMs = inherited?.timeLeftMs ?? Infinity;
    const ownMs = this.#timeoutOf(options);
    return {
      route,
      header,
      encodedHeader: isPlain ? route.encodedHeader : undefined,
      session,
      timeoutMs: Math.ceil(Math.min(ownMs, inheritedMs)),
      isLimited: this.#hasOwnTimeout || inheritedMs !== Infinity || isTimed(options),
      signals: signalsOf(options?.signal, inherited?.signal),
    };
  }

  #timeoutOf(options: RapCallOptions | undefined): number {
    if (!options) return this.#callTimeoutMs;
    const { timeoutMs = this.#callTimeoutMs, deadline } = options;
    if (!(timeoutMs > 0)) throw new RangeError(`timeoutMs must be above 0, got ${timeoutMs}`);
    if (deadline === undefined) return timeoutMs;
    const leftMs = Number(deadline) - Date.now();
    if (Number.isNaN(leftMs))
      throw new RangeError('deadline must be a Date, or a number as Date.now() counts');
    return Math.min(timeoutMs, leftMs);
  }

  async #acquire(what: string, timeoutMs: number): Promise<Peer> {
    try {
      return await this.#connection.acquire(what, timeoutMs);
    } catch (error) {
      throw toRapError(error);
    }
  }

  /** The packet that Nest 12's dispatch hook sees; instrumentation puts its metadata on it. Nest 11 has no such hook. */
  #packet(pattern: unknown, data: unknown): ReadPacket {
    return typeof this.createPacket === 'function' ? this.createPacket(pattern, data) : { pattern, data };
  }

  async #serialize(packet: ReadPacket): Promise<unknown> {
    const serialized = (await this.serializer.serialize(packet)) as ReadPacket;
    return serialized.data;
  }

  async #deserialize<T>(response: unknown): Promise<T> {
    const packet = (await this.deserializer.deserialize({ response, isDisposed: true })) as WritePacket<T>;
    return packet.response as T;
  }

  #onStatus(status: ConnectionStatus, reason: Fault | undefined): void {
    this._status$.next(status);
    const error = toRapError(reason) as Error | undefined;
    if (status === RapStatus.Connected) {
      this.#lifecycle?.connected();
      this.#emit('connect');
    } else if (status === RapStatus.Disconnected) this.#emit('disconnect', error);
    else if (status === RapStatus.Reconnecting && reason) this.#emit('reconnecting', error);
  }

  #emit<K extends keyof RapClientEvents>(event: K, ...args: Parameters<RapClientEvents[K]>): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        listener(...(args as never[]));
      } catch (error) {
        logger.error(error);
      }
    }
  }
}

function logError(error: unknown): void {
  try {
    logger.error(error);
  } catch {
    // what was thrown cannot even be logged
  }
}

/** The headers of a call whose caller takes a stream as well as one value. */
function acceptingStream({ route, header, encodedHeader }: CallPlan): {
  readonly header: Header;
  readonly encodedHeader: EncodedHeader | undefined;
} {
  // a plain call costs nothing more
  if (encodedHeader) return route.accepting;
  return { header: { ...header, accept_stream: true }, encodedHeader: undefined };
}

function timingOf({ route, timeoutMs }: CallPlan): { target: string; timeoutMs: number } {
  return { target: route.target, timeoutMs };
}

/** Ends a channel that the server does not open in time, or, where the caller set a limit, the whole of it. */
class ChannelLimit extends Expiring {
  constructor(
    private readonly channel: Channel,
    private readonly target: string,
    private readonly limit: { readonly timeoutMs: number; readonly whole: boolean },
  ) {
    super();
  }

  override expire(): void {
    if (!this.limit.whole && !this.channel.isDeclaring) return;
    this.channel.cancel(callTimeout({ target: this.target, timeoutMs: this.limit.timeoutMs }, 'response'));
  }
}

function cancelChannelOn(channel: Channel, signal: AbortSignal, target: string): () => void {
  const cancel = (): void => channel.cancel(cancelledBy(signal, target));
  allowManyListeners(signal);
  signal.addEventListener('abort', cancel, { once: true });
  return () => signal.removeEventListener('abort', cancel);
}

function isTimed(options: RapCallOptions | undefined): boolean {
  return options?.timeoutMs !== undefined || options?.deadline !== undefined;
}

function signalsOf(own: AbortSignal | undefined, inherited: AbortSignal | undefined): readonly AbortSignal[] {
  if (!own && !inherited) return NO_SIGNALS;
  return [own, inherited].filter((signal) => signal !== undefined);
}
