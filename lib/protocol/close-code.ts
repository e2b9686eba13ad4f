import { CloseReason } from './event.js';
import { CRYPTO_ERROR } from './frame-seal.js';

/** Numbers of the reasons that CLOSE gives: `close_code` in its header. Below 100: the connection itself; from 100 on: faults in the peer's frames. */
export const CLOSE_CODES: ReadonlyMap<string, number> = new Map<string, number>([
  [CloseReason.Shutdown, 1],
  [CloseReason.IdleTimeout, 2],
  [CloseReason.PongTimeout, 3],
  [CloseReason.TooManyConnections, 4],
  [CloseReason.TooManyConnectionsOfAddress, 5],
  [CloseReason.NotAllowed, 6],
  [CloseReason.Refused, 7],
  [CloseReason.TooManyPings, 8],
  [CloseReason.ExcessiveResets, 9],
  [CloseReason.ExcessiveRejects, 10],
  [CloseReason.IncompleteFrame, 11],
  ['too many unfinished frames on this server', 12],
  [CRYPTO_ERROR, 13],
  ['the first frame must be DECLARE', 100],
  ['a second DECLARE', 101],
  ['correlation id * is in use', 102],
  ['a frame is an array of four', 103],
  ['message type and correlation id are unsigned integers', 104],
  ['unknown message type', 105],
  ['correlation id out of range', 106],
  ['the header is not a map', 107],
  ['duplicate header key', 108],
  ['header too large', 109],
  ['too many header entries', 110],
  ['header key too long', 111],
  ['header too deep', 112],
  ['header key *', 113],
  ['a map key is not a string', 114],
  ['a string is not UTF-8', 115],
  ['token * is not allowed', 116],
  ['too deep', 117],
  ['too many items', 118],
  ['frame too large', 119],
  ['undecodable frame', 120],
  ['an extension does not end where its value does', 121],
  ['a sealed body is one whole value', 122],
]);

/** The reason is an application's own, or has no number. */
export const OTHER_CLOSE_CODE = 0;

/** What stands in a reason in place of `*`. */
const VARIABLE =
  /^(correlation id )\d+( is in use)$|^(header key )(?:__proto__|prototype|constructor)$|^(token )0x[\da-f]+( is not allowed)$/;

export function closeCodeOf(reason: string): number {
  const general = reason.replace(VARIABLE, (_all, ...parts: unknown[]) => {
    const [before = '', after = ''] = parts.slice(0, 5).filter((part) => part !== undefined) as string[];
    return `${before}*${after}`;
  });
  return CLOSE_CODES.get(general) ?? OTHER_CLOSE_CODE;
}
