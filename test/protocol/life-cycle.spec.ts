import { encodeFrame } from '../../lib/protocol/encoder.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../../lib/protocol/life-cycle.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { decode, vectors, wire } from './frames.js';

describe('LIFE_CYCLE_HEADER', () => {
  it.each(Object.values(LifeCycle))('of %s says so', (cycle) => {
    const frame = wire(encodeFrame(102, 5, LIFE_CYCLE_HEADER[cycle], null, DEFAULT_FRAME_LIMITS));
    expect(decode([frame]).frames).toEqual([[102, 5, { channel_life_cycle: cycle }, null]]);
  });

  it('is what Python writes', () => {
    const recorded = vectors().filter(({ frame }) => frame[0] === 102 && !('target' in (frame[2] as object)));
    const cycles = recorded.map(({ bytes, frame: [, id, header, body] }) => {
      const cycle = (header as { channel_life_cycle: LifeCycle }).channel_life_cycle;
      const own = encodeFrame(102, id as number, LIFE_CYCLE_HEADER[cycle], body, DEFAULT_FRAME_LIMITS);
      expect(wire(own)).toEqual(bytes);
      return cycle;
    });
    expect(new Set(cycles)).toEqual(new Set(['DECLARE', 'MSG', 'DROP']));
  });
});
