import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { encodeFrame, Encoder } from '../../../lib/protocol/encoder.js';
import { DEFAULT_FRAME_LIMITS } from '../../../lib/protocol/limits.js';
import { Outbox } from '../../../lib/protocol/bytes/outbox.js';
import { decode, faultOf, wire } from '../frames.js';

const LIMITS = DEFAULT_FRAME_LIMITS;
const total = (pieces: readonly Uint8Array[]): number => pieces.reduce((sum, { length }) => sum + length, 0);

describe('Outbox', () => {
  it('starts empty', () => {
    const outbox = new Outbox();
    expect(outbox.bytes).toBe(0);
    expect(outbox.take()).toEqual([]);
  });

  it('hands over frames that lie next to each other as one piece', () => {
    const encoder = new Encoder();
    const outbox = new Outbox();
    let expected = Buffer.alloc(0);
    for (let id = 1; id <= 100; id++) {
      const frame = encoder.frame(101, id, null, { id }, LIMITS);
      expected = Buffer.concat([expected, wire(frame)]);
      outbox.append(frame);
      expect(outbox.bytes).toBe(expected.length);
    }
    expect(outbox.take()).toEqual([expected]);
    expect(outbox.bytes).toBe(0);
    expect(outbox.take()).toEqual([]);
  });

  it('hands over large byte arrays in memory of their own, in their place', () => {
    const large = Buffer.alloc(70_000, 1);
    const encoder = new Encoder();
    const outbox = new Outbox();
    outbox.append(encoder.frame(101, 1, null, 'before', LIMITS));
    const copies: Uint8Array[] = [];
    for (const [id, body] of [
      [2, [large, 'between', large]],
      [3, large],
    ] as const) {
      const frame = encoder.frame(101, id, null, body, LIMITS);
      copies.push(...frame.splices.map((splice) => splice.bytes));
      outbox.append(frame);
    }
    outbox.append(encoder.frame(101, 4, null, 'after', LIMITS));
    const { bytes } = outbox;
    const pieces = outbox.take();
    // the encoder has copied them once, so that they may be written again; here they are not copied again
    expect(pieces.map((piece) => copies.indexOf(piece))).toEqual([-1, 0, -1, 1, -1, 2, -1]);
    for (const copy of copies) expect(copy.buffer).not.toBe(large.buffer);
    expect(total(pieces)).toBe(bytes);
    const got = decode([Buffer.concat(pieces)]).frames.map(([, id, , body]) => [id, body]);
    assert.deepEqual(got, [
      [1, 'before'],
      [2, [large, 'between', large]],
      [3, large],
      [4, 'after'],
    ]);
  });

  it('hands over no empty pieces', () => {
    const encoder = new Encoder();
    const outbox = new Outbox();
    for (let id = 1; id < 5; id++) outbox.append(encoder.frame(101, id, null, Buffer.alloc(65_536), LIMITS));
    const pieces = outbox.take();
    expect(pieces.map(({ length }) => length)).toEqual([9, 65_536, 9, 65_536, 9, 65_536, 9, 65_536]);
  });

  it('begins a new piece if a frame was written elsewhere', () => {
    const [one, other] = [new Encoder(), new Encoder()];
    const outbox = new Outbox();
    for (let id = 1; id <= 4; id++) outbox.append((id % 2 ? one : other).frame(101, id, null, null, LIMITS));
    const pieces = outbox.take();
    expect(pieces).toHaveLength(4);
    expect(decode([Buffer.concat(pieces)]).frames.map(([, id]) => id)).toEqual([1, 2, 3, 4]);
  });

  it('leaves out what another connection got in between', () => {
    const encoder = new Encoder();
    const [mine, yours] = [new Outbox(), new Outbox()];
    for (let id = 1; id <= 6; id++)
      (id % 3 ? mine : yours).append(encoder.frame(101, id, null, null, LIMITS));
    expect(decode([Buffer.concat(mine.take())]).frames.map(([, id]) => id)).toEqual([1, 2, 4, 5]);
    expect(decode([Buffer.concat(yours.take())]).frames.map(([, id]) => id)).toEqual([3, 6]);
  });

  it('goes on in a new piece after a take', () => {
    const encoder = new Encoder();
    const outbox = new Outbox();
    outbox.append(encoder.frame(101, 1, null, null, LIMITS));
    const first = outbox.take();
    const copy = Buffer.concat(first);
    outbox.append(encoder.frame(101, 2, null, null, LIMITS));
    const second = outbox.take();
    expect([first.length, second.length]).toEqual([1, 1]);
    expect(Buffer.concat(first)).toEqual(copy);
    expect(decode([Buffer.concat([...first, ...second])]).frames.map(([, id]) => id)).toEqual([1, 2]);
  });

  it('hands over a copy of a small frame that has to wait, and a large one as it is', () => {
    const encoder = new Encoder();
    const outbox = new Outbox();
    const buffers: unknown[] = [];
    for (const body of ['small', 'x'.repeat(40_000), Buffer.alloc(70_000, 1), 'small']) {
      const frame = encoder.frame(101, 1, null, body, LIMITS);
      buffers.push(frame.buffer.buffer);
      outbox.append(frame, true);
    }
    const pieces = outbox.take();
    expect(pieces.map(({ buffer }) => buffers.includes(buffer))).toEqual([false, true, false, false, false]);
    expect(decode([Buffer.concat(pieces)]).frames.map(([, , , body]) => (body as string).length)).toEqual([
      5, 40_000, 70_000, 5,
    ]);
  });

  it('keeps every byte in its order, whatever is sent, failed and taken', () => {
    const step = fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 0, max: 300 }).map((size) => 'x'.repeat(size)) },
      { weight: 2, arbitrary: fc.integer({ min: 20_000, max: 60_000 }).map((size) => 'y'.repeat(size)) },
      {
        weight: 1,
        arbitrary: fc.integer({ min: 65_536, max: 70_000 }).map((size) => Buffer.alloc(size, size)),
      },
      {
        weight: 1,
        arbitrary: fc.constant(['text', Buffer.alloc(65_536, 1), Buffer.alloc(65_537, 2), 'text']),
      },
      { weight: 1, arbitrary: fc.constant('fail' as const) },
      { weight: 1, arbitrary: fc.constant('take' as const) },
      { weight: 1, arbitrary: fc.constant('block' as const) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const outbox = new Outbox();
        const taken: Uint8Array[] = [];
        const expected: Buffer[] = [];
        let isBlocked = false;
        for (const body of steps) {
          if (body === 'take') {
            const { bytes } = outbox;
            const pieces = outbox.take();
            expect(total(pieces)).toBe(bytes);
            expect(pieces.every(({ length }) => length > 0)).toBe(true);
            taken.push(...pieces);
          } else if (body === 'block') {
            isBlocked = !isBlocked;
          } else if (body === 'fail') {
            faultOf(() => encodeFrame(101, 9, null, ['z'.repeat(100_000), 2n ** 70n], LIMITS));
          } else {
            const frame = encodeFrame(101, 3, { target: '/a/b' }, body, LIMITS);
            expected.push(wire(frame));
            outbox.append(frame, isBlocked);
          }
        }
        taken.push(...outbox.take());
        expect(Buffer.concat(taken).equals(Buffer.concat(expected))).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});
