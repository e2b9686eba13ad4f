import { frameDefect, MAX_ID, MsgType } from '../../lib/protocol/frame.js';

describe('frameDefect', () => {
  it.each(Object.values(MsgType))('finds none in type %d', (type) => {
    expect(frameDefect([type, 3, {}, null])).toBeUndefined();
  });

  it.each([0, 1, 100, 104, 202, 204, 101n, -101, 101.5, NaN, '101', null])(
    'finds type %p unknown',
    (type) => {
      expect(frameDefect([type, 3, {}, null])).toBe('unknown message type');
    },
  );

  it.each([1, 2, MAX_ID - 1, MAX_ID])('finds none in id %d', (id) => {
    expect(frameDefect([101, id, {}, null])).toBeUndefined();
  });

  it.each([0, -1, MAX_ID + 1, 2 ** 53, Infinity, 3n, 2n ** 64n - 1n, '3', null])(
    'finds id %p out of range',
    (id) => {
      expect(frameDefect([101, id, {}, null])).toBe('correlation id out of range');
    },
  );

  it('knows the four types of the wire', () => {
    expect(MsgType).toEqual({ Msg: 101, Channel: 102, ClientEvent: 103, ServerEvent: 203 });
  });

  it('has the ids of 32 bits', () => expect(MAX_ID).toBe(2 ** 32 - 1));
});
