import { Extension } from '../../protocol/extension.js';
import { Fault } from '../../protocol/fault.js';
import { PYTHON_DEADLINE_KEY } from '../../protocol/frame.js';
import type { RemoteAddress } from '../../protocol/link.js';
import { Status } from '../../protocol/status.js';
import { parseTarget } from '../../protocol/target.js';
import type { Incoming } from '../../rpc/server/incoming.js';
import { IncomingCall } from '../../rpc/server/incoming-call.js';
import type { IncomingChannel } from '../../rpc/server/incoming-channel.js';
import type { Peer } from '../../rpc/connection/peer.js';
import { type Authorize, type AuthorizeRule, askWhetherAllowed } from './authorize.js';
import type { CallDispatcher } from './call-dispatcher.js';
import type { HandlerRegistry, Route } from './handler-registry.js';
import { kindFault, noChannelFault, unaryFault } from './kind-fault.js';

export interface CallRouterOptions {
  readonly registry: HandlerRegistry;
  readonly dispatcher: CallDispatcher;
  readonly authorize: Authorize | undefined;
  /** Whether a caller is on this machine, and finds private functions. */
  readonly isLocal: (remote: RemoteAddress) => boolean;
  readonly runTimeoutMs: number;
  /** One line of the log, if it has room; says whether it has. */
  readonly log: (peer: Peer, message: () => string) => boolean;
  /** One line of the log for each connection at most. */
  readonly logOnce: (peer: Peer, message: string) => void;
}

const MAX_SHOWN = 256;
/** Unknown targets that are remembered. Peers choose them, so the oldest go. */
const MAX_UNKNOWN = 1000;

/** Finds the handler of what comes in, gives it its time, and hands both on to the dispatcher. */
export class CallRouter {
  readonly #rule: AuthorizeRule | undefined;
  /** What nobody handles and the log was told of: once each. */
  readonly #unknown = new Set<string>();

  constructor(private readonly options: CallRouterOptions) {
    const { authorize, isLocal } = options;
    this.#rule = authorize && { authorize, isLocal };
  }

  /** Processors come first, and their time counts. False where it has none left. */
  onArrival(incoming: Incoming): boolean {
    const isCall = incoming instanceof IncomingCall;
    const route = this.#route(incoming);
    return limit(incoming, route?.timeoutMs ?? (isCall ? this.options.runTimeoutMs : Infinity));
  }

  onCall(call: IncomingCall): void {
    const route = this.#route(call);
    if (!route) return this.#refuse(call);
    call.keepsLimit = route.timeoutMs !== undefined || callerTimeLeftMs(call) !== Infinity;
    if (!limit(call, route.timeoutMs ?? this.options.runTimeoutMs)) return;
    if (this.#rule) this.#ask(this.#rule, call, route);
    else this.#dispatch(call, route);
  }

  onChannel(incoming: IncomingChannel): void {
    const route = this.#route(incoming);
    if (!route) return this.#refuse(incoming);
    // streams and channels live as long as their two sides want, unless one of them says how long that is
    if (!limit(incoming, route.timeoutMs ?? Infinity)) return;
    if (this.#rule) this.#ask(this.#rule, incoming, route);
    else this.#dispatch(incoming, route);
  }

  #dispatch(incoming: IncomingCall | IncomingChannel, route: Route): void {
    const { dispatcher } = this.options;
    if (incoming instanceof IncomingCall) {
      if (!route.isChannel) return dispatcher.dispatch(incoming, route);
      fail(incoming, kindFault(route, 'a channel', 'channel()', 'call()'), 'ChannelError');
    } else if (route.isChannel) dispatcher.converse(incoming, route);
    else if (incoming.wantsChannel) fail(incoming, noChannelFault(route), 'ChannelError');
    else if (route.isUnary) fail(incoming, unaryFault(route), 'ChannelError');
    else dispatcher.stream(incoming, route, this.options.runTimeoutMs);
  }

  /** The user's `authorize` decides, now or later. */
  #ask(rule: AuthorizeRule, incoming: IncomingCall | IncomingChannel, route: Route): void {
    const members = route.members ?? [route];
    const found = new Set<Route>();
    let open = members.length;
    for (const member of members) {
      askWhetherAllowed(rule, incoming, member, (allowed, error) => {
        open -= 1;
        if (allowed) found.add(member);
        if (error !== undefined && !incoming.settled)
          this.options.logOnce(incoming.peer, `authorize failed for ${route.target}: ${textOf(error)}`);
        if (open > 0) return;
        if (incoming.settled)
          incoming.ended(); // nobody waits for it any more
        else if (found.size === 0) this.#refuse(incoming);
        else this.#dispatch(incoming, found.size === members.length ? route : someOf(route, found));
      });
    }
  }

