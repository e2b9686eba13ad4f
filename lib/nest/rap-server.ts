import type { AddressInfo, Server as NetServer } from 'node:net';
import type { SecureContextOptions, TlsOptions } from 'node:tls';
import { Logger } from '@nestjs/common';
import { Server, type CustomTransportStrategy, type MessageHandler } from '@nestjs/microservices';
import { assertSecureContext, SocketServer } from '../net/socket-server.js';
import { isLocal } from '../net/address.js';
import type { SocketLink } from '../net/socket-link.js';
import { Extension } from '../protocol/extension.js';
import { Fault } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';
import { parseTarget } from '../protocol/target.js';
import { systemClock } from '../rpc/clock.js';
import { DeadlineQueue } from '../rpc/deadline-queue.js';
import type { Incoming } from '../rpc/incoming.js';
import { IncomingCall } from '../rpc/incoming-call.js';
import type { IncomingChannel } from '../rpc/incoming-channel.js';
import { resolveLimits, SERVER_KEEP_ALIVE, withDefaults } from '../rpc/limits.js';
import type { Processors } from '../rpc/processors.js';
import { securityOf } from '../rpc/security.js';
import { channelFault, kindFault } from './kind-fault.js';
import { askWhetherAllowed } from './authorize.js';
import { type BodyCodec, CallDispatcher } from './call-dispatcher.js';
import { toRapError } from './errors.js';
import { rememberMaskedErrors } from './expose-errors.js';
import { HandlerRegistry, type RapPatternExtras, type Route } from './handler-registry.js';
import { listRoute } from './registry-list.js';
import { extrasProblem, routeOf } from './route.js';
import { handlerFault, maskError } from './handler-fault.js';
import { Lifecycle } from './lifecycle.js';
import { assertLoadedOnce, loadMiddleware, loadProcessors } from './load-plugins.js';
import { nestCodec } from './nest-codec.js';
import { targetOf } from './pattern.js';
import type { RapContext } from './rap-context.js';
import { RapStatus, type RapServerEvents } from './rap-events.js';
import { ServerConnections } from './server-connections.js';
import type { RapServerOptions } from './server-options.js';
import { RAP_TRANSPORT } from './transport.js';
import { releaseWorkers, retainWorkers } from './worker-pool.js';

const DEFAULT_RUN_TIMEOUT_MS = 9_000;
const DEFAULT_CLOSE_TIMEOUT_MS = 9_000;

const SERVER_HOOKS = { start: 'onServerStart', stop: 'onServerStop' };

/** Extras by which a handler says that it is meant for rap, whatever `bindUntagged` says. */
const RAP_EXTRAS = ['rap', 'group', 'private', 'timeoutMs', 'kind', 'service'];

/**
 * The transport strategy: serves the controllers of a Nest microservice over rap.
 *
 *     const app = await NestFactory.createMicroservice(AppModule, { strategy: new RapServer({ port: 9000 }) });
 *     await app.listen();
 */
export class RapServer extends Server<RapServerEvents, RapStatus> implements CustomTransportStrategy {
  override transportId: symbol = RAP_TRANSPORT;
  protected override readonly logger = new Logger(RapServer.name);

  readonly #options: RapServerOptions;
  readonly #runTimeoutMs: number;
  readonly #registry = new HandlerRegistry();
  readonly #connections: ServerConnections;
  readonly #dispatcher: CallDispatcher;
  readonly #lifecycle: Lifecycle;
  readonly #listeners = new Map<string, ((...args: never[]) => unknown)[]>();
  readonly #limits;
  #tls: TlsOptions | undefined;
  #securityWarning: string | undefined;
  #codec: BodyCodec | undefined;
  #socketServer: SocketServer | undefined;
  #opening: Promise<AddressInfo | string> | undefined;
  #closing: Promise<void> | undefined;

