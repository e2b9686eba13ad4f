import { serverCall, serverChannel, tellRefusal } from '../../diagnostics/channels.js';
import { Extension } from '../../protocol/extension.js';
import { Fault } from '../../protocol/fault.js';
import { PYTHON_DEADLINE_KEY } from '../../protocol/frame.js';
import type { RemoteAddress } from '../../protocol/link.js';
import { Status } from '../../protocol/status.js';
import { parseTarget } from '../../protocol/target.js';
import { textOf } from '../../protocol/values/unknown.js';
import type { AnyIncoming } from '../../rpc/server/any-incoming.js';
import type { IncomingCall } from '../../rpc/server/incoming-call.js';
import type { IncomingChannel } from '../../rpc/server/incoming-channel.js';
import type { ConnectionInfo } from '../../rpc/connection/connection-info.js';
import { type Authorize, type AuthorizeRule, askWhetherAllowed } from './authorize.js';
import type { CallDispatcher } from './call-dispatcher.js';
import type { HandlerRegistry } from './handler-registry.js';
import type { Route } from '../handlers/handler.js';
import { ServedOperation } from './served-operation.js';
import { kindFault, noChannelFault, unaryFault } from './kind-fault.js';

export interface CallRouterOptions {
  readonly registry: HandlerRegistry;
  readonly dispatcher: CallDispatcher;
  readonly authorize: Authorize | undefined;
  /** Whether a caller is on this machine, and may use private functions. */
  readonly isLocal: (remote: RemoteAddress) => boolean;
  readonly runTimeoutMs: number;
  /** Writes one line to the log if the log has room; returns whether it had. */
  readonly log: (connection: ConnectionInfo, message: () => string) => boolean;
  /** Writes at most one line for each connection. */
  readonly logOnce: (connection: ConnectionInfo, message: string) => void;
}

const MAX_SHOWN = 256;
/** Unknown targets that are remembered. Peers choose them, so the oldest are dropped. */
const MAX_UNKNOWN = 1000;

/** Finds the handler of a call or channel, sets its time limit, and passes both to the dispatcher. */
export class CallRouter {
  readonly #rule: AuthorizeRule | undefined;
  /** Targets without a handler that are in the log already. */
  readonly #unknown = new Set<string>();

  constructor(private readonly options: CallRouterOptions) {
    const { authorize, isLocal } = options;
    this.#rule = authorize && { authorize, isLocal };
  }

  /** Starts the time limit before processors run: their time counts. Returns false if no time is left. */
  onArrival(incoming: AnyIncoming): boolean {
    const isCall = incoming.kind === 'call';
    const route = this.#route(incoming);
    return limit(incoming, route?.timeoutMs ?? (isCall ? this.options.runTimeoutMs : Infinity));
  }

  onCall(call: IncomingCall): void {
    const route = this.#route(call);
    if (serverCall.hasSubscribers)
      new ServedOperation(serverCall, call, route).run(() => this.#takeCall(call, route));
    else this.#takeCall(call, route);
  }

  #takeCall(call: IncomingCall, route: Route | undefined): void {
    if (!route) return this.#refuse(call);
    call.keepsLimit = route.timeoutMs !== undefined || callerTimeLeftMs(call) !== Infinity;
    if (!limit(call, route.timeoutMs ?? this.options.runTimeoutMs)) return;
    if (this.#rule) this.#ask(this.#rule, call, route);
    else this.#dispatch(call, route);
  }

  onChannel(incoming: IncomingChannel): void {
    const route = this.#route(incoming);
    if (serverChannel.hasSubscribers)
      new ServedOperation(serverChannel, incoming, route).run(() => this.#takeChannel(incoming, route));
    else this.#takeChannel(incoming, route);
  }

  #takeChannel(incoming: IncomingChannel, route: Route | undefined): void {
    if (!route) return this.#refuse(incoming);
    // streams and channels have no time limit unless one of their sides sets one
    if (!limit(incoming, route.timeoutMs ?? Infinity)) return;
    if (this.#rule) this.#ask(this.#rule, incoming, route);
    else this.#dispatch(incoming, route);
  }

  #dispatch(incoming: AnyIncoming, route: Route): void {
    const { dispatcher } = this.options;
    if (incoming.kind === 'call') {
      if (!route.isChannel) return dispatcher.dispatch(incoming, route);
      fail(incoming, kindFault(route, 'a channel', 'channel()', 'call()'), 'ChannelError');
    } else if (route.isChannel) dispatcher.converse(incoming, route);
    else if (incoming.wantsChannel) fail(incoming, noChannelFault(route), 'ChannelError');
    else if (route.isUnary) fail(incoming, unaryFault(route), 'ChannelError');
    else dispatcher.stream(incoming, route, this.options.runTimeoutMs);
  }

  /** The user's `authorize` decides, now or later. */
  #ask(rule: AuthorizeRule, incoming: AnyIncoming, route: Route): void {
    const members = route.members ?? [route];
    const found = new Set<Route>();
    let open = members.length;
    for (const member of members) {
      askWhetherAllowed(rule, incoming, member, (allowed, error) => {
        open -= 1;
        if (allowed) found.add(member);
        if (error !== undefined && !incoming.settled)
          this.options.logOnce(
            incoming.connection,
            `authorize failed for ${route.target}: ${textOf(error, MAX_SHOWN)}`,
          );
        if (open > 0) return;
        if (incoming.settled)
          incoming.ended(); // the caller does not wait any more
        else if (found.size === 0) this.#refuse(incoming);
        else this.#dispatch(incoming, found.size === members.length ? route : someOf(route, found));
      });
    }
  }

