import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';

it('the default limits are those of the documentation', () => {
  expect(DEFAULT_FRAME_LIMITS).toEqual({
    maxFrameBytes: 4_194_304,
    maxFrameBytesBeforeDeclare: 16_384,
    maxItemsBeforeDeclare: 1024,
    maxDepthBeforeDeclare: 16,
    maxDepth: 100,
    maxItems: 262_144,
    maxHeaderBytes: 8192,
    maxHeaderEntries: 64,
    maxHeaderKeyBytes: 128,
    maxHeaderDepth: 4,
  });
});
