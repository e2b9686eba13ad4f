import type { MessageHandler } from '@nestjs/microservices';
import { parseTarget } from '../protocol/target.js';
import { RegisteredError } from './errors.js';
import { allOf } from './event-handlers.js';

/** What a handler may say of itself in the third argument of `@MessagePattern` and `@EventPattern`. */
export interface RapPatternExtras {
  /** Group of the target. Default: that of `@RapGroup` on the class, else `default`. */
  group?: string;
  /** Only callers on this machine find the function; for others it does not exist. */
  private?: boolean;
  /** Time that the handler has, in milliseconds. Default: the server's `runTimeoutMs`. */
  timeoutMs?: number;
  /** `channel` for `@ChannelPattern`; anything else is found out by what the handler returns. */
  kind?: 'channel';
  /** @internal `Class.method`, set by the decorators of this package. */
  handlerName?: string;
  /** @internal The group comes from `@RapGroup`: that of a subclass comes before it. */
  isClassGroup?: boolean;
  /** Bind it although `bindUntagged` is false. */
  rap?: boolean;
}

/** A handler and where it is found. */
export interface Route {
  readonly target: string;
  readonly group: string;
  readonly name: string;
  /** The pattern as Nest normalises it. */
  readonly pattern: string;
  readonly handler: MessageHandler;
  readonly isPrivate: boolean;
  readonly timeoutMs: number | undefined;
  /** Registered with `@ChannelPattern`. */
  readonly isChannel: boolean;
  /** `Class.method`, where a decorator of this package has seen it. */
  readonly owner: string | undefined;
}

/** Handlers by target. Requests and events of one name do not meet. */
export class HandlerRegistry {
  readonly #requests = new Map<string, Route>();
  readonly #events = new Map<string, Route>();
  readonly #eventHandlers = new Map<string, MessageHandler[]>();
  readonly #conflicts: string[] = [];

  request(target: string): Route | undefined {
    return this.#requests.get(target);
  }

  event(target: string): Route | undefined {
    return this.#events.get(target);
  }

  addRequest(route: Route): void {
    const other = this.#requests.get(route.target);
    if (other) {
      this.#conflicts.push(`${route.target} is handled by ${describe(other)} and by ${describe(route)}`);
    } else this.#requests.set(route.target, route);
  }

  /** Several handlers of one event run all. */
  addEvent(route: Route): void {
    const handlers = this.#eventHandlers.get(route.target) ?? [];
    handlers.push(route.handler);
    this.#eventHandlers.set(route.target, handlers);
    if (handlers.length === 1) this.#events.set(route.target, { ...route, handler: allOf(handlers) });
  }

  /** @throws {@link RegisteredError} that names all handlers which claim the same target. */
  assertNoConflicts(): void {
    if (this.#conflicts.length > 0) {
      throw new RegisteredError(`Two request handlers for one target: ${this.#conflicts.join('; ')}`);
    }
  }

  /** The known target that looks most like this one, for whoever reads the log. */
  nearest(target: string): string | undefined {
    const asked = (parseTarget(target)?.name ?? target).slice(0, 64);
    let best: { target: string; distance: number } | undefined;
    for (const route of [...this.#requests.values(), ...this.#events.values()]) {
      const distance = editDistance(asked, route.name.slice(0, 64));
      if (!best || distance < best.distance) best = { target: route.target, distance };
    }
    return best && best.distance <= Math.max(2, asked.length / 2) ? best.target : undefined;
  }
}

function describe({ owner, pattern, group }: Route): string {
  return `${owner ? `${owner}, ` : ''}pattern "${pattern}" in group "${group}"`;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
