import type { EncodedHeader } from '../../../protocol/bytes/encoded-frame.js';
import { encodeHeader } from '../../../protocol/encoder.js';
import type { Header } from '../../../protocol/frame.js';
import { ParseError } from '../../errors/errors.js';
import { targetOf } from '../../handlers/pattern.js';

/** Patterns may be made at run time; the cache of their targets must not grow with them. */
const MAX_ROUTES = 4096;

/** Target of a pattern, and the header that every plain call to it carries. */
export interface ClientRoute {
  readonly target: string;
  readonly header: { readonly target: string };
  readonly encodedHeader: EncodedHeader;
  /** The same for a call that accepts a stream as well as one value. */
  readonly accepting: { readonly header: Header; readonly encodedHeader: EncodedHeader };
}

/** Caches the targets of patterns. */
export class ClientRoutes {
  readonly #routes = new Map<unknown, ClientRoute>();

  constructor(private readonly normalize: (pattern: never) => string) {}

  /** @throws Fault with status 1004 if the pattern gives no valid target. */
  of(pattern: unknown): ClientRoute {
    if (pattern === undefined || pattern === null) throw new ParseError('the pattern is missing');
    const key = typeof pattern === 'object' ? this.#keyOf(pattern) : pattern;
    const known = this.#routes.get(key);
    if (known) return known;
    const target = targetOf(pattern, this.normalize);
    const header = { target };
    const acceptingHeader = { ...header, accept_stream: true };
    const route = {
      target,
      header,
      encodedHeader: encodeHeader(header),
      accepting: { header: acceptingHeader, encodedHeader: encodeHeader(acceptingHeader) },
    };
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
