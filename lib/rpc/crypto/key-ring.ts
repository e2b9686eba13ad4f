/** The keys of a processor, by their ids. A change applies to connections that start afterwards. */
export class KeyRing<Key> {
  readonly #keys = new Map<string, Key>();
  /** Id of the key that a client uses. */
  current = '';

  readonly #makeDecoy: () => Key;

  /** @param makeDecoy makes the substitute of a missing key, so that its absence does not show. */
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

  /** The key, or a decoy. Both take the same time. */
  get(id: string): Key {
    const decoy = this.#makeDecoy();
    return this.#keys.get(id) ?? decoy;
  }
}
