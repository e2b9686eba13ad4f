/** Both lists of a filter, as texts. */
export interface IpLists {
  readonly allow: readonly string[];
  readonly block: readonly string[];
}

/** A change of one of the lists. */
export interface IpListEdit {
  readonly list: keyof IpLists;
  readonly add: readonly string[];
  readonly remove: readonly string[];
}

/** The lists that a store returned. */
export interface LoadedIpLists extends IpLists {
  /** A new one after each change. */
  readonly version: string;
}

/** Lists that several servers share. Each method rejects if the store is down. */
export interface IpListStore {
  /**
   * The lists, or `unchanged`.
   *
   * @param known what was loaded last. A store that has lost its data is restored from it.
   */
  load(known: LoadedIpLists | undefined): Promise<LoadedIpLists | 'unchanged'>;
  /**
   * Makes the changes, all of them at once.
   *
   * @param known what was loaded last, as for `load`.
   */
  edit(edits: readonly IpListEdit[], known: LoadedIpLists | undefined): Promise<void>;
}
