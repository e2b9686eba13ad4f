import { randomUUID } from 'node:crypto';
import { serverConnection, tellConnection, tellRefusal } from '../../diagnostics/channels.js';
import { Collected } from '../../diagnostics/collected.js';
import type { RapServerNumbers } from '../../diagnostics/messages.js';
import type { Clock } from '../../protocol/clock.js';
import { CloseReason } from '../../protocol/event.js';
import type { Fault } from '../../protocol/fault.js';
import { LocalCode } from '../../protocol/fault.js';
import type { Link } from '../../protocol/link.js';
import { textOf } from '../../protocol/values/unknown.js';
import { CleanContext } from '../../rpc/context/async-context.js';
import type { DeadlineQueue } from '../../rpc/time/deadline-queue.js';
import { aroundConnection } from '../../pipeline/compose.js';
import type { AnyIncoming } from '../../rpc/server/any-incoming.js';
import type { IncomingCall } from '../../rpc/server/incoming-call.js';
import type { IncomingChannel } from '../../rpc/server/incoming-channel.js';
import { addressLoad, type KeepAliveOptions, type RapLimits, serverLoad } from '../../rpc/limits.js';
import { Load } from '../../rpc/load.js';
import type { ConnectionInfo } from '../../rpc/connection/connection-info.js';
import { type AdaptiveLimitOptions, GradientLimit } from '../../rpc/server/gradient-limit.js';
import { LoadMeter } from '../../rpc/server/load-meter.js';
import { type ServerOwner, ServerPeer } from '../../rpc/server/server-peer.js';
import type { ServingPath } from '../../rpc/server/serving.js';
import { connectionView } from '../../pipeline/connection-view.js';
import type { ConnectionMiddleware } from '../../pipeline/api.js';
import { RapError } from '../errors/errors.js';
import { toRapError } from '../errors/to-rap-error.js';
import type { ConnectionSecurity } from '../../rpc/connection/security.js';
import { AddressShares } from './address-shares.js';
import { peerLog } from '../lifecycle/bounded-log.js';
import { type RapServerStats, statsOf } from './server-stats.js';
import type { RapConnectionInfo, RapServerEvents } from '../lifecycle/rap-events.js';

export interface ServerConnectionsOptions {
  readonly limits: RapLimits;
  /** Limits the calls that run at once by how long they take; `undefined`: no. */
  readonly adaptiveLimit: AdaptiveLimitOptions | undefined;
  readonly keepAlive: KeepAliveOptions;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  /** The way of calls and channels to their handlers; `undefined`: straight. */
  readonly serving: ServingPath | undefined;
  /** Decides on connections before anything is read from them. */
  readonly middleware: readonly ConnectionMiddleware[] | undefined;
  /** Whether a function is answered under overload, too. */
  readonly spares: (target: string) => boolean;
  readonly onArrival: (incoming: AnyIncoming) => boolean;
  readonly onCall: (call: IncomingCall) => void;
  readonly onChannel: (incoming: IncomingChannel) => void;
  readonly onEvent: <K extends 'connection' | 'disconnect'>(
    event: K,
    ...args: Parameters<RapServerEvents[K]>
  ) => void;
  readonly log: (line: unknown) => void;
  /** Secures every connection. */
  readonly security?: ConnectionSecurity | undefined;
}

/** All connections of a server: admits them within the limits, counts and drains them. */
export class ServerConnections implements ServerOwner {
  readonly #peers = new Set<ServerPeer>();
  readonly #opening = new Set<ServerPeer>();
  readonly #load: Load;
  readonly #meter: LoadMeter;
  readonly #addresses: AddressShares;
  readonly #collected = new Collected((to) => to.server(this.#numbers()));
  readonly #logged = new WeakSet<ConnectionInfo>();
  /** The async context in which calls and events of the application begin: that of `listen`. */
  #context = new CleanContext();
  #draining: { readonly graceMs: number; readonly done: (() => void)[] } | undefined;
  #refusedConnections = 0;
  #refusedCalls = 0;

