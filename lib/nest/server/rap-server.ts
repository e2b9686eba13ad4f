import type { AddressInfo, Server as NetServer } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import type { CustomTransportStrategy } from '@nestjs/microservices';
import { isLocal } from '../../net/address.js';
import { ProbeServer } from '../../net/probe-server.js';
import { type RapLimits, resolveLimits } from '../../rpc/limits.js';
import type { MessageMiddleware } from '../../pipeline/api.js';
import { securityOf } from '../../pipeline/security-of.js';
import { faultLog } from '../lifecycle/bounded-log.js';
import { type BodyCodec, NestCodec, PLAIN } from './body-codec.js';
import { CallDispatcher, type ProcessingHooks } from './call-dispatcher.js';
import { CallFailures } from './call-failures.js';
import { CallRouter } from './call-router.js';
import { environmentOf } from '../lifecycle/environment.js';
import { EventListeners } from '../lifecycle/event-listeners.js';
import { forgettable } from '../errors/forgettable.js';
import { drainFirst } from '../copies/drain-at-shutdown.js';
import { followCallScopes } from '../handlers/call-scope.js';
import { HandlingServer } from './handling-server.js';
import { Lifecycle } from '../lifecycle/lifecycle.js';
import { assertLoadedOnce, loadMiddleware } from '../lifecycle/load-plugins.js';
import { MiddlewareDispatcher } from './middleware-dispatcher.js';
import { warnOfCopies } from '../copies/package-copies.js';
import { RapStatus, type RapServerEvents } from '../lifecycle/rap-events.js';
import { makeConnections } from './make-connections.js';
import type { ServerConnections } from './server-connections.js';
import { ServerSocket } from './server-socket.js';
import { type RapServerOptions, timesOf } from './server-options.js';
import type { RapServerStats } from './server-stats.js';
import { RAP_TRANSPORT } from '../handlers/transport.js';
import { releaseWorkers, retainWorkers } from '../workers/worker-pool.js';

const SERVER_HOOKS = { start: 'onServerStart', stop: 'onServerStop' };

/**
 * The transport strategy: serves the controllers of a Nest microservice over rap.
 *
 *     const app = await NestFactory.createMicroservice(AppModule, { strategy: new RapServer({ port: 9000 }) });
 *     await app.listen();
 */
export class RapServer extends HandlingServer implements CustomTransportStrategy {
  override transportId: symbol = RAP_TRANSPORT;

  readonly #options: RapServerOptions;
  readonly #connections: ServerConnections;
  readonly #socket: ServerSocket;
  readonly #router: CallRouter;
  readonly #failures: CallFailures;
  readonly #lifecycle: Lifecycle;
  readonly #listeners = new EventListeners<RapServerEvents>((error) => this.#logged(error));
  readonly #closeTimeoutMs: number;
  #securityWarning: string | undefined;
  #opening: Promise<AddressInfo | string> | undefined;
  #closing: Promise<void> | undefined;
  /** What `close()` waits for. */
  readonly #farewells = new Set<Promise<unknown>>();
  readonly #probes: ProbeServer | undefined;

