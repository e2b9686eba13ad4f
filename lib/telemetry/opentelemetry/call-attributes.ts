import type { Attributes } from '@opentelemetry/api';
import type { RapClientOperation, RapPeerInfo, RapServerOperation } from '../../diagnostics/messages.js';
import type { MethodName } from '../method-names.js';
import { Slot } from '../slot.js';
import { callerOf, methodOf, outcomeOf, ownServerOf, serverOf } from './attributes.js';

/** Attributes of the calls of one function on one server: each set is made once. */
export class CallAttributes {
  /** Those of a span when it begins. */
  readonly started: Attributes;
  readonly #ended = new Map<string, { readonly span: Attributes; readonly metric: Attributes }>();

  constructor(
    private readonly method: Attributes,
    private readonly server: Attributes,
    more: Attributes = {},
  ) {
    this.started = { ...method, ...server, ...more };
  }

  /** Those that are known when it has ended, for the span, and those of its metric. */
  ended(outcome: string, hasFailed: boolean): { readonly span: Attributes; readonly metric: Attributes } {
    const key = hasFailed ? `${outcome} failed` : outcome;
    let ended = this.#ended.get(key);
    if (!ended) {
      // of several servers, the one that has answered is known only now
      const span = { ...this.server, ...outcomeOf(outcome, hasFailed) };
      this.#ended.set(key, (ended = { span, metric: { ...this.method, ...span } }));
    }
    return ended;
  }
}

/** Servers of a client that are remembered; a list of them may change for years. */
const MAX_SERVERS = 1000;

/** Attributes of what clients do, by server and function. */
export class ClientAttributes {
  readonly #servers = new Map<string, Map<MethodName, CallAttributes>>();

  of(name: MethodName, { server }: Pick<RapClientOperation, 'server'>): CallAttributes {
    let methods = this.#servers.get(server);
    if (!methods) {
      if (this.#servers.size >= MAX_SERVERS) this.#servers.clear();
      this.#servers.set(server, (methods = new Map()));
    }
    let attributes = methods.get(name);
    if (!attributes)
      methods.set(name, (attributes = new CallAttributes(methodOf(name), serverOf({ server }))));
    return attributes;
  }
}

/** Attributes of what comes in at servers, by connection and function. */
export class ServerAttributes {
  readonly #connections = new Slot<RapPeerInfo, Map<MethodName, CallAttributes>>('attributes');

  of(name: MethodName, call: RapServerOperation): CallAttributes {
    const { connection } = call;
    let methods = this.#connections.get(connection);
    if (!methods) this.#connections.set(connection, (methods = new Map()));
    let attributes = methods.get(name);
    if (!attributes)
      methods.set(name, (attributes = new CallAttributes(methodOf(name), ownServerOf(call), callerOf(call))));
    return attributes;
  }
}
