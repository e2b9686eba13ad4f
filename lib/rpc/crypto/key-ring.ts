/** The keys of a processor, by their ids. A change holds for connections that begin afterwards. */
export class KeyRing<Key> {
  readonly #keys = new Map<string, Key>();
  /** Id of the key that a client uses. */
  current = '';

  /** @param decoy stands in for every key that is not there, so that its absence does not show. */
  constructor(private readonly decoy: Key) {}

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

  /** The key, or the decoy. */
  get(id: string): Key {
    return this.#keys.get(id) ?? this.decoy;
  }
}
