/** The keys of a processor, by their ids. A change holds for connections that begin afterwards. */
export class KeyRing<Key> {
  readonly #keys = new Map<string, Key>();
  /** Id of the key that a client uses. */
  current = '';

  readonly #makeDecoy: () => Key;

  /** @param makeDecoy makes what stands in for a key that is not there, so that its absence does not show. */
  constructor(makeDecoy: () => Key) {
    this.#makeDecoy = makeDecoy;
  }

  get ids(): string[] {
    return [...this.#keys.keys()];
  }

  set(id: string, key: Key): void {
    this.#keys.set(id, key);
  }

  delete(id: string): boolean {
    return this.#keys.delete(id);
  }

  has(id: string): boolean {
    return this.#keys.has(id);
  }

  /** The key, or a decoy. The work is the same for both. */
  get(id: string): Key {
    const decoy = this.#makeDecoy();
    return this.#keys.get(id) ?? decoy;
  }
}
