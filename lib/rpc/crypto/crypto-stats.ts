/** Counters of encryption since the start. */
export interface CryptoStats {
  /** Connections whose other side has proved its key. */
  secured: number;
  /** DECLARE frames and answers to DECLARE that were refused. */
  refused: number;
  /** Frames that did not open, were seen before, or had a timestamp out of range. */
  failed: number;
  /** Connections whose keys were used up, and which are replaced by new ones. */
  retired: number;
}

export function emptyStats(): CryptoStats {
  return { secured: 0, refused: 0, failed: 0, retired: 0 };
}
