/** The network between clients and servers: one data centre. Microseconds. */
export const NETWORK = {
  /** From one to the other. */
  oneWayUs: 250,
  /** TCP's handshake, then DECLARE and its answer: two round trips. */
  connectUs: 1_000,
} as const;
