import { type AgreedExtensions, Extension } from '../../protocol/extension.js';

/**
 * How events go to a peer:
 *
 * - `answered`: without an answer of the handler; the peer says that it has taken each, or why not
 * - `silent`: the same, and the peer says nothing
 * - `called`: as calls whose answers are dropped
 */
export type EventMode = 'answered' | 'silent' | 'called';

export function eventMode(agreed: AgreedExtensions): EventMode {
  if (!agreed.has(Extension.OneWay)) return 'called';
  return agreed.has(Extension.EventAnswer) ? 'answered' : 'silent';
}
