import { ClientProxy, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { AsyncSubject, Observable, throwError } from 'rxjs';
import { DEFAULT_RECONNECT } from '../cluster/backoff.js';
import { Connection, type ConnectionStatus } from '../cluster/connection.js';
import { describeEndpoint } from '../net/address.js';
import { dial } from '../net/dial.js';
import type { SocketLink } from '../net/socket-link.js';
import { encodeHeader, type EncodedHeader } from '../protocol/encoder.js';
import { Fault, LocalCode } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import { Status } from '../protocol/status.js';
import { systemClock } from '../rpc/clock.js';
import { DeadlineQueue } from '../rpc/deadline-queue.js';
import { CLIENT_KEEP_ALIVE, resolveLimits, withDefaults } from '../rpc/limits.js';
import type { Peer } from '../rpc/peer.js';
import { callTimeout, type CallRequest, type PendingCall } from '../rpc/pending-call.js';
import type { RapCallOptions, RapClientOptions, RapServerAddress } from './client-options.js';
import { ParseError, toRapError } from './errors.js';
import { targetOf } from './pattern.js';
import { RapStatus, type RapClientEvents } from './rap-events.js';

const DEFAULT_CALL_TIMEOUT_MS = 10_000;
/** Patterns may be made at run time; the cache of their targets must not grow with them. */
const MAX_ROUTES = 4096;

/** Target of a pattern, and the header that every plain call to it carries. */
interface ClientRoute {
  readonly target: string;
  readonly header: EncodedHeader;
}

/** Where the outcome of a call goes. */
interface Outcome<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

/**
 * Calls a rap server: with promises (`call`), or as Nest's `ClientProxy` (`send`, `emit`).
 *
 *     const client = new RapClient({ host: 'localhost', port: 9000 });
 *     await client.call<number>('sum', { a: 1, b: 2 });
 *
 * It connects with the first call, and comes back by itself when the connection was lost.
 */
export class RapClient extends ClientProxy<RapClientEvents, RapStatus> {
  readonly #callTimeoutMs: number;
  readonly #connection: Connection;
  readonly #deadlines = new DeadlineQueue(systemClock);
  readonly #routes = new Map<unknown, ClientRoute>();
  readonly #listeners = new Map<string, ((...args: never[]) => unknown)[]>();
  #link: SocketLink | undefined;

  /** @throws RangeError for an option that is no option, or out of range. */
  constructor(options: RapClientOptions = {}) {
    super();
    this.#callTimeoutMs = options.callTimeoutMs ?? DEFAULT_CALL_TIMEOUT_MS;
    if (!(this.#callTimeoutMs > 0))
      throw new RangeError(`callTimeoutMs must be above 0, got ${this.#callTimeoutMs}`);
    if (options.serializer) this.initializeSerializer(options);
    if (options.deserializer) this.initializeDeserializer(options);
    const limits = resolveLimits(options.limits);
    const endpoint = endpointOf(options);
    this.#connection = new Connection({
      dial: async () => {
        this.#link = await dial(endpoint, {
          tls: options.tls,
          connectTimeoutMs: limits.connectTimeoutMs,
          limits,
          clock: systemClock,
        });
        return this.#link;
      },
      where: describeEndpoint(endpoint),
      limits,
      keepAlive: withDefaults('keepAlive', options.keepAlive, CLIENT_KEEP_ALIVE),
      clock: systemClock,
      deadlines: this.#deadlines,
      metadata: options.metadata ?? {},
      reconnect: reconnectOf(options.reconnect),
      onStatus: (status, reason) => this.#onStatus(status, reason),
    });
  }

  // --- calls --------------------------------------------------------------------------------------------------

  /**
   * Calls a function and waits for its answer.
   *
   * @param pattern `'sum'`, `'/math/sum'`, `{ group: 'math', name: 'sum' }`, or any pattern of Nest
   * @param data what the handler gets; a map of named parameters for a Python server
   * @throws the error that the handler threw, as the same class; `CallTimeoutError`, `ConnectionLostError`,
   * `CallCancelledError` or `OverloadError` where no answer came
   */
  call<T = unknown>(pattern: unknown, data?: unknown, options?: RapCallOptions): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#start<T>(pattern, data, options, { resolve, reject });
    });
  }

  /** Nest's contract: an Observable that calls when it is subscribed to. Unsubscribing cancels the call. */
  override send<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    if (pattern === undefined || pattern === null)
      return throwError(() => new ParseError('the pattern is missing'));
    return new Observable<TResult>((observer) =>
      this.#start<TResult>(pattern, data, undefined, {
        resolve(value) {
          observer.next(value);
          observer.complete();
        },
        reject: (error) => observer.error(error),
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
    this.dispatchEvent(this.#packet(pattern, data)).then(
      () => {
        done.next(undefined as TResult);
        done.complete();
      },
      (error: unknown) => done.error(this.serializeError(error)),
    );
    return done.asObservable();
  }

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

  // --- life ---------------------------------------------------------------------------------------------------

  /** Connects now, for whoever does not want the first call to. @throws ConnectionLostError with the cause. */
  async connect(): Promise<void> {
    await this.#acquire('connect', this.#callTimeoutMs);
  }

  /** Ends the connection; calls that wait reject with `ConnectionLostError`. A later call connects again. */
  close(): void {
    this.#connection.close('the client was closed');
  }

  /** Nest calls it at shutdown for clients that it has made. */
  onApplicationShutdown(): void {
    this.close();
  }

  /** Calls of this client now. */
  stats(): { inFlight: number; queued: number; lateAnswers: number } {
    const { inFlight, queued, peer } = this.#connection;
    return { inFlight, queued, lateAnswers: peer?.counters.lateAnswers ?? 0 };
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
    return this.#send<unknown>(packet, undefined, {
      resolve: (response) => {
        callback({ response });
        callback({ isDisposed: true });
      },
      reject: (err) => callback({ err }),
    });
  }

  protected async dispatchEvent<T = unknown>(packet: ReadPacket): Promise<T> {
    const timeoutMs = this.#callTimeoutMs;
    const peer = this.#connection.peer ?? (await this.#acquire(String(packet.pattern), timeoutMs));
    const { target } = this.#route(packet.pattern);
    const body = this.serializer ? await this.#serialize(packet) : packet.data;
    const header = { target, ...metadataOf(packet) };
    try {
      peer.emit({ target, header, body, timeoutMs }, header);
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
        resolve: (value: T) => outcome.resolve(this.serializeResponse(value)),
        reject: (error) => outcome.reject(this.serializeError(error)),
      });
    } catch (error) {
      outcome.reject(this.serializeError(toRapError(error)));
      return NOTHING;
    }
  }

  /** Sends a call now, or as soon as there is a connection. Returns what cancels it. */
  #send<T>(packet: ReadPacket, options: RapCallOptions | undefined, outcome: Outcome<T>): () => void {
    const { signal } = options ?? {};
    const timeoutMs = this.#timeoutOf(options);
    const route = this.#route(packet.pattern);
    const header = headerOf(route, packet, options);
    const attempt = new Attempt(outcome);
    if (signal) attempt.cancelOn(signal, route.target);
    if (attempt.over) return NOTHING;

    const peer = this.#connection.peer;
    if (peer && !this.serializer && !this.deserializer) {
      attempt.pending = peer.call({ target: route.target, header, body: packet.data, timeoutMs }, attempt);
    } else void this.#sendLater({ packet, target: route.target, header, timeoutMs }, attempt);
    return () => attempt.abandon();
  }

  /** The way of a call that must wait for a connection, or for a serializer of Nest that may be asynchronous. */
  async #sendLater<T>(
    {
      packet,
      target,
      header,
      timeoutMs,
    }: { packet: ReadPacket; target: string; header: CallRequest['header']; timeoutMs: number },
    attempt: Attempt<T>,
  ): Promise<void> {
    try {
      const started = systemClock.now();
      const peer = this.#connection.peer ?? (await this.#connection.acquire(target, timeoutMs));
      const body = this.serializer ? await this.#serialize(packet) : packet.data;
      if (attempt.over) return;
      const left = Math.max(1, Math.ceil(timeoutMs - (systemClock.now() - started)));
      if (this.deserializer) attempt.decode = (response) => this.#deserialize<T>(response);
      attempt.pending = peer.call({ target, header, body, timeoutMs: left }, attempt);
    } catch (error) {
      attempt.reject(error);
    }
  }

  async #serialize(packet: ReadPacket): Promise<unknown> {
    const serialized = (await this.serializer.serialize(packet)) as ReadPacket;
    return serialized.data;
  }

  async #deserialize<T>(response: unknown): Promise<T> {
    const packet = (await this.deserializer.deserialize({ response, isDisposed: true })) as WritePacket<T>;
    return packet.response as T;
  }

  async #acquire(what: string, timeoutMs: number): Promise<Peer> {
    try {
      return await this.#connection.acquire(what, timeoutMs);
    } catch (error) {
      throw toRapError(error);
    }
  }

  /** The packet that Nest 12's dispatch hook sees; instrumentation puts its metadata on it. */
  #packet(pattern: unknown, data: unknown): ReadPacket {
    // Nest 11 has no such hook
    return typeof this.createPacket === 'function' ? this.createPacket(pattern, data) : { pattern, data };
  }

  #route(pattern: unknown): ClientRoute {
    const key =
      typeof pattern === 'object' ? this.normalizePattern(pattern as never) + groupOf(pattern) : pattern;
    const known = this.#routes.get(key);
    if (known) return known;
    const target = targetOf(pattern, (it) => this.normalizePattern(it));
    const route = { target, header: encodeHeader({ target }) };
    if (this.#routes.size >= MAX_ROUTES) this.#routes.clear();
    this.#routes.set(key, route);
    return route;
  }

  #timeoutOf(options: RapCallOptions | undefined): number {
    if (!options) return this.#callTimeoutMs;
    const { timeoutMs = this.#callTimeoutMs, deadline } = options;
    if (!(timeoutMs > 0)) throw new RangeError(`timeoutMs must be above 0, got ${timeoutMs}`);
    return deadline === undefined
      ? timeoutMs
      : Math.min(timeoutMs, Math.max(1, Number(deadline) - Date.now()));
  }

  #onStatus(status: ConnectionStatus, reason: Fault | undefined): void {
    this._status$.next(status);
    const error = toRapError(reason) as Error | undefined;
    if (status === RapStatus.Connected) this.#emit('connect');
    else if (status === RapStatus.Disconnected) this.#emit('disconnect', error);
    else if (status === RapStatus.Reconnecting && reason) this.#emit('reconnecting', error);
  }

  #emit<K extends keyof RapClientEvents>(event: K, ...args: Parameters<RapClientEvents[K]>): void {
    for (const listener of this.#listeners.get(event) ?? []) listener(...(args as never[]));
  }
}