  #route(incoming: AnyIncoming): Route | undefined {
    const { registry, authorize } = this.options;
    const { target } = incoming.header;
    if (typeof target !== 'string') return undefined;
    const route = routeIn(registry, incoming, target);
    if (!route || authorize || (!route.isPrivate && !route.members)) return route;
    return this.options.isLocal(incoming.connection.remote) ? route : route.publicPart;
  }

  /** There is no handler: the peer gets rap's message, and the log a hint at the target that was meant. */
  #refuse(incoming: AnyIncoming): void {
    const kind = incoming.kind === 'call' && incoming.oneWay ? 'event' : 'function';
    const target = typeof incoming.header.target === 'string' ? incoming.header.target : '';
    const name = (parseTarget(target)?.name ?? target).slice(0, 256);
    const fault = new Fault({ status: Status.FuncNotFound, message: `Not found func. name: ${name}` });
    fail(incoming, fault, 'FuncNotFoundError');
    const shown = `${kind} ${JSON.stringify(target.slice(0, MAX_SHOWN))}`;
    if (this.#unknown.has(shown)) return;
    const hasRoom = this.options.log(incoming.connection, () => {
      // the search takes time: a peer must not cause it again and again
      const nearest = this.options.registry.nearest(target);
      return `no handler for ${shown}${nearest ? `; did they mean ${nearest}?` : ''}`;
    });
    if (hasRoom) this.#remember(shown);
  }

  /** A target that the log had no room for is not remembered, and logged when it is called again. */
  #remember(shown: string): void {
    this.#unknown.add(shown);
    const [oldest] = this.#unknown;
    if (this.#unknown.size > MAX_UNKNOWN) this.#unknown.delete(oldest as string);
  }
}

/** Events go to their own handlers first, everything else to those of functions. */
function routeIn(registry: HandlerRegistry, incoming: AnyIncoming, target: string): Route | undefined {
  if (incoming.kind === 'channel') return registry.channel(target) ?? registry.event(target);
  if (incoming.oneWay) return registry.event(target) ?? registry.request(target);
  return registry.request(target) ?? registry.event(target);
}

/** An event with several handlers, of which the caller may use some. */
function someOf(route: Route, found: ReadonlySet<Route>): Route {
  const members = route.members?.filter((member) => found.has(member)) ?? [];
  return route.routeOfSome?.(members) ?? route;
}

function fail(incoming: AnyIncoming, fault: Fault, name: string): void {
  incoming.fail(fault, name);
  incoming.ended();
}

/** Limits the time of a handler: its own or the server's limit, or what the caller has left. Returns false if none is left. */
function limit(incoming: AnyIncoming, ownMs: number): boolean {
  if (incoming.hasLimit) return true; // the limit runs since the arrival
  incoming.hasLimit = true;
  const leftMs = Math.min(ownMs, callerTimeLeftMs(incoming));
  if (leftMs <= 0) {
    tellRefusal(incoming.kind, 'expired');
    incoming.expire();
    incoming.ended();
    return false;
  }
  if (leftMs !== Infinity) incoming.limitFromArrival(leftMs);
  return true;
}

/** Time that the caller has left: `timeout_ms`, or the `X-rap-deadline` (Unix seconds) of a Python client; else Infinity. */
function callerTimeLeftMs({ header, connection }: AnyIncoming): number {
  const { timeout_ms: timeoutMs } = header;
  const deadline = header[PYTHON_DEADLINE_KEY];
  return Math.min(
    isTime(timeoutMs) && connection.has(Extension.Deadline) ? timeoutMs : Infinity,
    isTime(deadline) ? deadline * 1000 - Date.now() : Infinity,
  );
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && !Number.isNaN(value);
}