  constructor(private readonly options: ServerConnectionsOptions) {
    this.#load = new Load(serverLoad(options.limits));
    this.#meter = new LoadMeter({
      clock: options.clock,
      load: this.#load,
      maxLoopDelayMs: options.limits.maxLoopDelayMs,
      adaptive: options.adaptiveLimit && new GradientLimit(options.adaptiveLimit),
    });
    this.#addresses = new AddressShares(addressLoad(options.limits), this.#load);
  }

  accept(link: Link): void {
    const { limits, keepAlive, clock, deadlines, serving, middleware, security, spares } = this.options;
    const refusal = this.#refusalOf(link);
    const peer = new ServerPeer(link, {
      security,
      owner: this,
      limits,
      keepAlive,
      clock,
      deadlines,
      load: this.#addresses.enter(link.remote),
      meter: this.#meter,
      id: randomUUID(),
      serving,
      spares,
      context: this.#context,
    });
    this.#peers.add(peer);
    this.#opening.add(peer);
    if (refusal) {
      peer.start();
      this.refusedUnheard();
      peer.close(refusal);
    } else if (middleware) void this.#context.run((it) => this.#admit(peer, it), undefined, middleware);
    else peer.start();
  }

  /** A connection was refused, or dropped before DECLARE, since too many were pending. */
  refusedUnheard(): void {
    this.#refusedConnections += 1;
    tellRefusal('connection', this.#draining ? 'shutdown' : 'connections');
  }

  /** Why the server refuses one more connection; `undefined` if it does not. */
  #refusalOf({ remote }: Link): string | undefined {
    if (this.#draining) return CloseReason.Shutdown; // it was in a TLS handshake
    const { maxConnections, maxConnectionsPerAddress } = this.options.limits;
    if (this.#peers.size >= maxConnections) return CloseReason.TooManyConnections;
    return this.#addresses.connectionsOf(remote) >= maxConnectionsPerAddress
      ? CloseReason.TooManyConnectionsOfAddress
      : undefined;
  }

  /** Lets middleware decide. A connection that it does not admit is closed, and counted as refused. */
  async #admit(peer: ServerPeer, middleware: readonly ConnectionMiddleware[]): Promise<void> {
    const connection = connectionView(peer);
    let isServed = false;
    const serve = (): Promise<void> => {
      isServed = true;
      if (peer.state !== 'closed') peer.start();
      return connection.closed;
    };
    let reason: string = CloseReason.Refused;
    peer.attach();
    try {
      await aroundConnection(middleware, connection, serve);
      if (isServed) return; // whether or not it waits for the end
    } catch (error) {
      if (error instanceof RapError) reason = error.message;
      else this.logOnce(peer, `a connection middleware failed: ${textOf(error)}`);
    }
    if (!isServed) {
      this.#refusedConnections += 1;
      tellRefusal('connection', 'middleware');
    }
    peer.close(reason);
  }

  /** Accepts connections again after a restart. */
  reopen(): void {
    this.#draining = undefined;
    this.#collected.set(true);
    this.#context = new CleanContext();
  }

  /** Drains all connections. Resolves when the last is closed. */
  drain(graceMs: number): Promise<void> {
    this.#draining ??= { graceMs, done: [] };
    for (const peer of this.#peers) peer.drain(graceMs);
    const { done } = this.#draining;
    this.#collected.set(this.#peers.size > 0);
    return this.#peers.size === 0 ? Promise.resolve() : new Promise((resolve) => done.push(resolve));
  }

  stats(): RapServerStats {
    let refusedCalls = this.#refusedCalls;
    for (const peer of this.#peers) refusedCalls += peer.incoming.refused;
    return {
      connections: this.#peers.size,
      inFlight: this.#load.running,
      channels: this.#load.channels,
      refusedCalls,
      refusedConnections: this.#refusedConnections,
      draining: this.#draining !== undefined,
      ...statsOf(this.#meter),
    };
  }

  /** What metrics tell of it now. */
  #numbers(): RapServerNumbers {
    let waitingForCredit = 0;
    for (const peer of this.#peers) waitingForCredit += peer.channels.waitingForCredit;
    const { running: inFlight, channels } = this.#load;
    return { connections: this.#peers.size, inFlight, channels, waitingForCredit };
  }

  /** Logs at most one line for each connection: a hostile peer must not fill the log. */
  logOnce(peer: ConnectionInfo, message: string): void {
    if (this.#logged.has(peer)) return;
    this.#logged.add(peer);
    this.log(peer, () => message);
  }

  /** Logs what a peer did, if the log has room. @returns whether it had */
  log({ remote }: ConnectionInfo, message: () => string): boolean {
    return peerLog.write(this.options.log, () => `${remote.address}:${remote.port}: ${message()}`);
  }

  // --- ServerOwner --------------------------------------------------------------------------------------------

  onOpen(peer: ServerPeer): void {
    this.#opening.delete(peer);
    tellConnection(serverConnection, peer);
    this.#context.run((info) => this.options.onEvent('connection', info), undefined, infoOf(peer));
    if (this.#draining) peer.drain(this.#draining.graceMs);
  }

  onArrival(incoming: AnyIncoming): boolean {
    return this.options.onArrival(incoming);
  }

  onCall(call: IncomingCall): void {
    this.options.onCall(call);
  }

  onChannel(incoming: IncomingChannel): void {
    this.options.onChannel(incoming);
  }

  onClose(peer: ServerPeer, reason: Fault): void {
    this.#addresses.leave(peer.remote);
    this.#peers.delete(peer);
    this.#refusedCalls += peer.incoming.refused;
    if (reason.code !== LocalCode.ConnectionLost) this.logOnce(peer, reason.message);
    if (!this.#opening.delete(peer)) {
      tellConnection(serverConnection, peer, reason);
      this.#context.run(
        (info) => this.options.onEvent('disconnect', info, toRapError(reason) as Error),
        undefined,
        infoOf(peer),
      );
    }
    if (this.#peers.size > 0) return;
    this.#meter.stop();
    this.#collected.set(!this.#draining);
    for (const done of this.#draining?.done.splice(0) ?? []) done();
  }
}

function infoOf({ id, remote, metadata }: ConnectionInfo): RapConnectionInfo {
  return { id, peer: remote, metadata };
}
