import type { RapClientOperation, RapServerOperation } from '../diagnostics/messages.js';
import { parseTarget, type TargetParts } from '../protocol/target.js';

/** Stands for functions that are not known. */
export const OTHER = '_OTHER';

/** Methods of clients that have names of their own: an application may make targets of what its users send. */
const MAX_METHODS = 1000;

/** A function, as labels and attributes name it. */
export interface MethodName {
  readonly group: string;
  readonly name: string;
  /** `group/name` */
  readonly full: string;
}

const UNKNOWN: MethodName = { group: OTHER, name: OTHER, full: OTHER };

/** The names of functions: their number does not depend on what a peer sends. */
export class MethodNames {
  /** By target. */
  readonly #called = new Map<string, MethodName>();
  readonly #served = new WeakMap<object, MethodName>();
  /** By `group/name`: servers of a process may have functions of the same name, which are one series. */
  readonly #all = new Map<string, MethodName>([[`${OTHER}/${OTHER}`, UNKNOWN]]);

  /** Of a call that came in: unknown unless the function is registered. */
  served({ method }: RapServerOperation): MethodName {
    if (!method) return UNKNOWN;
    let name = this.#served.get(method);
    if (!name) this.#served.set(method, (name = this.#of(method)));
    return name;
  }

  /** Of a call of this side: unknown after a thousand others. */
  called({ target }: Pick<RapClientOperation, 'target'>): MethodName {
    const known = this.#called.get(target);
    if (known) return known;
    const parts = parseTarget(target);
    if (!parts || this.#called.size >= MAX_METHODS) return UNKNOWN;
    const name = this.#of(parts);
    this.#called.set(target, name);
    return name;
  }

  #of({ group, name }: TargetParts): MethodName {
    const full = `${group}/${name}`;
    let known = this.#all.get(full);
    if (!known) this.#all.set(full, (known = { group, name, full }));
    return known;
  }
}
