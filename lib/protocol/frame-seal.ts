import { Fault } from './fault.js';
import { Status } from './status.js';

/**
 * Seals and opens the bodies of one connection's frames. Type, id and header stay readable and are bound: `bound` is their
 * exact bytes on the wire. Frames are sealed and opened in the order of the wire, each once.
 */
export interface FrameSeal {
  /** How much longer a sealed body is than its plaintext, in bytes. */
  readonly overheadBytes: number;
  /** Both sides know records: what is sealed are not frames one by one, but what leaves in one write. */
  readonly records: boolean;
  /**
   * Seals a body. Returns the pieces that together are the sealed one.
   *
   * @throws {@link KeysUsedUp}
   */
  seal(bound: Uint8Array, plaintext: readonly Uint8Array[]): Uint8Array[];
  /**
   * Opens a body; `undefined` where it is not what the other side has sealed at this place.
   *
   * @throws {@link KeysUsedUp}
   */
  open(bound: Uint8Array, sealed: Uint8Array): Buffer | undefined;
}

/** The one text that a peer may learn, whatever went wrong. */
export const CRYPTO_ERROR = 'crypto error';

/** Nothing more can be sealed, or opened, with these keys: the fault of nobody. */
export class KeysUsedUp extends Fault {
  constructor() {
    super({ status: Status.Crypto, message: `${CRYPTO_ERROR}: the keys of this connection are used up` });
  }
}

/** A fault of encryption. `detail` is for the own log; it is never sent. */
export function cryptoFault(detail: string, cause?: unknown): Fault {
  return new Fault({ status: Status.Crypto, message: `${CRYPTO_ERROR}: ${detail}`, cause });
}