/** One call from its start to its outcome, whatever it is waiting for. */
class Attempt<T> {
  over = false;
  pending: PendingCall | undefined;
  decode: ((response: unknown) => Promise<T>) | undefined;
  #unlisten: (() => void) | undefined;

  constructor(private readonly outcome: Outcome<T>) {}

  resolve(body: unknown): void {
    if (this.decode) {
      this.decode(body).then(
        (value) => this.#end() && this.outcome.resolve(value),
        (error: unknown) => this.reject(error),
      );
    } else if (this.#end()) this.outcome.resolve(body as T);
  }

  reject(error: unknown): void {
    if (this.#end()) this.outcome.reject(toRapError(error));
  }

  /** Gives the call up without a word. */
  abandon(): void {
    if (this.#end()) this.pending?.abandon();
  }

  cancelOn(signal: AbortSignal, target: string): void {
    const cancel = (): void => {
      this.pending?.abandon();
      this.reject(
        new Fault({
          status: Status.RpcCall,
          code: LocalCode.CallCancelled,
          message: `${target} was cancelled`,
          cause: signal.reason,
        }),
      );
    };
    if (signal.aborted) return cancel();
    signal.addEventListener('abort', cancel, { once: true });
    this.#unlisten = () => signal.removeEventListener('abort', cancel);
  }

  #end(): boolean {
    if (this.over) return false;
    this.over = true;
    this.#unlisten?.();
    return true;
  }
}

const NOTHING = (): void => {};

/** Plain calls of a route share one encoded header. */
function headerOf(
  route: ClientRoute,
  packet: ReadPacket,
  options: RapCallOptions | undefined,
): Header | EncodedHeader {
  const metadata = metadataOf(packet);
  if (!metadata && !options?.header) return route.header;
  return { ...metadata, ...options?.header, target: route.target };
}

function metadataOf(packet: ReadPacket): Record<string, string> | undefined {
  return (packet as { metadata?: Record<string, string> }).metadata;
}

function groupOf(pattern: unknown): string {
  const { group, name } = (pattern ?? {}) as { group?: unknown; name?: unknown };
  return typeof group === 'string' && typeof name === 'string' ? `\0${group}\0${name}` : '';
}

function endpointOf(options: RapClientOptions): RapServerAddress {
  const { servers, host, port, path } = options;
  if (!servers) return { host, port, path };
  const [first] = servers;
  if (!first) throw new RangeError('servers is empty');
  if (servers.length > 1)
    throw new RangeError(`servers holds ${servers.length} addresses: a client has one server`);
  return first;
}

function reconnectOf(reconnect: RapClientOptions['reconnect']): typeof DEFAULT_RECONNECT | undefined {
  if (reconnect === false) return undefined;
  return withDefaults('reconnect', reconnect === true ? undefined : reconnect, DEFAULT_RECONNECT);
}
