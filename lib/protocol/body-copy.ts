import { hold } from './encoder.js';
import { heldValue } from './held-body.js';
import { DEFAULT_FRAME_LIMITS } from './limits.js';

/** A body as a value that does not change with the original, for code that works on it later. */
export function copyOfBody(body: unknown): unknown {
  return heldValue(hold(body, DEFAULT_FRAME_LIMITS, true));
}
