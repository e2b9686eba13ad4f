import type { Type } from '@nestjs/common';
import { ClientProxy, type MsPattern, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { defer, mergeMap, Observable, throwError } from 'rxjs';
import type { ConnectionStatus, PeerSource } from '../../cluster/peer-source.js';
import type { SocketLink } from '../../net/socket-link.js';
import type { Fault } from '../../protocol/fault.js';
import { DeadlineQueue } from '../../rpc/time/deadline-queue.js';
import { CallPlanner } from './calls/call-plan.js';
import { followCallScopes } from '../handlers/call-scope.js';
import { ClientCalls } from './calls/client-calls.js';
import { HookedCalls } from './calls/hooked-calls.js';
import { ClientSessions, type PinOptions } from './calls/client-sessions.js';
import { logError, makePeerSource } from './make-peer-source.js';
import { type ClientLifecycle, lifecycleOf } from './client-lifecycle.js';
import { assertClientOptions, type RapClientOptions } from './client-options.js';
import { inSubscribersContext, inThisContext, ObserverOutcome, packetsFor } from './calls/client-outcome.js';
import { EmittedEvents } from './calls/emitted-events.js';
import { ParseError } from '../errors/errors.js';
import { toRapError } from '../errors/to-rap-error.js';
import { environmentOf } from '../lifecycle/environment.js';
import { EventListeners } from '../lifecycle/event-listeners.js';
import { traced } from '../errors/failed-call.js';
import { forgettable } from '../errors/forgettable.js';
import { clientCodec } from './calls/client-codec.js';
import { RapChannel } from '../streams/rap-channel.js';
import { RapStatus } from '../lifecycle/rap-events.js';
import type { StartMode } from './fleet-options.js';
import {
  CollectedClient,
  type RapClientEvents,
  type RapClientStats,
  statsOf,
  StatusEvents,
} from './client-events.js';
import type { ChannelOptions, RapCallOptions, RapSession, SessionClient } from './calls/rap-session.js';
import type { RapServiceDefinition } from '../contract/contract.js';
import type { RapControllerClient } from './proxies/controller-types.js';
import { TypedProxies, valuesCarried } from './proxies/typed-proxies.js';
import type { RapServiceClient } from './proxies/service-types.js';
import type { RapIterable } from '../streams/rap-stream.js';

const NOTHING = (): void => {};

/**
 * Calls a rap server: with promises (`call`, `stream`, `channel`), or as Nest's `ClientProxy` (`send`, `emit`).
 *
 *     const client = new RapClient({ host: 'localhost', port: 9000 });
 *     await client.call<number>('sum', { a: 1, b: 2 });
 *
 * It connects with the first call, and reconnects by itself after the connection was lost.
 */
export class RapClient extends ClientProxy<RapClientEvents> implements SessionClient {
  readonly #source: PeerSource;
  readonly #calls: ClientCalls;
  readonly #hooked: HookedCalls;
  readonly #listeners = new EventListeners<RapClientEvents>(logError);
  readonly #statusEvents = new StatusEvents(this.#listeners);
  readonly #events = new EmittedEvents((pattern) => this.normalizePattern(pattern as MsPattern));
  readonly #proxies: TypedProxies;
  readonly #sessions: ClientSessions;
  /** `undefined` without events and processors. */
  readonly #lifecycle: ClientLifecycle | undefined;
  readonly #collected = new CollectedClient(() => this.#source.counts());
  readonly #start: StartMode;
  #link: SocketLink | undefined;

  /** @throws RangeError for an option that is unknown or out of range. */
  constructor(options: RapClientOptions = {}) {
    super();
    assertClientOptions(options);
    followCallScopes();
    const planner = new CallPlanner(this, options.callTimeoutMs, (pattern) => this.normalizePattern(pattern));
    if (options.serializer) this.initializeSerializer(options);
    if (options.deserializer) this.initializeDeserializer(options);
    this.#start = options.start ?? 'lazy';
    this.#lifecycle = lifecycleOf(this, options, logError);
    const deadlines = new DeadlineQueue(environmentOf(options).clock);
    this.#source = makePeerSource(options, {
      deadlines,
      lifecycle: this.#lifecycle,
      onLink: (link) => (this.#link = link),
      onStatus: (status, reason) => this.#onStatus(status, reason),
      onEndpoint: (change) => this.#listeners.emit('endpoint', change),
    });
    this.#calls = new ClientCalls({
      source: this.#source,
      deadlines,
      planner,
      // a subclass may set them at any time
      codec: () => clientCodec(this.serializer, this.deserializer),
    });
    this.#sessions = new ClientSessions({ client: this, source: this.#source, planner, deadlines });
    const base = ClientProxy.prototype;
    this.#hooked = new HookedCalls(this.#calls, {
      createPacket: (pattern, data) => this.#packet(pattern, data),
      serializeResponse: (response) => this.serializeResponse(response),
      serializeError: (error) => this.serializeError(error),
      isSubclassed: () =>
        this.serializeResponse !== base['serializeResponse'] ||
        this.serializeError !== base['serializeError'],
    });
    this.#proxies = new TypedProxies({
      client: this,
      calls: this.#hooked,
      normalize: (pattern) => this.normalizePattern(pattern),
      carried: valuesCarried(this.#source, this.#calls),
    });
    // a failure is seen by the events, and by the calls
    if (this.#start === 'eager') this.#calls.acquire('connect').catch(NOTHING);
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
   * `CallCancelledError` or `OverloadError` if no answer came; `ChannelError` if the function streams
   */
  call<T = unknown>(pattern: unknown, data?: unknown, options?: RapCallOptions): Promise<T> {
    return this.#hooked.call(pattern, data, options);
  }

  /**
   * Calls a function that streams: `for await (const item of client.stream('count', { n: 10 }))`. It starts when
   * the first item is requested; the server is never further ahead than the channel's window; leaving the loop cancels it.
   * Also as `toObservable()` and `toReadable()`, which end it at once when they are unsubscribed or destroyed.
   *
   * @throws in the loop: what `call` throws, and the error that ended the stream
   */
  stream<T = unknown>(pattern: unknown, data?: unknown, options?: RapCallOptions): RapIterable<T> {
    return this.#hooked.stream(pattern, data, options);
  }

  /**
   * Opens a duplex channel. It can be used at once: `read` and `write` wait for the server. A client of several servers waits here
   * until one has accepted it, and tries others if it is refused.
   *
   * @throws ConnectionLostError or CallTimeoutError if there is no connection; with several servers, why none has accepted it
   */
  async channel<In = unknown, Out = unknown>(
    pattern: unknown,
    options?: ChannelOptions,
  ): Promise<RapChannel<In, Out>> {
    try {
      return new RapChannel<In, Out>(
        await this.#calls.channels.open(this.#packet(pattern, undefined), options, {
          metadata: options?.metadata,
        }),
      );
    } catch (error) {
      throw traced(this.serializeError(toRapError(error)));
    }
  }

  /**
   * Nest's contract: an Observable that calls when it is subscribed to, and emits every value that a streaming function
   * answers with. Unsubscribing cancels the call.
   */
  override send<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    if (pattern === undefined || pattern === null)
      return throwError(() => new ParseError('the pattern is missing'));
    if (this.#sendsByItself())
      return defer(async () => this.connect()).pipe(
        mergeMap(() => {
          const packet = this.#packet(pattern, data);
          return new Observable<TResult>((observer) => this.publish(packet, this.createObserver(observer)));
        }),
      );
    return new Observable<TResult>((observer) =>
      this.#hooked.start(
        pattern,
        data,
        undefined,
        new ObserverOutcome(observer, this.#hooked.view<TResult>()),
        true,
      ),
    );
  }

  /**
   * Sends an event at once, whether or not anybody subscribes; it waits for a slot of the server as a call does. The
   * Observable completes when the server has accepted the event (if a server does not tell: when it was sent), and does not
   * wait for the handler. It fails if the event was not sent or was refused, which is logged if nobody subscribes.
   */
  override emit<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    if (pattern === undefined || pattern === null)
      return throwError(() => new ParseError('the pattern is missing'));
    const dispatch = async (): Promise<unknown> => {
      if (this.connect !== RapClient.prototype.connect) await this.connect();
      return this.dispatchEvent(this.#packet(pattern, data));
    };
    return inSubscribersContext(this.#events.send(pattern, dispatch, (error) => this.serializeError(error)));
  }

  // --- typed proxies ------------------------------------------------------------------------------------------

  /**
   * The methods of a contract as functions: `await client.service(MathService).sum({ a: 1, b: 2 })`. Made once for each
   * contract; a call costs what `call` costs.
   */
  service<S extends RapServiceDefinition>(definition: S): RapServiceClient<S> {
    return this.#proxies.service(definition);
  }

  /**
   * The handlers of a controller class as functions, for callers that can import the class, as in a monorepo: types come
   * from its methods, targets and kinds from its decorators. If nothing says whether a method streams, its result can be
   * awaited or iterated, and that decides; `@MessagePattern('orders', { kind: 'stream' })` says it.
   *
   * @throws RegisteredError if the class handles no pattern, or when a method is called that handles no pattern
   */
  controller<T extends object>(controller: Type<T>): RapControllerClient<T> {
    return this.#proxies.controller(controller);
  }

  // --- sessions -----------------------------------------------------------------------------------------------

  /**
   * Runs code in a session: every call inside, at any depth, goes over one connection and carries the session's id.
   * Sessions nest; parallel ones are independent.
   */
  withSession<T>(work: (session: RapSession) => Promise<T> | T): Promise<T> {
    return this.#sessions.withSession(work);
  }

  /** Opens a session, which lasts until `session.close()` or the end of an `await using`. */
  openSession(): Promise<RapSession> {
    return this.#sessions.open();
  }

  /**
   * Runs code on one connection: every call inside, at any depth, goes over it. With `exclusive`, over a connection of its own
   * that no other call uses, and that closes at the end.
   *
   * @throws ConnectionLostError or CallTimeoutError if there is no connection
   */
  withConnection<T>(work: () => Promise<T> | T, options: PinOptions = {}): Promise<T> {
    return this.#sessions.withConnection(work, options);
  }

  /** @internal */
  executeIn<T>(
    session: RapSession,
    pattern: unknown,
    data: unknown,
    options?: RapCallOptions,
  ): Promise<T | RapIterable<T>> {
    return this.#hooked.execute(pattern, data, { ...options, session });
  }

  // --- lifecycle ----------------------------------------------------------------------------------------------

  /** Measures the round trip to the server. @returns milliseconds */
  ping(): Promise<number> {
    return forgettable(this.#calls.ping(), 'client.ping()');
  }

  /** Connects now, instead of with the first call. @throws ConnectionLostError with the cause. */
  connect(): Promise<void> {
    const work = this.#calls.acquire('connect').then(() => this.#lifecycle?.ready());
    return forgettable(work, 'client.connect()');
  }

  /**
   * Ends the connection; calls that wait reject with `ConnectionLostError`. A later call connects again.
   *
   * @returns with `events` or processors, a promise that resolves when they have stopped; otherwise nothing
   */
  close(): unknown {
    const close = (): void => this.#source.close('the client was closed');
    return this.#lifecycle?.isStarted ? this.#lifecycle.stop(close) : close();
  }

  /** Lets calls, streams and channels in flight end, then closes the connection. A later call connects again. */
  drain(): Promise<void> {
    const drain = (): Promise<void> => this.#source.drain().finally(() => this.#collected.changed());
    return this.#lifecycle?.isStarted ? this.#lifecycle.stop(drain) : drain();
  }

  /** Nest calls it for clients that are providers: with `start: 'required'`, the application needs a server to start. */
  async onModuleInit(): Promise<void> {
    if (this.#start === 'required') await this.connect();
  }

  /** Nest calls it at shutdown for clients that it has created, and waits for what it returns. */
  onApplicationShutdown(): unknown {
    return this.close();
  }

  /** Counts of the calls of this client now, and its servers if it may have several. */
  stats(): RapClientStats {
    return statsOf(this.#source.counts());
  }

  /** Listens to events of the connection. */
  override on<K extends keyof RapClientEvents>(event: K, callback: RapClientEvents[K]): void {
    this.#listeners.add(event, callback);
  }

  /** Nest's access to what is underneath: Node's socket. @throws Error before the client is connected. */
  unwrap<T>(): T {
    if (!this.#link || !this.#source.peer) throw new Error('Not connected: call "connect" first.');
    return this.#link.unwrap() as T;
  }

  // --- what ClientProxy calls ---------------------------------------------------------------------------------

  protected publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    try {
      // Nest's createObserver serializes what the packets hold
      const outcome = new ObserverOutcome(packetsFor(callback), { value: (it) => it, error: (it) => it });
      return this.#calls.start(packet, undefined, inThisContext(outcome));
    } catch (err) {
      callback({ err: toRapError(err) });
      return NOTHING;
    }
  }

  protected async dispatchEvent<T = unknown>(packet: ReadPacket): Promise<T> {
    await this.#calls.emit(packet);
    return undefined as T;
  }

  // --- helpers ------------------------------------------------------------------------------------------------

  /** Whether a subclass overrides `connect` or `publish`: `send` then goes through them, as with Nest's own clients. */
  #sendsByItself(): boolean {
    const { prototype } = RapClient;
    return this.connect !== prototype.connect || this.publish !== prototype.publish;
  }

  /** The packet that Nest 12's dispatch hook sees; instrumentation puts its metadata on it. Nest 11 has no such hook. */
  #packet(pattern: unknown, data: unknown): ReadPacket {
    return typeof this.createPacket === 'function' ? this.createPacket(pattern, data) : { pattern, data };
  }

  #onStatus(status: ConnectionStatus, reason: Fault | undefined): void {
    this.#collected.changed(status);
    this._status$.next(status);
    if (status === RapStatus.Connected) this.#lifecycle?.connected();
    this.#statusEvents.tell(status, reason);
  }
}
