import type { MessageHandler } from '@nestjs/microservices';
import { toRapError } from '../errors/to-rap-error.js';
import type { RapPatternExtras } from '../handlers/handler.js';
import { type NormalizePattern, targetOf } from '../handlers/pattern.js';
import { HandlerRegistry } from './handler-registry.js';
import { extrasProblem, routeOf } from './make-route.js';
import { listRoute } from './registry-list.js';
import type { RapServerOptions } from './server-options.js';
import { takeUncheckedParameter } from '../copies/unchecked-parameter.js';

/** Extras that bind a handler to rap regardless of `bindUntagged`. */
const RAP_EXTRAS = ['rap', 'group', 'private', 'timeoutMs', 'kind', 'service'];

type Extras = RapPatternExtras & Record<string, unknown>;

export interface HandlerBindingsOptions {
  /** Time limit of a handler that has none of its own. */
  readonly runTimeoutMs: number;
  /** Nest's own table, by target. */
  readonly handlers: Map<string, MessageHandler>;
  readonly normalize: NormalizePattern;
  readonly server: Pick<RapServerOptions, 'bindUntagged' | 'registry'>;
}

/** Makes routes of the handlers that Nest binds, if they are meant for rap. */
export class HandlerBindings {
  readonly registry: HandlerRegistry;

  constructor(private readonly options: HandlerBindingsOptions) {
    this.registry = new HandlerRegistry(options.runTimeoutMs);
    this.#addRegistryList();
  }

  /** @throws RegisteredError if the pattern does not make a valid target */
  add(pattern: unknown, handler: MessageHandler, isEvent: boolean, extras: Extras): void {
    if (!this.#binds(pattern, extras)) return;
    const { registry } = this;
    const { handlers, normalize } = this.options;
    handler.isEventHandler = isEvent;
    handler.extras = extras;
    const target = this.#targetOf(pattern, extras);
    const normalized = normalize(pattern as never);
    const problem = extrasProblem(extras);
    if (problem) registry.addProblem(`${target}, pattern "${normalized}": ${problem}`);
    const route = routeOf({ target, pattern: normalized, handler, isEvent, extras });
    if (isEvent) registry.addEvent(route);
    else registry.addRequest(route);
    if (extras.service) {
      registry.addService(extras.service);
      const unchecked = takeUncheckedParameter(extras.service);
      if (unchecked) registry.addProblem(unchecked);
    }
    if (!handlers.has(target)) handlers.set(target, handler);
  }

  /** The handler of a pattern, of a target, or of the JSON text of a pattern. */
  find(pattern: string): MessageHandler | undefined {
    return this.#handlerOf(pattern) ?? this.#handlerOf(parsed(pattern));
  }

  /** Removes the handlers of an application that was closed, before the next one binds its own. */
  clear(): void {
    this.registry.clear();
    this.options.handlers.clear();
    this.#addRegistryList();
  }

  #binds(pattern: unknown, extras: Extras): boolean {
    const { bindUntagged = true } = this.options.server;
    if (bindUntagged === true || RAP_EXTRAS.some((key) => extras[key] !== undefined)) return true;
    return bindUntagged !== false && bindUntagged(pattern, extras);
  }

  #targetOf(pattern: unknown, { group }: RapPatternExtras): string {
    try {
      return targetOf(pattern, this.options.normalize, group);
    } catch (error) {
      throw toRapError(error);
    }
  }

  #handlerOf(pattern: unknown): MessageHandler | undefined {
    try {
      return this.options.handlers.get(targetOf(pattern, this.options.normalize));
    } catch {
      return undefined; // a pattern that makes no target has no handler
    }
  }

  #addRegistryList(): void {
    const { registry: access = 'private' } = this.options.server;
    if (access) this.registry.addRequest(listRoute(this.registry, access));
  }
}

/** A pattern from its JSON text, as Nest's own servers take it. */
function parsed(pattern: string): unknown {
  try {
    return JSON.parse(pattern) as unknown;
  } catch {
    return pattern;
  }
}
