import { Fault } from './fault.js';
import { Status } from './status.js';

/**
 * Seals and opens the bodies of one connection's frames. Type, id and header stay readable and are bound: `bound` is their
 * exact bytes on the wire. Frames are sealed and opened in the order of the wire, each once.
 */
export interface FrameSeal {
  /** How much longer a sealed body is than its plaintext, in bytes. */
  readonly overheadBytes: number;
  /** Both sides know records: not each frame is sealed, but all that is sent in one write. */
  readonly records: boolean;
  /**
   * Seals a body. Returns the pieces that together are the sealed one.
   *
   * @throws {@link KeysUsedUp}
   */
  seal(bound: Uint8Array, plaintext: readonly Uint8Array[]): Uint8Array[];
  /**
   * Opens a body; `undefined` if it is not what the other side has sealed at this position.
   *
   * @throws {@link KeysUsedUp}
   */
  open(bound: Uint8Array, sealed: Uint8Array): Buffer | undefined;
}

/** The only text that a peer is told, whatever went wrong. */
export const CRYPTO_ERROR = 'crypto error';

/** The keys have reached their limit and can no longer seal or open. */
export class KeysUsedUp extends Fault {
  constructor() {
    super({ status: Status.Crypto, message: `${CRYPTO_ERROR}: the keys of this connection are used up` });
  }
}

/** A fault of encryption. `detail` is for this side's log; it is never sent. */
export function cryptoFault(detail: string, cause?: unknown): Fault {
  return new Fault({ status: Status.Crypto, message: `${CRYPTO_ERROR}: ${detail}`, cause });
}
