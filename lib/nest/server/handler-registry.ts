import { parseTarget } from '../../protocol/target.js';
import { RegisteredError } from '../errors/errors.js';
import { routeOfAll } from './event-handlers.js';
import { nearestName } from '../../protocol/values/nearest-name.js';
import type { ServiceBinding, ServiceMethod } from '../contract/service-binding.js';
import type { Route } from '../handlers/handler.js';

/** What is found under a target. */
interface Found {
  /** By a call: a channel only if there is no other. */
  readonly calls: ReadonlyMap<string, Route>;
  /** By what is opened as a channel: a stream only if no channel has the name. */
  readonly opened: ReadonlyMap<string, Route>;
  readonly events: ReadonlyMap<string, Route>;
  /** All, by kind, in the order of their registration. */
  readonly all: readonly Route[];
  /** Groups, and `group/name`, of what is not private. */
  readonly services: ReadonlySet<string>;
}

/**
 * Handlers by target. A call, a channel and an event may have the same name. A function that is registered at run time is
 * found in place of a handler; of an event, both run.
 */
export class HandlerRegistry {
  /** Changes with every change. */
  revision = 0;
  /** How often a function was registered or unregistered. */
  replacements = 0;

  readonly #requests = new Map<string, Route>();
  readonly #channels = new Map<string, Route>();
  readonly #events = new Map<string, Route[]>();
  /** Functions that were registered for calls, streams and channels, and whether each may replace a handler. */
  readonly #functions = new Map<string, { readonly route: Route; readonly replaces: boolean }>();
  /** Those for events. */
  readonly #listeners = new Map<string, Route>();
  /** Functions of the server itself, which any handler may replace. */
  readonly #defaults = new Map<string, Route>();
  readonly #services = new Map<ServiceBinding, Set<string>>();
  readonly #conflicts: string[] = [];
  readonly #problems = new Set<string>();
  /** `undefined` after a change. */
  #lastFound: Found | undefined;

  constructor(
    /** Time limit of a handler that has none of its own. */
    private readonly runTimeoutMs = Infinity,
    private readonly onChange: () => void = () => {},
  ) {}

  /** All routes, by kind, in the order of their registration. */
  get routes(): readonly Route[] {
    return this.#found.all;
  }

  /** Whether a group (`math`) or function (`math/sum`) of this name is there, and not private. */
  hasService(name: string): boolean {
    return this.#found.services.has(name);
  }

