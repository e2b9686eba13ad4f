import type { MessageHandler } from '@nestjs/microservices';
import { toRapError } from '../errors/to-rap-error.js';
import { RegisteredError } from '../errors/errors.js';
import { shown } from '../errors/shown.js';
import type { RapPatternExtras } from '../handlers/handler.js';
import type { RapContext } from '../handlers/rap-context.js';
import { type NormalizePattern, targetOf } from '../handlers/pattern.js';
import { healthRoutes } from '../health/health-routes.js';
import { RapHealth } from '../health/rap-health.js';
import { HandlerRegistry } from './handler-registry.js';
import { extrasProblem, routeOf } from './make-route.js';
import { RegistryList } from './registry-list.js';
import { type RapFunctionExtras, functionRoute } from './run-time-function.js';
import type { RapServerOptions } from './server-options.js';
import { isRecord } from '../../protocol/values/unknown.js';
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
  readonly server: Pick<RapServerOptions, 'bindUntagged' | 'registry' | 'health'>;
}

/** Makes routes of the handlers that Nest binds, if they are meant for rap. */
export class HandlerBindings {
  readonly registry: HandlerRegistry;
  readonly list: RegistryList;
  readonly health: RapHealth;
  /** The application was closed: handlers that are added now belong to another one. */
  #isReleased = false;

  constructor(private readonly options: HandlerBindingsOptions) {
    this.health = new RapHealth((service) => this.registry.hasService(service));
    this.registry = new HandlerRegistry(options.runTimeoutMs, () => this.health.changed());
    this.list = new RegistryList(this.registry);
    const { health: access = 'public' } = options.server;
    if (access) for (const route of healthRoutes(this.health, access)) this.registry.addDefault(route);
    this.#addOwn();
  }

  /** @throws RegisteredError if the pattern does not make a valid target */
  add(pattern: unknown, handler: MessageHandler, isEvent: boolean, extras: Extras): void {
    if (this.#isReleased) this.#clear();
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

  /** @throws RegisteredError that says what is wrong; then nothing changes */
  register(
    pattern: unknown,
    handler: (data: never, context: RapContext) => unknown,
    extras: RapFunctionExtras,
  ): void {
    const target = this.#targetOfFunction(pattern, extras);
    const route = functionRoute(target, this.options.normalize(pattern as never), handler, extras);
    this.registry.register(route, extras.replace === true);
  }

  /** Whether there was one. @throws RegisteredError if it is a handler of the application, or the pattern is not valid */
  unregister(pattern: unknown, extras: RapFunctionExtras): boolean {
    const { registry } = this;
    const target = this.#targetOfFunction(pattern, extras);
    if (registry.unregister(target)) return true;
    if (registry.handlerOf(target))
      throw new RegisteredError(`unregister ${target}: it was not registered at run time, and stays`);
    return false;
  }

  /** The handler of a pattern, of a target, or of the JSON text of a pattern. */
  find(pattern: string): MessageHandler | undefined {
    return this.#handlerOf(pattern) ?? this.#handlerOf(parsed(pattern));
  }

  /** The application is closed: its handlers stay until another one binds its own. */
  release(): void {
    this.#isReleased = true;
  }

  /** @throws RegisteredError that names all that is wrong with the handlers */
  start(): void {
    this.#isReleased = false;
    this.registry.assertSound();
  }

  #clear(): void {
    this.#isReleased = false;
    this.registry.clear();
    this.options.handlers.clear();
    this.#addOwn();
  }

  #targetOfFunction(pattern: unknown, extras: unknown): string {
    if (typeof pattern !== 'string' && typeof pattern !== 'number' && !isRecord(pattern))
      throw new RegisteredError(
        `Invalid pattern: it must be text, a number or an object, got ${shown(pattern)}`,
      );
    return this.#targetOf(pattern, isRecord(extras) ? extras : {});
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
      const target = targetOf(pattern, this.options.normalize);
      return this.registry.functionOf(target)?.handler ?? this.options.handlers.get(target);
    } catch {
      return undefined; // a pattern that makes no target has no handler
    }
  }

  #addOwn(): void {
    const { registry: access = 'private' } = this.options.server;
    if (access) for (const route of this.list.routes(access)) this.registry.addRequest(route);
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
