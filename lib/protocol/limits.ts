/** What a decoded value costs beside its bytes: an empty map is 1 byte on the wire and 64 in memory. */
export const ITEM_COST = 100;

/** Limits that the scanner and the writer apply to every frame. */
export interface FrameLimits {
  /** Largest frame, in either direction, in bytes. Default 4 MiB, as gRPC. Raise it for bulk payloads. */
  readonly maxFrameBytes: number;
  /** Largest frame before DECLARE is done, in bytes. Default 16 KiB, as Redis before authentication. */
  readonly maxFrameBytesBeforeDeclare: number;
  /** Most msgpack values in a frame before DECLARE is done. Default 1,024: the peer is not known yet. */
  readonly maxItemsBeforeDeclare: number;
  /** Deepest nesting of a frame before DECLARE is done. Default 16. */
  readonly maxDepthBeforeDeclare: number;
  /** Deepest nesting of a frame, the frame's own array included. Default 100, as protobuf. */
  readonly maxDepth: number;
  /** Most msgpack values in one frame. Default 262,144: at most 16 MiB of heap at 64 bytes an empty map. */
  readonly maxItems: number;
  /** Largest header in bytes. Default 8 KiB, as gRPC metadata. */
  readonly maxHeaderBytes: number;
  /** Most entries of a header. Default 64. */
  readonly maxHeaderEntries: number;
  /** Longest key of a header in bytes. Default 128. */
  readonly maxHeaderKeyBytes: number;
  /** Deepest nesting of a header. Default 4. */
  readonly maxHeaderDepth: number;
}

/** Limits that the writer applies: its own, or those of the peer if they are lower. */
export interface SendLimits extends FrameLimits {
  /** Whether `maxFrameBytes` is the peer's limit. */
  readonly isPeers?: boolean;
}

/** The limits for a peer that accepts frames of at most `peerMaxFrameBytes`. */
export function sendLimits<T extends FrameLimits>(own: T, peerMaxFrameBytes: number): T & SendLimits {
  if (peerMaxFrameBytes >= own.maxFrameBytes) return own;
  return { ...own, maxFrameBytes: peerMaxFrameBytes, isPeers: true };
}

export const DEFAULT_FRAME_LIMITS: FrameLimits = {
  maxFrameBytes: 4 * 1024 * 1024,
  maxFrameBytesBeforeDeclare: 16 * 1024,
  maxItemsBeforeDeclare: 1024,
  maxDepthBeforeDeclare: 16,
  maxDepth: 100,
  maxItems: 262_144,
  maxHeaderBytes: 8 * 1024,
  maxHeaderEntries: 64,
  maxHeaderKeyBytes: 128,
  maxHeaderDepth: 4,
};
