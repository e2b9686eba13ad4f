import type { Candidate } from './balancer.js';
import { hashOf, mixed, secondHashOf } from './hash.js';

/** Keys are hashed into so many slots (a power of 2), so that the order of servers is worked out once for each slot. */
const SLOTS = 8_192;
/** The best servers of a slot that are kept. */
const ORDER_LENGTH = 8;
/** A slot that has lost servers is worked out again below this. */
const MIN_LENGTH = 4;
/** A slot that has missed more changes than this is worked out again. */
const KEPT_CHANGES = 64;

/** A server with its weight. */
export class Member<C> {
  constructor(
    public candidate: C,
    readonly weight: number,
    readonly firstHash: number,
    readonly secondHash: number,
  ) {}
}

/** The best servers of a slot, the best first. */
export class SlotOrder {
  readonly ids = new Int32Array(ORDER_LENGTH);
  readonly scores = new Float64Array(ORDER_LENGTH);
  length = 0;
  /** Changes of the servers that it knows. */
  version = 0;

  remove(id: number): void {
    const at = this.ids.subarray(0, this.length).indexOf(id);
    if (at === -1) return;
    this.ids.copyWithin(at, at + 1, this.length);
    this.scores.copyWithin(at, at + 1, this.length);
    this.length -= 1;
  }

  insert(id: number, score: number): void {
    if (this.length < ORDER_LENGTH) this.length += 1;
    else if (score >= (this.scores[ORDER_LENGTH - 1] as number)) return;
    let at = this.length - 1;
    for (; at > 0 && (this.scores[at - 1] as number) > score; at -= 1) {
      this.ids[at] = this.ids[at - 1] as number;
      this.scores[at] = this.scores[at - 1] as number;
    }
    this.ids[at] = id;
    this.scores[at] = score;
  }
}

/**
 * Rendezvous hashing with weights: each slot has its own order of the servers, which depends only on their addresses and weights, so
 * that a server that goes or comes moves only its own keys, and all clients agree. Orders are made when they are first used, and
 * follow changes when they are used next.
 */
export class HashSlots<C extends Candidate> {
  readonly #orders: (SlotOrder | undefined)[] = Array.from({ length: SLOTS }, () => undefined);
  readonly #members: (Member<C> | undefined)[] = [];
  readonly #idOf = new Map<string, number>();
  readonly #freeIds: number[] = [];
  /** The last changes: the id of a server that came, `~id` of one that went. */
  readonly #changes = new Int32Array(KEPT_CHANGES);
  #version = 0;

  update(candidates: readonly C[], weights: Float64Array): void {
    const listed = new Set(candidates.map(({ address }) => address));
    for (const [address, id] of this.#idOf) if (!listed.has(address)) this.#remove(address, id);
    candidates.forEach((candidate, index) => {
      const weight = weights[index] as number;
      const id = this.#idOf.get(candidate.address);
      const known = id === undefined ? undefined : this.#members[id];
      if (known?.weight === weight) known.candidate = candidate;
      else {
        if (id !== undefined) this.#remove(candidate.address, id);
        this.#add(candidate, weight);
      }
    });
  }

  /** The best servers for a key, by rank: `undefined` behind the last that is known. */
  at(order: SlotOrder, rank: number): Member<C> | undefined {
    return rank < order.length ? this.#members[order.ids[rank] as number] : undefined;
  }

  orderOf(key: string): SlotOrder {
    const slot = hashOf(key) & (SLOTS - 1);
    const order = (this.#orders[slot] ??= new SlotOrder());
    if (order.version !== this.#version || order.length === 0) this.#follow(order, slot);
    return order;
  }

  #add(candidate: C, weight: number): void {
    const { address } = candidate;
    const id = this.#freeIds.pop() ?? this.#members.length;
    this.#members[id] = new Member(candidate, weight, hashOf(address), secondHashOf(address));
    this.#idOf.set(address, id);
    this.#changed(id);
  }

  #remove(address: string, id: number): void {
    this.#members[id] = undefined;
    this.#idOf.delete(address);
    this.#freeIds.push(id);
    this.#changed(~id);
  }

  #changed(change: number): void {
    this.#changes[this.#version % KEPT_CHANGES] = change;
    this.#version += 1;
  }

  #follow(order: SlotOrder, slot: number): void {
    if (order.length > 0 && this.#version - order.version <= KEPT_CHANGES) {
      for (let version = order.version; version < this.#version; version += 1)
        this.#apply(order, slot, this.#changes[version % KEPT_CHANGES] as number);
    } else order.length = 0;
    order.version = this.#version;
    if (order.length >= Math.min(MIN_LENGTH, this.#idOf.size)) return;
    order.length = 0;
    this.#members.forEach((member, id) => member && order.insert(id, scoreOf(member, slot)));
  }

  #apply(order: SlotOrder, slot: number, change: number): void {
    if (change < 0) return order.remove(~change);
    const member = this.#members[change];
    if (member === undefined) return; // it has gone again: a later change says so
    const score = scoreOf(member, slot);
    // behind the last that is known may be others that are better
    if (score < (order.scores[order.length - 1] ?? -Infinity)) order.insert(change, score);
  }
}

/** Exponentially distributed with the weight as its rate: the lowest is that of a server with a probability in proportion to it. */
function scoreOf({ firstHash, secondHash, weight }: Member<unknown>, slot: number): number {
  const hash = mixed(mixed(slot ^ firstHash) ^ secondHash);
  return -Math.log((hash + 0.5) / 2 ** 32) / weight;
}
