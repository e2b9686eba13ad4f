import type { Header } from '../../protocol/frame.js';
import type { RemoteAddress } from '../../protocol/link.js';
import { kindOf } from '../../pipeline/processed-incoming.js';
import type { AnyIncoming } from '../../rpc/server/any-incoming.js';
import type { RapHandlerInfo } from '../handlers/handler.js';

/** A call, event or channel as `authorize` sees it, before anything of Nest runs. */
export interface RapAuthorizeRequest {
  readonly kind: 'call' | 'event' | 'channel';
  /** The target that was asked for. */
  readonly target: string;
  readonly header: Header;
  /** Address, port, and the subject of a verified TLS certificate. */
  readonly peer: RemoteAddress;
  /** What the client said about itself when it connected. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /**
   * Whether the caller is on this machine: a Unix socket or, unless `trustLoopback` is false, loopback. The rule that
   * `authorize` replaces checks nothing else.
   */
  readonly isLocal: boolean;
}

/** Returns true if the caller may use the handler. */
export type Authorize = (request: RapAuthorizeRequest, handler: RapHandlerInfo) => boolean | Promise<boolean>;

/** The user's function, and which callers count as local. */
export interface AuthorizeRule {
  readonly authorize: Authorize;
  readonly isLocal: (remote: RemoteAddress) => boolean;
}

/** Asks the user's function. `answer` is called once; synchronously if the function is synchronous. */
export function askWhetherAllowed(
  { authorize, isLocal }: AuthorizeRule,
  incoming: AnyIncoming,
  handler: RapHandlerInfo,
  answer: (allowed: boolean, error?: unknown) => void,
): void {
  let verdict: unknown;
  try {
    verdict = authorize(requestOf(incoming, handler.target, isLocal(incoming.connection.remote)), handler);
  } catch (error) {
    return answer(false, error ?? 'it threw nothing');
  }
  // a forgotten `return` must not let anybody in: only `true` allows
  if (typeof verdict === 'boolean' || verdict === undefined) return answer(verdict === true);
  Promise.resolve(verdict).then(
    (allowed) => answer(allowed === true),
    (error: unknown) => answer(false, error ?? 'it rejected with nothing'),
  );
}

function requestOf(incoming: AnyIncoming, target: string, isLocal: boolean): RapAuthorizeRequest {
  const { header, connection } = incoming;
  return {
    kind: kindOf(incoming),
    target,
    header,
    peer: connection.remote,
    metadata: connection.metadata,
    isLocal,
  };
}
