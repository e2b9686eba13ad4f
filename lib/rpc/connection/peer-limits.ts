import { type AgreedExtensions, Extension } from '../../protocol/extension.js';
import type { RapLimits } from '../limits.js';

/** What a peer has told of its limits; `Infinity` where it told none. */
export interface PeerLimits {
  /** Largest frame that it takes. */
  readonly maxFrameBytes: number;
  /** Calls that it runs at once on this connection. */
  readonly maxInFlight: number;
}

/** The smallest frame that everyone takes: errors and events fit, whatever a peer says. */
const LEAST_FRAME_BYTES = 16 * 1024;

/** What this side tells of its limits: parameters of the extension `limits`. */
export function toldLimits(limits: RapLimits, isServer: boolean): Readonly<Record<string, number>> {
  const { maxFrameBytes, maxInFlight, maxChannels } = limits;
  const all = {
    max_frame_bytes: maxFrameBytes,
    ...(isServer && { max_in_flight: maxInFlight, max_channels: maxChannels }),
  };
  const told = Object.entries(all).map(([name, value]) => [name, Math.floor(value)] as const);
  return Object.fromEntries(told.filter(([, value]) => isLimit(value)));
}

/** Reads them. What is missing, or no positive integer, is no limit. */
export function peerLimitsOf(agreed: AgreedExtensions): PeerLimits {
  const told = agreed.get(Extension.Limits);
  const of = (name: string): number => {
    const value = told?.[name];
    return isLimit(value) ? value : Infinity;
  };
  return {
    maxFrameBytes: Math.max(of('max_frame_bytes'), LEAST_FRAME_BYTES),
    maxInFlight: of('max_in_flight'),
  };
}

function isLimit(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}
