import { type AgreedExtensions, Extension } from '../../protocol/extension.js';

/**
 * How events are sent:
 *
 * - `answered`: one-way; the peer confirms or refuses each, before its handler ends
 * - `silent`: one-way, not confirmed
 * - `called`: as calls whose answers are dropped
 */
export type EventMode = 'answered' | 'silent' | 'called';

export function eventMode(agreed: AgreedExtensions): EventMode {
  if (!agreed.has(Extension.OneWay)) return 'called';
  return agreed.has(Extension.EventAnswer) ? 'answered' : 'silent';
}
