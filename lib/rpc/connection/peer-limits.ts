import { type AgreedExtensions, Extension } from '../../protocol/extension.js';
import type { RapLimits } from '../limits.js';

/** Limits that the peer advertised; `Infinity` for others. */
export interface PeerLimits {
  /** Largest frame that it accepts. */
  readonly maxFrameBytes: number;
  /** Calls that it accepts in flight on this connection. */
  readonly maxInFlight: number;
}

/** Lower bound of an advertised frame limit, so that errors and events always fit. */
const MIN_FRAME_BYTES = 16 * 1024;

/** The limits that this side advertises: parameters of the extension `limits`. */
export function advertisedLimits(limits: RapLimits, isServer: boolean): Readonly<Record<string, number>> {
  const { maxFrameBytes, maxInFlight, maxChannels } = limits;
  const all = {
    max_frame_bytes: maxFrameBytes,
    ...(isServer && { max_in_flight: maxInFlight, max_channels: maxChannels }),
  };
  const told = Object.entries(all).map(([name, value]) => [name, Math.floor(value)] as const);
  return Object.fromEntries(told.filter(([, value]) => isLimit(value)));
}

/** Reads the peer's. A value that is missing, or is not a positive integer, is not a limit. */
export function peerLimitsOf(agreed: AgreedExtensions): PeerLimits {
  const told = agreed.get(Extension.Limits);
  const of = (name: string): number => {
    const value = told?.[name];
    return isLimit(value) ? value : Infinity;
  };
  return {
    maxFrameBytes: Math.max(of('max_frame_bytes'), MIN_FRAME_BYTES),
    maxInFlight: of('max_in_flight'),
  };
}

function isLimit(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}
