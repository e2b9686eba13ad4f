import { parseTarget } from '../../protocol/target.js';
import { RegisteredError } from '../errors/errors.js';
import { routeOfAll } from './event-handlers.js';
import { nearestName } from '../validation/nearest-name.js';
import type { ServiceBinding, ServiceMethod } from '../contract/service-binding.js';
import type { Route } from '../handlers/handler.js';

/** Handlers by target. Calls, channels and events of one name do not meet. */
export class HandlerRegistry {
  readonly #requests = new Map<string, Route>();
  readonly #channels = new Map<string, Route>();
  readonly #events = new Map<string, Route>();
  readonly #services = new Map<ServiceBinding, Set<string>>();
  readonly #conflicts: string[] = [];
  readonly #problems = new Set<string>();

  /** @param runTimeoutMs time of a handler that names none */
  constructor(private readonly runTimeoutMs = Infinity) {}

  /** All of them, in the order of their registration within a kind. */
  get routes(): Route[] {
    return [this.#requests, this.#channels, this.#events].flatMap((routes) => [...routes.values()]);
  }

  /** Forgets all of them. */
  clear(): void {
    for (const known of [this.#requests, this.#channels, this.#events, this.#services]) known.clear();
    this.#conflicts.length = 0;
    this.#problems.clear();
  }

  /** The handler of a call: not of a channel, unless there is no other. */
  request(target: string): Route | undefined {
    return this.#requests.get(target) ?? this.#channels.get(target);
  }

  /** The handler of what is opened as a channel: a stream's, where no channel has the name. */
  channel(target: string): Route | undefined {
    return this.#channels.get(target) ?? this.#requests.get(target);
  }

  event(target: string): Route | undefined {
    return this.#events.get(target);
  }

  addRequest(route: Route): void {
    const routes = route.isChannel ? this.#channels : this.#requests;
    // a stream is opened as a channel is: of the two, one could never be reached
    const opposite = (route.isChannel ? this.#requests : this.#channels).get(route.target);
    const other =
      routes.get(route.target) ?? ([opposite?.kind, route.kind].includes('stream') ? opposite : undefined);
    if (other) {
      const [one, two] = [describe(other), describe(route)];
      const hint = one === two ? ' (does a RapServer serve two applications? Each needs its own)' : '';
      this.#conflicts.push(`${route.target} is handled by ${one} and by ${two}${hint}`);
    } else routes.set(route.target, route);
  }

  /** Notes which methods of a contract Nest has handed over. */
  addService({ binding, name }: ServiceMethod): void {
    const names = this.#services.get(binding) ?? new Set();
    this.#services.set(binding, names.add(name));
  }

  /** Something that must be told at the start. */
  addProblem(problem: string): void {
    this.#problems.add(problem);
  }

  /** Several handlers of one event run all, each with its own extras. */
  addEvent(route: Route): void {
    const before = this.#events.get(route.target);
    const members = before ? [...(before.members ?? [before]), route] : [route];
    this.#events.set(route.target, routeOfAll(members, this.runTimeoutMs));
  }

  /** @throws {@link RegisteredError} that names all handlers which claim the same target, and all services that are not whole. */
  assertSound(): void {
    const problems = [...this.#problems, ...this.#serviceProblems()];
    if (this.#conflicts.length > 0) {
      problems.push(`Two request handlers for one target: ${this.#conflicts.join('; ')}`);
    }
    if (problems.length > 0) throw new RegisteredError(problems.join('; '));
  }

  #serviceProblems(): string[] {
    return [...this.#services].flatMap(([binding, names]) => {
      const lost = Object.keys(binding.service.methods).filter((name) => !names.has(name));
      return [
        ...binding.problems,
        ...lost.map(
          (name) => `${binding.name}: the method "${name}" is overridden by a class that has no @RapService`,
        ),
      ];
    });
  }

  /** The known target that looks most like this one, for whoever reads the log. */
  nearest(target: string): string | undefined {
    // a private one is not given away, not even to the log
    const others = this.routes.filter((route) => route.target !== target);
    return nearestName(parseTarget(target)?.name ?? target, others)?.target;
  }
}

function describe({ owner, pattern, group }: Route): string {
  return `${owner ? `${owner}, ` : ''}pattern "${pattern}" in group "${group}"`;
}