  /** @throws RangeError for an option that is no option, or out of range. */
  constructor(options: RapServerOptions = {}) {
    super();
    this.#options = options;
    this.#runTimeoutMs = options.runTimeoutMs ?? DEFAULT_RUN_TIMEOUT_MS;
    this.#tls = options.tls;
    this.#limits = resolveLimits(options.limits);
    if (options.serializer) this.initializeSerializer(options);
    if (options.deserializer) this.initializeDeserializer(options);
    rememberMaskedErrors();
    const { registry = 'private' } = options;
    if (registry) this.#registry.addRequest(listRoute(this.#registry, registry));
    const middleware = loadMiddleware(options.middleware);
    const plugins = [...(options.middleware ?? []), ...(options.processors ?? [])];
    assertLoadedOnce(plugins);
    this.#lifecycle = new Lifecycle(this, options.events, plugins, SERVER_HOOKS);
    const security = securityOf(options.processors, 'server');
    this.#securityWarning = security?.warning;
    this.#connections = new ServerConnections({
      limits: this.#limits,
      keepAlive: withDefaults('keepAlive', options.keepAlive, SERVER_KEEP_ALIVE),
      clock: systemClock,
      deadlines: new DeadlineQueue(systemClock),
      processors: this.#processors(),
      middleware: middleware.connection,
      onArrival: (incoming) => this.#onArrival(incoming),
      onCall: (call) => this.#onCall(call),
      onChannel: (incoming) => this.#onChannel(incoming),
      onEvent: (event, ...args) => this.#emit(event, ...args),
      log: (message) => this.logger.warn(message),
      security,
    });
    this.#dispatcher = new CallDispatcher({
      hooks: this.#processingHooks(),
      exposeErrors: options.exposeErrors ?? false,
      codec: () => this.#nestCodec(),
      middleware: middleware.message,
      onError: (error) => this.handleError(error as string),
      onWarning: (message) => this.logger.warn(message),
    });
  }

  // --- handlers -----------------------------------------------------------------------------------------------

  override addHandler(
    pattern: unknown,
    handler: MessageHandler,
    isEventHandler = false,
    extras: RapPatternExtras & Record<string, unknown> = {},
  ): void {
    if (!this.#binds(pattern, extras)) return;
    handler.isEventHandler = isEventHandler;
    handler.extras = extras;
    const target = this.#targetOf(pattern, extras);
    const normalized = this.normalizePattern(pattern as never);
    const problem = extrasProblem(extras);
    if (problem) this.#registry.addProblem(`${target}, pattern "${normalized}": ${problem}`);
    const route = routeOf({ target, pattern: normalized, handler, isEvent: isEventHandler, extras });
    if (isEventHandler) this.#registry.addEvent(route);
    else this.#registry.addRequest(route);
    if (extras.service) this.#registry.addService(extras.service);
    if (!this.messageHandlers.has(target)) this.messageHandlers.set(target, handler);
  }

  /** @throws RegisteredError where the pattern gives no valid target */
  #targetOf(pattern: unknown, { group }: RapPatternExtras): string {
    try {
      return targetOf(pattern, (it) => this.normalizePattern(it), group);
    } catch (error) {
      throw toRapError(error);
    }
  }

  override getHandlerByPattern(pattern: string): MessageHandler | null {
    return this.messageHandlers.get(targetOf(pattern, (it) => this.normalizePattern(it))) ?? null;
  }

  #binds(pattern: unknown, extras: RapPatternExtras & Record<string, unknown>): boolean {
    const { bindUntagged = true } = this.#options;
    if (bindUntagged === true || RAP_EXTRAS.some((key) => key in extras)) return true;
    return bindUntagged !== false && bindUntagged(pattern, extras);
  }

  // --- life ---------------------------------------------------------------------------------------------------

  /** Starts listening. Called by Nest; `callback` gets the error of a failed start, or the address. */
  listen(callback: (error?: Error | null, info?: AddressInfo | string) => void): void {
    this.#start().then(
      (address) => callback(null, address),
      (error: Error) => callback(error),
    );
  }

  /**
   * Stops: accepts nothing more, tells the clients, lets calls that run finish for `closeTimeoutMs`, closes. May be
   * called before `listen` and again.
   */
  close(): Promise<void> {
    this.#closing ??= this.#stop().finally(() => (this.#closing = undefined));
    return this.#closing;
  }

  /**
   * Starts nothing new: stops listening and tells the clients to go elsewhere, while what runs goes on. For a preStop
   * hook; `close()` does the rest. Resolves when every connection is gone.
   */
  async drain(): Promise<void> {
    this.#socketServer?.stopListening();
    await this.#connections.drain(this.#options.closeTimeoutMs ?? DEFAULT_CLOSE_TIMEOUT_MS);
  }

  /** Where the server listens, or `null` when it does not. */
  address(): AddressInfo | string | null {
    return this.#socketServer?.server.listening ? this.#socketServer.server.address() : null;
  }

  /**
   * Serves new connections with another certificate, without a restart; connections that are open go on with theirs.
   * What is not given stays as it was. Before `listen`, and over restarts, it holds as well.
   *
   * @param options Node's: `key` and `cert`, and `ca` where clients show certificates, too
   * @throws Error where the server has no `tls`, or key and certificate do not fit; then nothing changes
   */
  setSecureContext(options: SecureContextOptions): void {
    if (!this.#tls) throw new Error('the server speaks no TLS: give it the option tls');
    const tls = { ...this.#tls, ...options };
    assertSecureContext(tls);
    this.#socketServer?.setSecureContext(tls);
    this.#tls = tls;
  }

  /** Connections and calls now, and what was refused since the start. */
  stats(): { connections: number; inFlight: number; refusedCalls: number; refusedConnections: number } {
    return this.#connections.stats();
  }

  /** Nest's way to the thing inside: Node's server. @throws Error before `listen`. */
  unwrap<T = NetServer>(): T {
    if (!this.#socketServer) throw new Error('Not initialized: call "listen" first.');
    return this.#socketServer.server as T;
  }

  /** Listens to events of the transport. May be called before `listen`, and holds over restarts. */
  on<K extends keyof RapServerEvents>(event: K, callback: RapServerEvents[K]): void {
    const listeners = this.#listeners.get(event) ?? [];
    this.#listeners.set(event, [...listeners, callback]);
  }

  async #start(): Promise<AddressInfo | string> {
    if (this.#opening || this.#socketServer) throw new Error('The server listens already');
    this.#opening = this.#open();
    try {
      return await this.#opening;
    } finally {
      this.#opening = undefined;
    }
  }

  async #open(): Promise<AddressInfo | string> {
    this.#registry.assertSound();
    await this.#lifecycle.starting();
    try {
      return await this.#serve();
    } catch (error) {
      await this.#lifecycle.undo();
      throw error;
    }
  }

  async #serve(): Promise<AddressInfo | string> {
    const { host, port, path } = this.#options;
    const tls = this.#tls;
    if (this.#securityWarning) this.logger.warn(this.#securityWarning);
    this.#securityWarning = undefined;
    const server = new SocketServer({
      endpoint: { host, port, path },
      tls,
      limits: this.#limits,
      clock: systemClock,
      onLink: (link: SocketLink) => this.#connections.accept(link),
      onError: (error) => {
        this.logger.error(error);
        this.#emit('error', error);
      },
    });
    const address = await server.listen().catch((error: unknown) => {
      this._status$.next(RapStatus.Disconnected);
      throw error;
    });
    this.#connections.reopen();
    this.#socketServer = server;
    retainWorkers();
    this._status$.next(RapStatus.Connected);
    this.#emit('listening', address);
    try {
      await this.#lifecycle.started();
    } catch (error) {
      await this.#shut(server);
      throw error;
    }
    return address;
  }

  async #stop(): Promise<void> {
    await this.#opening?.catch(() => {}); // a start that is under way is finished, and undone
    const server = this.#socketServer;
    if (!server) return;
    try {
      try {
        await this.#lifecycle.stopping();
      } finally {
        await this.#shut(server);
      }
    } catch (error) {
      await this.#lifecycle.undo();
      throw error;
    }
    await this.#lifecycle.stopped();
  }

  async #shut(server: SocketServer): Promise<void> {
    await this.drain();
    await server.close();
    this.#socketServer = undefined;
    await releaseWorkers();
    this._status$.next(RapStatus.Disconnected);
    this.#emit('close');
  }

  #emit<K extends keyof RapServerEvents>(event: K, ...args: Parameters<RapServerEvents[K]>): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        listener(...(args as never[]));
      } catch (error) {
        this.handleError(error as string);
      }
    }
  }

  // --- calls --------------------------------------------------------------------------------------------------

  #onCall(call: IncomingCall): void {
    const route = this.#route(call);
    if (!route) return this.#refuse(call);
    call.keepsLimit = route.timeoutMs !== undefined || call.header.timeout_ms !== undefined;
    if (!this.#limit(call, route.timeoutMs ?? this.#runTimeoutMs)) return;
    if (this.#options.authorize) this.#ask(call, route, () => this.#dispatch(call, route));
    else this.#dispatch(call, route);
  }

  #dispatch(call: IncomingCall, route: Route): void {
    if (!route.isChannel) return this.#dispatcher.dispatch(call, route);
    this.#fail(call, kindFault(route, 'a channel', 'channel()', 'call()'), 'ChannelError');
  }

  #onChannel(incoming: IncomingChannel): void {
    const route = this.#route(incoming);
    if (!route) return this.#refuse(incoming);
    // streams and channels live as long as their two sides want, unless one of them says how long that is
    if (!this.#limit(incoming, route.timeoutMs ?? Infinity)) return;
    if (this.#options.authorize) this.#ask(incoming, route, () => this.#dispatchChannel(incoming, route));
    else this.#dispatchChannel(incoming, route);
  }

  #dispatchChannel(incoming: IncomingChannel, route: Route): void {
    if (route.isChannel) return this.#dispatcher.converse(incoming, route);
    if (!incoming.wantsChannel) return this.#dispatcher.stream(incoming, route, this.#runTimeoutMs);
    this.#fail(incoming, channelFault(route), 'ChannelError');
  }

  /** The user's `authorize` decides, now or later. */
  #ask(incoming: Incoming, route: Route, dispatch: () => void): void {
    const { authorize } = this.#options;
    if (!authorize) return dispatch();
    askWhetherAllowed(authorize, incoming, route, (allowed, error) => {
      if (incoming.settled) return incoming.ended(); // nobody waits for it any more
      if (allowed) return dispatch();
      if (error !== undefined)
        this.#connections.logOnce(incoming.peer, `authorize failed for ${route.target}: ${textOf(error)}`);
      this.#refuse(incoming);
    });
  }

  /** Processors come first, and their time counts. */
  #onArrival(incoming: Incoming): boolean {
    const isCall = incoming instanceof IncomingCall;
    const route = this.#route(incoming);
    return this.#limit(incoming, route?.timeoutMs ?? (isCall ? this.#runTimeoutMs : Infinity));
  }

  #processors(): Processors | undefined {
    const onError = (error: unknown): void => this.#logged(error);
    const isExposed = this.#options.exposeErrors ?? false;
    return loadProcessors(this.#options.processors, {
      toFault: (error) => handlerFault(isExposed ? error : maskError(error, onError)),
      toPublic: toRapError,
      onError,
    });
  }

  #logged(error: unknown): void {
    try {
      this.handleError(error as string);
    } catch {
      // what was thrown cannot even be logged
    }
  }

  /** Gives a handler its time: the server's or its own limit, or what the caller has left. False where nothing is left. */
  #limit(incoming: Incoming, ownMs: number): boolean {
    if (incoming.exchange) return true; // it has had it since its arrival
    const leftMs = Math.min(ownMs, callerTimeLeftMs(incoming));
    if (leftMs <= 0) {
      incoming.expire();
      incoming.ended();
      return false;
    }
    if (leftMs !== Infinity) incoming.limitRun(leftMs);
    return true;
  }

  #route(incoming: Incoming): Route | undefined {
    const { target } = incoming.header;
    if (typeof target !== 'string') return undefined;
    const isCall = incoming instanceof IncomingCall;
    const request = isCall ? this.#registry.request(target) : this.#registry.channel(target);
    const event = this.#registry.event(target);
    const route = isCall && incoming.oneWay ? (event ?? request) : (request ?? event);
    if (!route?.isPrivate || this.#options.authorize || isLocal(incoming.peer.remote)) return route;
    return undefined;
  }

  #refuse(incoming: Incoming): void {
    const kind = incoming instanceof IncomingCall && incoming.oneWay ? 'event' : 'function';
    const target = typeof incoming.header.target === 'string' ? incoming.header.target : '';
    const name = (parseTarget(target)?.name ?? target).slice(0, 256);
    const fault = new Fault({ status: Status.FuncNotFound, message: `Not found func. name: ${name}` });
    this.#fail(incoming, fault, 'FuncNotFoundError');
    this.#connections.logOnce(incoming.peer, () => {
      // looking for it takes time, which a peer that asks again and again is not given
      const nearest = this.#registry.nearest(target);
      const hint = nearest ? `; did they mean ${nearest}?` : '';
      return `no handler for ${kind} ${JSON.stringify(target.slice(0, 256))}${hint}`;
    });
  }

  #fail(incoming: Incoming, fault: Fault, name: string): void {
    incoming.fail(fault, name);
    incoming.ended();
  }

  /** A subclass may set its serializers at any time, by `initializeSerializer` of Nest. */
  #nestCodec(): BodyCodec | undefined {
    const { serializer, deserializer } = this;
    if (!serializer && !deserializer) return undefined;
    this.#codec ??= nestCodec(serializer, deserializer);
    return this.#codec;
  }

  /** The hooks are fields that instrumentation may set at any time. */
  #processingHooks(): ConstructorParameters<typeof CallDispatcher>[0]['hooks'] {
    const hookOf = (): typeof this.onProcessingEndHook => this.onProcessingEndHook;
    return {
      start: (context, done) => this.onProcessingStartHook(this.transportId, context, done),
      get end() {
        const hook = hookOf();
        return hook && ((context: RapContext) => hook(RAP_TRANSPORT, context));
      },
    };
  }
}

/** Time that the caller has left: `timeout_ms`, or the `X-rap-deadline` (Unix seconds) of a Python client; else endless. */
function callerTimeLeftMs({ header, peer }: Incoming): number {
  const { timeout_ms: timeoutMs } = header;
  const deadline = header['X-rap-deadline'];
  return Math.min(
    isTime(timeoutMs) && peer.has(Extension.Deadline) ? timeoutMs : Infinity,
    isTime(deadline) ? deadline * 1000 - Date.now() : Infinity,
  );
}

function textOf(error: unknown): string {
  try {
    return (error instanceof Error ? error.message : String(error)).slice(0, 256);
  } catch {
    return 'it cannot be shown';
  }
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && !Number.isNaN(value);
}
