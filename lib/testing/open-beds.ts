/** What is known of a test bed that was not closed. */
export interface OpenBed {
  /** With where it was made. */
  readonly name: string;
  /** Calls and handlers that are in flight in it, as text. */
  readonly inFlight: () => string[];
}

export const openBeds = new Map<object, OpenBed>();
