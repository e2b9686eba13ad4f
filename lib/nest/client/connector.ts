import type { ConnectOptions, Prepared } from '../../cluster/connect-attempt.js';
import type { CallingPath } from '../../rpc/client/calling.js';
import type { Endpoint } from '../../net/address.js';
import { dial, type DialOptions } from '../../net/dial.js';
import type { SocketLink } from '../../net/socket-link.js';
import { securityOf } from '../../pipeline/security-of.js';
import type { Link } from '../../protocol/link.js';
import { isRecord } from '../../protocol/values/unknown.js';
import type { ConnectionSecurity } from '../../rpc/connection/security.js';
import {
  CLIENT_KEEP_ALIVE,
  type KeepAliveOptions,
  resolveLimits,
  type RapLimits,
  withDefaults,
} from '../../rpc/limits.js';
import type { DeadlineQueue } from '../../rpc/time/deadline-queue.js';
import { environmentOf } from '../lifecycle/environment.js';
import { askedFor } from './asked-options.js';
import type { ClientLifecycle } from './client-lifecycle.js';
import type { RapClientOptions } from './client-options.js';

export interface ConnectorOptions {
  readonly deadlines: DeadlineQueue;
  /** Starts before the first connection; `undefined` without events and processors. */
  readonly lifecycle: ClientLifecycle | undefined;
  readonly calling: CallingPath | undefined;
  readonly onLink: (link: SocketLink) => void;
}

/** How a client connects to its servers. */
export class Connector {
  readonly limits: RapLimits;
  readonly security: ConnectionSecurity | undefined;
  readonly #keepAlive: KeepAliveOptions;

  /** @throws RangeError for a limit or time that is unknown or out of range */
  constructor(
    private readonly options: RapClientOptions,
    private readonly context: ConnectorOptions,
  ) {
    this.limits = resolveLimits(options.limits);
    this.security = securityOf(options.processors, 'client');
    this.#keepAlive = withDefaults('keepAlive', options.keepAlive, CLIENT_KEEP_ALIVE);
  }

  /**
   * How to connect to one server. Functions of the options are called for each connection.
   *
   * @param server told for each connection: a list may change the name that TLS verifies
   */
  to(where: string, server: () => Endpoint): ConnectOptions {
    const { tls, metadata = {} } = this.options;
    const { deadlines, calling, lifecycle } = this.context;
    const isAsked = typeof tls === 'function' || typeof metadata === 'function';
    return {
      prepare: lifecycle || isAsked ? (signal) => this.#prepare(server, isAsked, signal) : undefined,
      dial: (signal) => this.#reach(server(), tls as Exclude<typeof tls, () => unknown>, signal),
      where,
      limits: this.limits,
      keepAlive: this.#keepAlive,
      clock: deadlines.clock,
      deadlines,
      metadata: metadata as Exclude<typeof metadata, () => unknown>,
      calling,
      security: this.security,
    };
  }

  async #reach(endpoint: Endpoint, tls: DialOptions['tls'], signal: AbortSignal): Promise<Link> {
    const { limits } = this;
    const { connectTimeoutMs } = limits;
    const { clock, network } = environmentOf(this.options);
    const link = await dial(endpoint, { tls, connectTimeoutMs, limits, clock, network, signal });
    this.context.onLink(link);
    return link;
  }

  async #prepare(server: () => Endpoint, isAsked: boolean, signal: AbortSignal): Promise<Prepared> {
    await this.context.lifecycle?.start();
    if (!isAsked) return {};
    const { tls, metadata } = this.options;
    const { connectTimeoutMs } = this.limits;
    const { clock } = this.context.deadlines;
    const told = await askedFor(metadata, {
      name: 'metadata',
      expected: 'an object',
      isExpected: (value) => value === undefined || isRecord(value),
      timeoutMs: connectTimeoutMs,
      clock,
      signal,
    });
    const secure = await askedFor(tls, {
      name: 'tls',
      expected: 'an object or true', // `undefined` by mistake must not mean plain text
      isExpected: (value) => value === true || isRecord(value),
      timeoutMs: connectTimeoutMs,
      clock,
      signal,
    });
    return { metadata: told ?? {}, dial: (aborting) => this.#reach(server(), secure, aborting) };
  }
}
