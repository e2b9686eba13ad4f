/** Servers of one client that are tried soon, if none can be reached. */
export const SOON = 3;

/** What the search knows of a server. */
export interface Searched {
  /** Its next attempt comes soon, or is under way. */
  isSoon: boolean;
  /** It waits for its next attempt. */
  readonly isWaiting: boolean;
  /** Makes its next attempt come soon. */
  hurry(): void;
}

/**
 * Decides which servers are tried soon while none can be reached. All clients of a fleet may lose it at the same moment: if each
 * tried all of its servers at once, these would get all connections of the fleet in one burst. So a client tries three soon, and
 * the others over a longer time; one that fails hands its turn to another, until one is found.
 */
export class Search<E extends Searched> {
  constructor(private readonly random: () => number) {}

  /**
   * Whether the next attempt at a server, which was lost or has failed, may take its time.
   *
   * @param servers all that are listed
   * @param isServed whether others take calls
   */
  mayWait(endpoint: E, servers: Iterable<E>, isServed: boolean): boolean {
    const hadTurn = endpoint.isSoon;
    endpoint.isSoon = false;
    if (isServed) return true;
    const waiting: E[] = [];
    let soon = 0;
    let count = 0;
    for (const each of servers) {
      count += 1;
      if (each === endpoint) continue;
      if (each.isSoon) soon += 1;
      else if (each.isWaiting) waiting.push(each);
    }
    if (soon >= SOON) return true;
    if (hadTurn && count > SOON && waiting.length > 0) {
      waiting[Math.floor(this.random() * waiting.length)]?.hurry();
      return true;
    }
    endpoint.isSoon = true;
    return false;
  }

  /** The last server that took calls is gone: some of those that wait are tried soon. */
  lostAll(servers: Iterable<E>): void {
    const waiting: E[] = [];
    let soon = 0;
    for (const each of servers) {
      if (each.isSoon) soon += 1;
      else if (each.isWaiting) waiting.push(each);
    }
    for (; soon < SOON && waiting.length > 0; soon += 1) {
      const [next] = waiting.splice(Math.floor(this.random() * waiting.length), 1);
      next?.hurry();
    }
  }
}