  /** Removes all handlers of an application, but not the functions that were registered. */
  clear(): void {
    for (const known of [this.#requests, this.#channels, this.#events, this.#services]) known.clear();
    this.#conflicts.length = 0;
    this.#problems.clear();
    this.#changed();
  }

  /** The handler of a call: that of a channel only if there is no other. */
  request(target: string): Route | undefined {
    return this.#found.calls.get(target);
  }

  /** The handler of what is opened as a channel: that of a stream only if no channel has the name. */
  channel(target: string): Route | undefined {
    return this.#found.opened.get(target);
  }

  event(target: string): Route | undefined {
    return this.#found.events.get(target);
  }

  // --- functions of `register` ----------------------------------------------------------------------------------

  /**
   * Adds a function, or puts it in the place of the one that was registered under its target.
   *
   * @param replaces it may stand in for a handler
   * @throws {@link RegisteredError} if it would, and may not
   */
  register(route: Route, replaces: boolean): void {
    if (route.kind === 'event') this.#listeners.set(route.target, route);
    else {
      const handler = replaces ? undefined : this.handlerOf(route.target);
      if (handler) throw new RegisteredError(taken(handler));
      this.#functions.set(route.target, { route, replaces });
    }
    this.replacements += 1;
    this.#changed();
  }

  /** Removes the functions that were registered under a target. Returns whether there were any. */
  unregister(target: string): boolean {
    const functions = this.#functions.delete(target);
    if (!this.#listeners.delete(target) && !functions) return false;
    this.replacements += 1;
    this.#changed();
    return true;
  }

  /** The function that was registered under a target. */
  functionOf(target: string): Route | undefined {
    return this.#functions.get(target)?.route ?? this.#listeners.get(target);
  }

  /** The handler of a call or channel, not of an event, that was not registered at run time. */
  handlerOf(target: string): Route | undefined {
    return this.#requests.get(target) ?? this.#channels.get(target);
  }

  // --- handlers of an application -------------------------------------------------------------------------------

  /** Adds a function of the server itself, which any handler or function of the same target replaces. */
  addDefault(route: Route): void {
    this.#defaults.set(route.target, route);
    this.#changed();
  }

  /** Whether a function of the server itself is found under this target. */
  isDefault(target: string): boolean {
    const route = this.#defaults.get(target);
    return route !== undefined && this.request(target) === route;
  }

  addRequest(route: Route): void {
    const routes = route.isChannel ? this.#channels : this.#requests;
    // a stream is opened like a channel: one of the two could never be reached
    const opposite = (route.isChannel ? this.#requests : this.#channels).get(route.target);
    const other =
      routes.get(route.target) ?? ([opposite?.kind, route.kind].includes('stream') ? opposite : undefined);
    if (other) {
      const [one, two] = [describe(other), describe(route)];
      const hint = one === two ? ' (does a RapServer serve two applications? Each needs its own)' : '';
      this.#conflicts.push(`${route.target} is handled by ${one} and by ${two}${hint}`);
    } else routes.set(route.target, route);
    this.#changed();
  }

  /** Records which methods of a contract Nest has bound. */
  addService({ binding, name }: ServiceMethod): void {
    const names = this.#services.get(binding) ?? new Set();
    this.#services.set(binding, names.add(name));
  }

  /** Adds a message that fails the start. */
  addProblem(problem: string): void {
    this.#problems.add(problem);
  }

  /** All handlers of an event run, each with its own extras. */
  addEvent(route: Route): void {
    this.#events.set(route.target, [...(this.#events.get(route.target) ?? []), route]);
    this.#changed();
  }

  /** @throws {@link RegisteredError} that names all handlers with the same target, and all incomplete services */
  assertSound(): void {
    const problems = [...this.#problems, ...this.#serviceProblems(), ...this.#functionProblems()];
    if (this.#conflicts.length > 0) {
      problems.push(`Two request handlers for one target: ${this.#conflicts.join('; ')}`);
    }
    if (problems.length > 0) throw new RegisteredError(problems.join('; '));
  }

  #serviceProblems(): string[] {
    return [...this.#services].flatMap(([binding, names]) => {
      const missing = Object.keys(binding.service.methods).filter((name) => !names.has(name));
      return [
        ...binding.problems,
        ...missing.map(
          (name) => `${binding.name}: the method "${name}" is overridden by a class that has no @RapService`,
        ),
      ];
    });
  }

  /** Functions that were registered before the application added a handler for the same target. */
  #functionProblems(): string[] {
    const handlers = [...this.#functions.values()]
      .filter(({ replaces }) => !replaces)
      .map(({ route }) => this.handlerOf(route.target));
    return handlers.filter((handler) => handler !== undefined).map(taken);
  }

  get #found(): Found {
    return (this.#lastFound ??= this.#find());
  }

  #changed(): void {
    this.revision += 1;
    this.#lastFound = undefined;
    this.onChange();
  }

  #find(): Found {
    const functions = new Map([...this.#functions].map(([target, { route }]) => [target, route]));
    const events = new Map<string, Route>();
    for (const target of new Set([...this.#events.keys(), ...this.#listeners.keys()])) {
      const listener = this.#listeners.get(target);
      const members = [...(this.#events.get(target) ?? []), ...(listener ? [listener] : [])];
      events.set(target, routeOfAll(members, this.runTimeoutMs));
    }
    const handled = [...this.#requests.values(), ...this.#channels.values()].filter(
      ({ target }) => !functions.has(target),
    );
    const defaults = [...this.#defaults].filter(
      ([target]) => !functions.has(target) && !this.handlerOf(target),
    );
    const all = [
      ...defaults.map(([, route]) => route),
      ...handled,
      ...functions.values(),
      ...events.values(),
    ];
    const open = all.filter(({ isPrivate }) => !isPrivate);
    return {
      calls: new Map([...defaults, ...this.#channels, ...this.#requests, ...functions]),
      opened: new Map([...defaults, ...this.#requests, ...this.#channels, ...functions]),
      events,
      all,
      services: new Set(open.flatMap(({ group, name }) => [group, `${group}/${name}`])),
    };
  }

  /** The known target that looks most like this one, for the log. */
  nearest(target: string): string | undefined {
    // a target that is known was refused since it is private: the log does not give it away
    const others = this.routes.filter((route) => route.target !== target);
    return nearestName(parseTarget(target)?.name ?? target, others)?.target;
  }
}

function describe({ owner, pattern, group }: Route): string {
  return `${owner ? `${owner}, ` : ''}pattern "${pattern}" in group "${group}"`;
}

function taken(handler: Route): string {
  return (
    `${handler.target} is a handler of the application (${describe(handler)}): ` +
    'register the function with { replace: true } if it shall stand in for that'
  );
}
