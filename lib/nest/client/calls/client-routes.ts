import type { EncodedHeader } from '../../../protocol/bytes/encoded-frame.js';
import { encodeHeader } from '../../../protocol/encoder.js';
import type { Header } from '../../../protocol/frame.js';
import { ParseError } from '../../errors/errors.js';
import { targetOf } from '../../handlers/pattern.js';
import type { HeaderListener } from '../../streams/peer-header.js';
import type { CallPin } from './pinned-connection.js';

/** Patterns may be made at run time; the cache of their targets must not grow with them. */
const MAX_ROUTES = 4096;

export const NO_SIGNALS: readonly AbortSignal[] = [];

/** The headers that a call is sent with; encoded ahead if they contain only its target. */
export interface CallHeaders {
  readonly header: Header;
  readonly encodedHeader: EncodedHeader | undefined;
}

/** What a call inherits and was given: its target, its time limit, what cancels it. */
export interface CallPlan extends CallHeaders {
  readonly route: ClientRoute;
  /** The session, or the connection, that the call belongs to. */
  readonly session: CallPin | undefined;
  readonly timeoutMs: number;
  /** The time limit was asked for: the server is told, and streams and channels end with it. */
  readonly isLimited: boolean;
  readonly signals: readonly AbortSignal[];
  /** Repeating the call does no harm. */
  readonly idempotent: boolean;
  /** Gets the header of the answer. */
  readonly onHeader: HeaderListener | undefined;
}

/** Target of a pattern, and what every plain call to it is sent with. */
export class ClientRoute {
  readonly header: { readonly target: string };
  readonly encodedHeader: EncodedHeader;
  /** The same for a call that accepts a stream as well as one value. */
  readonly accepting: { readonly header: Header; readonly encodedHeader: EncodedHeader };
  /** The plan of a call that has no options and inherits nothing: the same for all of them. */
  readonly plain: CallPlan;
  /** The same of a call that may be repeated. */
  readonly idempotent: CallPlan;

  constructor(
    readonly target: string,
    defaults: Pick<CallPlan, 'timeoutMs' | 'isLimited'>,
  ) {
    const header = { target };
    const accepting = { ...header, accept_stream: true };
    this.header = header;
    this.encodedHeader = encodeHeader(header);
    this.accepting = { header: accepting, encodedHeader: encodeHeader(accepting) };
    const { encodedHeader } = this;
    this.plain = {
      route: this,
      header,
      encodedHeader,
      session: undefined,
      ...defaults,
      signals: NO_SIGNALS,
      idempotent: false,
      onHeader: undefined,
    };
    this.idempotent = { ...this.plain, idempotent: true };
  }
}

/** Caches the targets of patterns. */
export class ClientRoutes {
  readonly #routes = new Map<unknown, ClientRoute>();

  constructor(
    private readonly normalize: (pattern: never) => string,
    private readonly defaults: Pick<CallPlan, 'timeoutMs' | 'isLimited'>,
  ) {}

  /** @throws Fault with status 1004 if the pattern gives no valid target. */
  of(pattern: unknown): ClientRoute {
    if (pattern === undefined || pattern === null) throw new ParseError('the pattern is missing');
    const key = typeof pattern === 'object' ? this.#keyOf(pattern) : pattern;
    const known = this.#routes.get(key);
    if (known) return known;
    const route = new ClientRoute(targetOf(pattern, this.normalize), this.defaults);
    if (this.#routes.size >= MAX_ROUTES) this.#routes.clear();
    this.#routes.set(key, route);
    return route;
  }

  /** Equal objects are one pattern; `{ group, name }` must not collide with Nest's own form of it. */
  #keyOf(pattern: object | null): string {
    const { group, name } = (pattern ?? {}) as { group?: unknown; name?: unknown };
    const named = typeof group === 'string' && typeof name === 'string' ? `\0${group}\0${name}` : '';
    return this.normalize(pattern as never) + named;
  }
}
