/** What encryption has seen since the start. */
export interface CryptoStats {
  /** Connections whose other side has proved its key. */
  secured: number;
  /** DECLARE frames that were refused, and answers to DECLARE. */
  refused: number;
  /** Frames that did not open, were seen before, or were not of this time. */
  failed: number;
  /** Connections whose keys were used up, and which make room for new ones. */
  retired: number;
}

export function emptyStats(): CryptoStats {
  return { secured: 0, refused: 0, failed: 0, retired: 0 };
}
