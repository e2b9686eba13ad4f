import { parseTarget } from '../../protocol/target.js';
import { RegisteredError } from '../errors/errors.js';
import { routeOfAll } from './event-handlers.js';
import { nearestName } from '../../protocol/values/nearest-name.js';
import type { ServiceBinding, ServiceMethod } from '../contract/service-binding.js';
import type { Route } from '../handlers/handler.js';

/** Handlers by target. A call, a channel and an event may have the same name. */
export class HandlerRegistry {
  readonly #requests = new Map<string, Route>();
  readonly #channels = new Map<string, Route>();
  readonly #events = new Map<string, Route>();
  readonly #services = new Map<ServiceBinding, Set<string>>();
  readonly #conflicts: string[] = [];
  readonly #problems = new Set<string>();

  /** @param runTimeoutMs time limit of a handler that has none of its own */
  constructor(private readonly runTimeoutMs = Infinity) {}

  /** All routes, by kind, in the order of their registration. */
  get routes(): Route[] {
    return [this.#requests, this.#channels, this.#events].flatMap((routes) => [...routes.values()]);
  }

  /** Removes all routes. */
  clear(): void {
    for (const known of [this.#requests, this.#channels, this.#events, this.#services]) known.clear();
    this.#conflicts.length = 0;
    this.#problems.clear();
  }

  /** The handler of a call: that of a channel only if there is no other. */
  request(target: string): Route | undefined {
    return this.#requests.get(target) ?? this.#channels.get(target);
  }

  /** The handler of what is opened as a channel: that of a stream only if no channel has the name. */
  channel(target: string): Route | undefined {
    return this.#channels.get(target) ?? this.#requests.get(target);
  }

  event(target: string): Route | undefined {
    return this.#events.get(target);
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
    const before = this.#events.get(route.target);
    const members = before ? [...(before.members ?? [before]), route] : [route];
    this.#events.set(route.target, routeOfAll(members, this.runTimeoutMs));
  }

  /** @throws {@link RegisteredError} that names all handlers with the same target, and all incomplete services */
  assertSound(): void {
    const problems = [...this.#problems, ...this.#serviceProblems()];
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
