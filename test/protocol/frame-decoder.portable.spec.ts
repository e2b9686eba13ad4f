import './without-native.js';
import * as fc from 'fast-check';
import { isNativeAccelerationEnabled } from 'msgpackr';
import { decode, decodesCut, pieces, vectors } from './frames.js';
import { frames, writeFrameLoosely } from './values.js';

describe('where msgpackr has no native addon', () => {
  it('this file runs without it', () => expect(isNativeAccelerationEnabled).toBe(false));

  it('recorded frames decode', () => {
    const all = vectors();
    const stream = Buffer.concat(all.map(({ bytes }) => bytes));
    for (const size of [1, 7, 1448, stream.length]) {
      expect(decode(pieces(stream, size)).frames).toStrictEqual(all.map(({ frame }) => frame));
    }
  });

  it('any frames decode, cut anywhere', () => {
    fc.assert(
      fc.property(
        fc.array(frames(), { minLength: 1, maxLength: 5 }),
        fc.infiniteStream(fc.nat()),
        fc.array(fc.nat(), { maxLength: 10 }),
        (list, choices, places) => {
          const pick = (count: number): number => (choices.next().value as number) % count;
          decodesCut(list, (frame) => writeFrameLoosely(frame, pick), places);
        },
      ),
      { numRuns: 500 },
    );
  });
});
