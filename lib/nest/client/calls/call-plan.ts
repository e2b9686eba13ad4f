import type { ReadPacket } from '@nestjs/microservices';
import { FRAME_KEYS, PYTHON_DEADLINE_KEY } from '../../../protocol/frame.js';
import { headerAsItIs } from '../../../protocol/snapshot.js';
import { type CallScope, currentScope } from '../../handlers/call-scope.js';
import { type CallHeaders, type CallPlan, ClientRoutes, NO_SIGNALS } from './client-routes.js';
import { assertTime } from '../../validation/assert-time.js';
import { assertObject } from '../../validation/known-options.js';
import type { NormalizePattern } from '../../handlers/pattern.js';
import type { CallPin } from './pinned-connection.js';
import { assertCallOptions, IDEMPOTENT, type RapCallOptions, type SessionClient } from './rap-session.js';

const DEFAULT_CALL_TIMEOUT_MS = 10_000;

/** Plans the calls of one client. */
export class CallPlanner {
  /** Time limit of a call that sets none. */
  readonly callTimeoutMs: number;

  readonly #hasOwnTimeout: boolean;
  readonly #routes: ClientRoutes;

  /** @throws RangeError if `callTimeoutMs` is not a number above 0 */
  constructor(
    private readonly client: SessionClient,
    callTimeoutMs: number | undefined,
    normalize: NormalizePattern,
  ) {
    this.#hasOwnTimeout = callTimeoutMs !== undefined;
    this.callTimeoutMs = callTimeoutMs === undefined ? DEFAULT_CALL_TIMEOUT_MS : callTimeoutMs;
    assertTime('callTimeoutMs', this.callTimeoutMs);
    this.#routes = new ClientRoutes(normalize, {
      timeoutMs: Math.ceil(this.callTimeoutMs),
      isLimited: this.#hasOwnTimeout,
    });
  }

  /**
   * Combines the options of a call with what it inherits from the handler or session that makes it.
   *
   * @throws ParseError or Fault 1004 for a pattern without a valid target, RangeError for an invalid time
   */
  plan(packet: ReadPacket, options: RapCallOptions | undefined): CallPlan {
    const isIdempotent = options === IDEMPOTENT;
    if (options !== undefined && !isIdempotent) assertCallOptions(options);
    const route = this.#routes.of(packet.pattern);
    const scope = options?.detached ? undefined : currentScope();
    if (options?.session && !options.session.belongsTo(this.client))
      throw new RangeError('the session belongs to another client');
    const session = options?.session ?? this.#pinOf(scope);
    const { metadata } = packet as { metadata?: Record<string, string> };
    if (!scope && !metadata) {
      if (!options) return route.plain;
      if (isIdempotent) return route.idempotent;
    }
    const isPlain = !session?.id && !metadata && !options?.header;
    const header = isPlain
      ? route.header
      : {
          ...metadata,
          ...(options?.header && ownHeader(options.header)),
          ...(session?.id ? { session_id: session.id } : {}),
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
      idempotent: options?.idempotent === true,
      onHeader: options?.onHeader,
    };
  }

  /** The connection that the running code is bound to, if one is of this client. */
  pin(): CallPin | undefined {
    return this.#pinOf(currentScope());
  }

  #pinOf(scope: CallScope | undefined): CallPin | undefined {
    return scope?.sessions?.find((open): open is CallPin => open.belongsTo(this.client));
  }

  #timeoutOf(options: RapCallOptions | undefined): number {
    if (!options) return this.callTimeoutMs;
    const { timeoutMs = this.callTimeoutMs, deadline } = options;
    assertTime('timeoutMs', timeoutMs);
    if (deadline === undefined) return timeoutMs;
    const leftMs = Number(deadline) - Date.now();
    if (Number.isNaN(leftMs))
      throw new RangeError('deadline must be a Date, or a number as Date.now() counts');
    return Math.min(timeoutMs, leftMs);
  }
}

/** The headers of a call whose caller accepts a stream as well as one value. */
export function acceptingStream({ route, header, encodedHeader }: CallPlan): CallHeaders {
  // no allocation for a plain call
  if (encodedHeader) return route.accepting;
  return { header: { ...header, accept_stream: true }, encodedHeader: undefined };
}

/** A header without keys of the protocol: that of one call may be passed on to the next. */
function ownHeader(header: Readonly<Record<string, unknown>>): Record<string, unknown> {
  assertObject('header', header);
  const own = headerAsItIs(header) as Record<string, unknown>;
  for (const key of PROTOCOL_KEYS) delete own[key];
  return own;
}

/** Keys that only the protocol sets, beside target and session. */
const PROTOCOL_KEYS = [...FRAME_KEYS, 'timeout_ms', PYTHON_DEADLINE_KEY];

function isTimed(options: RapCallOptions | undefined): boolean {
  return options?.timeoutMs !== undefined || options?.deadline !== undefined;
}

function signalsOf(own: AbortSignal | undefined, inherited: AbortSignal | undefined): readonly AbortSignal[] {
  if (!own && !inherited) return NO_SIGNALS;
  return [own, inherited].filter((signal) => signal !== undefined);
}