  /** @throws RangeError for an option that does not exist or is out of range */
  constructor(options: RapServerOptions = {}) {
    super(options);
    this.#options = options;
    if (options.requestContext) followCallScopes();
    const limits = resolveLimits(options.limits);
    const { runTimeoutMs, closeTimeoutMs } = timesOf(options);
    this.#closeTimeoutMs = closeTimeoutMs;
    if (options.serializer) this.initializeSerializer(options);
    if (options.deserializer) this.initializeDeserializer(options);
    drainFirst(this, () => this.drain());
    const middleware = loadMiddleware(options.middleware);
    const plugins = [...(options.middleware ?? []), ...(options.processors ?? [])];
    assertLoadedOnce(plugins);
    this.#lifecycle = new Lifecycle(this, options.events, plugins, SERVER_HOOKS);
    const security = securityOf(options.processors, 'server');
    this.#securityWarning = security?.warning;
    this.#connections = makeConnections(options, {
      limits,
      middleware: middleware.connection,
      security,
      router: () => this.#router,
      spares: (target) => this.bindings.registry.isDefault(target),
      onEvent: (event, ...args) => this.#listeners.emit(event, ...args),
      onError: (error) => this.#logged(error),
      log: (message) => this.logger.warn(message),
    });
    this.#socket = this.#makeSocket(limits);
    const reasons = (): string[] => [this.health.reason ?? []].flat();
    this.#probes = options.probes && new ProbeServer({ name: 'probes', ...options.probes, reasons });
    this.#failures = new CallFailures({
      exposeErrors: options.exposeErrors ?? false,
      onError: (error) => this.handleError(error as string),
      onWarning: (message) => this.logger.warn(message),
    });
    this.#router = new CallRouter({
      registry: this.bindings.registry,
      dispatcher: this.#makeDispatcher(middleware.message),
      authorize: options.authorize,
      isLocal: (remote) => isLocal(remote, options.trustLoopback),
      runTimeoutMs,
      log: (peer, message) => this.#connections.log(peer, message),
      logOnce: (peer, message) => this.#connections.logOnce(peer, message),
    });
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
   * Stops: accepts nothing more, tells the clients, gives running calls `closeTimeoutMs` to finish, and closes. May be
   * called before `listen`, and twice. Then the server may listen again, or be the strategy of another application.
   */
  close(): Promise<void> {
    this.bindings.release();
    this.#closing ??= this.#stop()
      .finally(() => Promise.allSettled(this.#farewells))
      .finally(() => (this.#closing = undefined));
    return forgettable(this.#closing, 'server.close()');
  }

  /**
   * Stops listening and tells the clients to send nothing new, while running calls go on. For a preStop hook; `close()`
   * does the rest. Resolves when every connection is closed.
   */
  async drain(): Promise<void> {
    this.#beginToDrain();
    this.#socket.stopListening();
    await this.#connections.drain(this.#closeTimeoutMs);
    await this.#socket.flushed();
  }

  /** Probes and watchers see it before anything is refused. */
  #beginToDrain(): void {
    this.health.drains();
    this.#listeners.emitArmed('draining');
  }

  /** `close()` waits for this work as well, however it ends: such as what takes the server out of a registry. */
  closesAfter(work: Promise<unknown>): void {
    this.#farewells.add(work);
    const ended = (): unknown => this.#farewells.delete(work);
    work.then(ended, ended);
  }

  /** The address of `/livez` and `/readyz`, or `null` without the option `probes`. */
  probesAddress(): AddressInfo | null {
    return this.#probes?.address() ?? null;
  }

  /** The address that the server listens on, or `null` if it does not listen. */
  address(): AddressInfo | string | null {
    return this.#socket.server?.listening ? this.#socket.server.address() : null;
  }

  /**
   * Serves new connections with another certificate, without a restart; connections that are open go on with theirs.
   * Options that are not given stay as they were. Works before `listen`, and holds over restarts.
   *
   * @param options Node's: `key` and `cert`, and `ca` if clients show certificates, too
   * @throws Error if the server has no `tls`, or key and certificate do not match; then nothing changes
   */
  setSecureContext(options: SecureContextOptions): void {
    this.#socket.setSecureContext(options);
  }

  /** Open connections and running calls, how many of each were refused since the start, and the load. */
  stats(): RapServerStats {
    return this.#connections.stats();
  }

  /** Node's server. @throws Error before `listen` */
  unwrap<T = NetServer>(): T {
    const { server } = this.#socket;
    if (!server) throw new Error('Not initialized: call "listen" first.');
    return server as T;
  }

  /** Listens to events of the transport. May be called before `listen`, and holds over restarts. */
  on<K extends keyof RapServerEvents>(event: K, callback: RapServerEvents[K]): void {
    this.#listeners.add(event, callback);
  }

  async #start(): Promise<AddressInfo | string> {
    if (this.#opening || this.#socket.server) {
      throw new Error(
        'The server listens already. If it serves another application: make a RapServer for each, or close that one first',
      );
    }
    this.#opening = this.#open();
    try {
      return await this.#opening;
    } finally {
      this.#opening = undefined;
    }
  }

  async #open(): Promise<AddressInfo | string> {
    this.bindings.start();
    await this.#probes?.listen();
    try {
      await this.#lifecycle.starting();
      return await this.#serveOrUndo();
    } catch (error) {
      await this.#probes?.close();
      throw error;
    }
  }

  async #serveOrUndo(): Promise<AddressInfo | string> {
    try {
      return await this.#serve();
    } catch (error) {
      await this.#lifecycle.undo();
      throw error;
    }
  }

  async #serve(): Promise<AddressInfo | string> {
    this.#socket.assertIdentity();
    warnOfCopies((message) => this.logger.warn(message));
    if (this.#securityWarning) this.logger.warn(this.#securityWarning);
    this.#securityWarning = undefined;
    const address = await this.#socket.listen().catch((error: unknown) => {
      this._status$.next(RapStatus.Disconnected);
      throw error;
    });
    this.#connections.reopen();
    retainWorkers();
    this._status$.next(RapStatus.Connected);
    this.health.serves();
    this.#listeners.arm('draining');
    this.#listeners.emit('listening', address);
    try {
      await this.#lifecycle.started();
    } catch (error) {
      await this.#shut();
      throw error;
    }
    return address;
  }

  async #stop(): Promise<void> {
    await this.#opening?.catch(() => {}); // a start in progress ends first, and is undone
    if (!this.#socket.server) return;
    this.#beginToDrain();
    try {
      try {
        await this.#lifecycle.stopping();
      } finally {
        await this.#shut();
      }
    } catch (error) {
      await this.#lifecycle.undo();
      throw error;
    }
    await this.#lifecycle.stopped();
  }

  async #shut(): Promise<void> {
    await this.drain();
    await this.#socket.close();
    this.health.stops();
    await this.#probes?.close();
    await releaseWorkers();
    this._status$.next(RapStatus.Disconnected);
    this.#listeners.emit('close');
  }

  // --- for the layers below ------------------------------------------------------------------------------------

  #makeSocket(limits: RapLimits): ServerSocket {
    const { host, port, path, tls } = this.#options;
    return new ServerSocket({
      endpoint: { host, port, path },
      tls,
      limits,
      ...environmentOf(this.#options),
      onLink: (link) => this.#connections.accept(link),
      onRefused: () => this.#connections.refusedUnheard(),
      onError: (error) => {
        this.#logged(error);
        this.#listeners.emit('error', error);
      },
    });
  }

  #makeDispatcher(middleware: readonly MessageMiddleware[] | undefined): CallDispatcher {
    const options = {
      hooks: this.#processingHooks(),
      failures: this.#failures,
      codec: () => this.#codec(),
    };
    return middleware ? new MiddlewareDispatcher(options, middleware) : new CallDispatcher(options);
  }

  /** Logs an error if the log has room: a peer may cause one with each call, or each connection. */
  protected override handleError(error: string): void {
    faultLog.write(
      (line) => this.logger.error(line),
      () => error,
    );
  }

  #logged(error: unknown): void {
    try {
      this.handleError(error as string);
    } catch {
      // it cannot even be logged
    }
  }

  /** A subclass may set its serializers at any time. */
  #codec(): BodyCodec {
    const { serializer, deserializer } = this;
    if (!serializer && !deserializer) return PLAIN;
    return new NestCodec(serializer, deserializer, this.#failures);
  }

  /** The hooks are fields that instrumentation may set at any time. */
  #processingHooks(): ProcessingHooks {
    return {
      start: (context, done) => this.onProcessingStartHook(this.transportId, context, done),
      end: () => {
        const hook = this.onProcessingEndHook;
        return hook && ((context) => hook(this.transportId, context));
      },
    };
  }
}