  #route(incoming: Incoming): Route | undefined {
    const { registry, authorize } = this.options;
    const { target } = incoming.header;
    if (typeof target !== 'string') return undefined;
    const isCall = incoming instanceof IncomingCall;
    const request = isCall ? registry.request(target) : registry.channel(target);
    const event = registry.event(target);
    const route = isCall && incoming.oneWay ? (event ?? request) : (request ?? event);
    if (!route || authorize || (!route.isPrivate && !route.members)) return route;
    return this.options.isLocal(incoming.peer.remote) ? route : route.publicPart;
  }

  /** Nobody handles it: the peer gets rap's words, the log the target that was meant. */
  #refuse(incoming: Incoming): void {
    const kind = incoming instanceof IncomingCall && incoming.oneWay ? 'event' : 'function';
    const target = typeof incoming.header.target === 'string' ? incoming.header.target : '';
    const name = (parseTarget(target)?.name ?? target).slice(0, 256);
    const fault = new Fault({ status: Status.FuncNotFound, message: `Not found func. name: ${name}` });
    fail(incoming, fault, 'FuncNotFoundError');
    const shown = `${kind} ${JSON.stringify(target.slice(0, MAX_SHOWN))}`;
    if (this.#unknown.has(shown)) return;
    const hasRoom = this.options.log(incoming.peer, () => {
      // looking for it takes time, which a peer that asks again and again is not given
      const nearest = this.options.registry.nearest(target);
      return `no handler for ${shown}${nearest ? `; did they mean ${nearest}?` : ''}`;
    });
    if (hasRoom) this.#remember(shown);
  }

  /** One that found no room is told of when it is asked for again. */
  #remember(shown: string): void {
    this.#unknown.add(shown);
    const [oldest] = this.#unknown;
    if (this.#unknown.size > MAX_UNKNOWN) this.#unknown.delete(oldest as string);
  }
}

/** An event with several handlers, of which the caller may use some. */
function someOf(route: Route, found: ReadonlySet<Route>): Route {
  const members = route.members?.filter((member) => found.has(member)) ?? [];
  return route.routeOfSome?.(members) ?? route;
}

function fail(incoming: Incoming, fault: Fault, name: string): void {
  incoming.fail(fault, name);
  incoming.ended();
}

/** Gives a handler its time: the server's or its own limit, or what the caller has left. False where nothing is left. */
function limit(incoming: Incoming, ownMs: number): boolean {
  if (incoming.exchange) return true; // it has had it since its arrival
  const leftMs = Math.min(ownMs, callerTimeLeftMs(incoming));
  if (leftMs <= 0) {
    incoming.expire();
    incoming.ended();
    return false;
  }
  if (leftMs !== Infinity) incoming.limitFromArrival(leftMs);
  return true;
}

/** Time that the caller has left: `timeout_ms`, or the `X-rap-deadline` (Unix seconds) of a Python client; else endless. */
function callerTimeLeftMs({ header, peer }: Incoming): number {
  const { timeout_ms: timeoutMs } = header;
  const deadline = header[PYTHON_DEADLINE_KEY];
  return Math.min(
    isTime(timeoutMs) && peer.has(Extension.Deadline) ? timeoutMs : Infinity,
    isTime(deadline) ? deadline * 1000 - Date.now() : Infinity,
  );
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && !Number.isNaN(value);
}

function textOf(error: unknown): string {
  try {
    return (error instanceof Error ? error.message : String(error)).slice(0, 256);
  } catch {
    return 'it cannot be shown';
  }
}
