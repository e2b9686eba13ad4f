import { carefulDecode } from './values/careful-decode.js';
import { Snapshot } from './snapshot.js';

/** A body that was encoded when it was handed over, for a frame that is sent later: changes of the original do not matter. */
export class EncodedBody {
  constructor(
    readonly bytes: Buffer,
    /** Values in it. */
    readonly items: number,
    /** It holds extension types of `values`. */
    readonly usesValues: boolean,
  ) {}

  /** The body as its receiver gets it. */
  decode(): unknown {
    return carefulDecode(this.bytes);
  }
}

/** Approximate size of a held body in bytes. */
export function heldBytes(held: unknown): number {
  if (held instanceof EncodedBody) return held.bytes.length;
  if (held instanceof Snapshot) return held.bytes;
  return typeof held === 'string' ? held.length : 0;
}

/** A held body as a value. */
export function heldValue(held: unknown): unknown {
  if (held instanceof EncodedBody) return held.decode();
  return held instanceof Snapshot ? held.value : held;
}
