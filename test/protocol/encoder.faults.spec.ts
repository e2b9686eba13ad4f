import * as fc from 'fast-check';
import type { EncodedHeader } from '../../lib/protocol/bytes/encoded-frame.js';
import { encodeFrame, encodeHeader, Encoder } from '../../lib/protocol/encoder.js';
import { Fault } from '../../lib/protocol/fault.js';
import type { Header } from '../../lib/protocol/frame.js';
import { DEFAULT_FRAME_LIMITS, type FrameLimits } from '../../lib/protocol/limits.js';
import { Outbox } from '../../lib/protocol/bytes/outbox.js';
import { decode, decoderWith, faultOf, hex, wire } from './frames.js';
import { HEAD } from './scan.js';
import { frames as anyFrame, nested, values } from './values.js';

const LIMITS = DEFAULT_FRAME_LIMITS;

function faultOfBody(body: unknown, limits = LIMITS): Fault {
  return faultOf(() => encodeFrame(101, 3, null, body, limits));
}

function circular(): unknown {
  const a: Record<string, unknown> = { ok: 1 };
  a['self'] = a;
  return a;
}

const bad = 2n ** 70n;
const getter = {
  fine: 1,
  get broken(): never {
    throw new Error('the getter says no');
  },
};

/** An error whose message throws when it is read. */
const unreadable = Object.defineProperty(new Error(), 'message', {
  get: () => {
    throw new Error('not this one');
  },
});

/** Throws whatever is done with it. */
const proxy: object = new Proxy(
  {},
  new Proxy(
    {},
    {
      get: () => () => {
        throw new Error('nothing to see');
      },
    },
  ),
);

/** A body of which a part throws this. */
function throwing(thrown: unknown): unknown {
  return {
    a: {
      toJSON: () => {
        throw thrown;
      },
    },
  };
}

describe('a body that has no form on the wire', () => {
  it.each<[string, unknown, string]>([
    ['a bigint beyond uint64', 2n ** 64n, 'a bigint beyond 64 bits at body'],
    ['a bigint below int64', -(2n ** 63n) - 1n, 'a bigint beyond 64 bits at body'],
    ['a bigint in it', { a: [1, { b: bad }] }, 'a bigint beyond 64 bits at body.a[1].b'],
    ['the first of several', [{ x: bad }, { y: bad }], 'a bigint beyond 64 bits at body[0].x'],
    ['a Map of objects', { a: new Map([[{}, 1]]) }, 'a Map key of type object at body.a'],
    ['a Map of symbols', [new Map([[Symbol('s'), 1]])], 'a Map key of type symbol at body[0]'],
    ['a Map of booleans', new Map([[true, 1]]), 'a Map key of type boolean at body'],
    ['a getter that throws', { a: getter }, 'the getter says no at body.a'],
    ['toJSON() that throws', { a: { toJSON: () => JSON.parse('{') as unknown } }, ' at body.a'],
    [
      'a Proxy that throws',
      {
        a: new Proxy(
          {},
          {
            ownKeys: () => {
              throw new TypeError('no keys');
            },
          },
        ),
      },
      'no keys at body.a',
    ],
    [
      'an error without a text',
      throwing(Object.assign(new Error(), { message: { a: 1 } })),
      'unreadable value at body.a',
    ],
    ['an error whose text cannot be read', throwing(unreadable), 'unreadable value at body.a'],
    ['a proxy in place of an error', throwing(proxy), 'unreadable value at body.a'],
    ['a proxy that throws at every look', { a: proxy }, 'nothing to see at body.a'],
    ['a proxy that throws at every look, alone', proxy, 'nothing to see at body'],
    ['a value that throws no error', throwing('text'), 'unreadable value at body.a'],
  ])('%s is named, with its place', (_name, body, reason) => {
    const fault = faultOfBody(body);
    expect(fault).toMatchObject({ status: 500, code: 'ERR_RAP_UNSERIALIZABLE' });
    expect(fault.message.startsWith('the body cannot be sent: ')).toBe(true);
    expect(fault.message.endsWith(reason)).toBe(true);
    expect(fault.cause).toBeDefined();
  });

  it('that is circular is named with its place', () => {
    expect(faultOfBody(circular()).message).toMatch(/nested too deep, or circular at body(\.self)+$/);
    expect(faultOfBody({ a: [circular()] }).message).toMatch(/circular at body\.a\[0\](\.self)+$/);
    const another = (): unknown => ({ toJSON: another });
    expect(faultOfBody({ a: another() }).message).toMatch(/circular at body\.a$/);
    const growing = (): unknown => ({ toJSON: () => [growing()] });
    expect(faultOfBody({ a: growing() }).message).toMatch(/circular at body\.a$/);
  });

  it('that is nested too deep is named with its place', () => {
    const deep = nested(200, () => 'map', 1);
    expect(faultOfBody({ deep, other: 1 }).message).toMatch(/nested too deep, or circular at body\.deep\.a/);
  });

  it('that is nested one container too deep is named with its place, too', () => {
    const deep = nested(99, () => 'map', 1);
    expect(faultOfBody([1, { deep }]).message).toMatch(/nested too deep, or circular at body\[1\]\.deep/);
  });

  it('that is deeper than lowered limits is named with its place', () => {
    const deep = nested(20, () => 'array', 1);
    expect(faultOfBody({ deep }, { ...LIMITS, maxDepth: 10 }).message).toMatch(/circular at body\.deep/);
  });

  it('that is bad beside what is deep is named with its own place, if limits were raised', () => {
    const body = { deep: nested(150, () => 'array', 1), bad };
    expect(faultOfBody(body, { ...LIMITS, maxDepth: 200 }).message).toMatch(/64 bits at body\.bad$/);
  });

  it('has a place of bounded length', () => {
    const key = 'k'.repeat(100);
    expect(faultOfBody({ [key]: { [key]: { [key]: bad } } }).message.length).toBeLessThan(300);
  });

  it('is told from a header that has none', () => {
    const header = { timeout: bad } as Header;
    const { message } = faultOf(() => encodeFrame(101, 3, header, { fine: 1 }, LIMITS));
    expect(message).toContain('a bigint beyond 64 bits');
    expect(message).not.toContain('body');
  });
});

/** Arrays that hold the one before twice: little memory, but 2^depth texts on the wire. */
function doubled(depth: number): unknown {
  let value: unknown = 'x'.repeat(20);
  for (let i = 0; i < depth; i++) value = [value, value];
  return value;
}

/** Values that only JavaScript has. */
const jsValue = fc.oneof(
  fc.date(),
  fc.int16Array(),
  fc.object({ withSet: true, withDate: true, withTypedArray: true }),
  fc.constantFrom<unknown>(
    undefined,
    () => 1,
    { toJSON: () => [[1]] },
    Object('boxed'),
    new Map([['a', [1]]]),
  ),
  fc.constant({ a: () => 1, b: 1 }),
);

/** Whether the encoder writes a frame under these limits. */
function sends(limits: FrameLimits, header: Header | EncodedHeader | null, body: unknown): boolean {
  try {
    encodeFrame(101, 3, header, body, limits);
    return true;
  } catch (error) {
    if (error instanceof Fault) return false;
    throw error;
  }
}

/** Whether a decoder with these limits takes the same frame. */
function takes(limits: FrameLimits, header: Header | EncodedHeader | null, body: unknown): boolean {
  return decode([wire(encodeFrame(101, 3, header, body, LIMITS))], decoderWith(limits)).fault === undefined;
}

describe('limits', () => {
  it.each([
    ['arrays', 'array'],
    ['maps', 'map'],
  ] as const)('of depth hold for %s, as for the decoder', (_name, kind) => {
    const most = nested(99, () => kind, 1);
    expect(decode([wire(encodeFrame(101, 3, null, most, LIMITS))]).frames[0]?.[3]).toEqual(most);
    expect(faultOfBody(nested(100, () => kind, 1)).message).toContain('nested too deep');
  });

  it.each<[string, unknown]>([
    ['bytes', Buffer.of(1)],
    ['a Date', new Date(0)],
    ['a boxed string', Object('a')],
    ['toJSON() of a number', { toJSON: () => 7 }],
  ])('of depth count containers on the wire, which %s is not', (_name, innermost) => {
    const bytes = wire(
      encodeFrame(
        101,
        3,
        null,
        nested(99, () => 'array', innermost),
        LIMITS,
      ),
    );
    expect(decode([bytes]).fault).toBeUndefined();
  });

  it('of size hold to the byte', () => {
    const { maxFrameBytes } = LIMITS;
    const body = 'x'.repeat(maxFrameBytes - 9);
    expect(encodeFrame(101, 3, null, body, LIMITS).size).toBe(maxFrameBytes);
    const fault = faultOfBody(`${body}x`);
    expect(fault).toMatchObject({ status: 1003, code: 'ERR_RAP_FRAME_TOO_LARGE' });
    expect(fault.message).toBe('frame too large: more than 4194304 bytes (limits.maxFrameBytes)');
  });

  it.each<[string, (bytes: number) => unknown]>([
    ['text', (bytes) => 'x'.repeat(bytes - 3)],
    ['wide text', (bytes) => 'é'.repeat((bytes - 3) / 2)],
    ['bytes', (bytes) => Buffer.alloc(bytes - 3)],
    ['numbers', (bytes) => Array(bytes - 3).fill(1)],
  ])('of size hold for %s, wherever the encoder writes', (_name, of) => {
    const limits = { ...LIMITS, maxFrameBytes: 4 + 1001 };
    for (let room = 0; room < 1100; room += 13) {
      const encoder = new Encoder();
      encoder.end = encoder.buffer.length - room;
      expect(encoder.frame(101, 3, null, of(1001), limits).size).toBe(1005);
      expect(faultOf(() => encoder.frame(101, 3, null, of(1003), limits)).code).toBe(
        'ERR_RAP_FRAME_TOO_LARGE',
      );
    }
  });

  it.each([1, 31, 32, 33, 38, 39, 40])(
    'of size hold for a text of %d characters, wherever the encoder writes',
    (length) => {
      const body = 'x'.repeat(length);
      const { size } = new Encoder().frame(101, 3, null, body, LIMITS);
      for (let room = 0; room < 200; room++) {
        const encoder = new Encoder();
        encoder.end = encoder.buffer.length - room;
        expect(encoder.frame(101, 3, null, body, { ...LIMITS, maxFrameBytes: size }).size).toBe(size);
        expect(
          faultOf(() => encoder.frame(101, 3, null, body, { ...LIMITS, maxFrameBytes: size - 1 })).status,
        ).toBe(1003);
      }
    },
  );

  it('of size hold for large bytes, which are not copied', () => {
    const limits = { ...LIMITS, maxFrameBytes: 200_000 };
    const frame = encodeFrame(101, 3, null, [Buffer.alloc(100_000), Buffer.alloc(99_985)], limits);
    expect(frame.size).toBe(200_000);
    expect(faultOfBody([Buffer.alloc(100_000), Buffer.alloc(99_986)], limits).code).toBe(
      'ERR_RAP_FRAME_TOO_LARGE',
    );
    expect(faultOfBody([Buffer.alloc(200_000), 'x'.repeat(200_000)], limits).code).toBe(
      'ERR_RAP_FRAME_TOO_LARGE',
    );
  });

  it('stop a body that grows without end', () => {
    expect(faultOfBody(doubled(60)).status).toBe(1003);
  });

  it('of items hold', () => {
    const most = Array(LIMITS.maxItems - 5).fill(0);
    expect(decode([wire(encodeFrame(101, 3, null, most, LIMITS))]).fault).toBeUndefined();
    expect(faultOfBody([...most, 0]).status).toBe(1003);
  });

  const header = { target: '/a/b', more: [1, { b: 2 }] };
  it.each<[string, Header | EncodedHeader | null]>([
    ['no header', null],
    ['a header', header],
    ['a header that was encoded ahead', encodeHeader(header)],
  ])('of items count what is on the wire, with %s', (_name, head) => {
    const limits = { ...LIMITS, maxItems: 60 };
    const items: (() => unknown)[] = [
      () => 0,
      () => [],
      () => ({ a: 1 }),
      () => ({ left: (): void => {}, out: Symbol('s') }),
      () => new Date(0),
      () => Buffer.of(1),
      () => new Set([1, 'a']),
      () => new Map([['a', 1]]),
      () => Int8Array.of(1, 2),
    ];
    for (const item of items) {
      for (let count = 0; count < 60; count++) {
        const body = Array.from({ length: count }, item);
        expect([count, sends(limits, head, body)]).toEqual([count, takes(limits, head, body)]);
      }
    }
  });

  it('all hold for what is sent as they hold for what is received', () => {
    const lowered = fc.oneof(
      ...Object.entries({
        maxFrameBytes: [16, 400],
        maxDepth: [5, 7],
        maxItems: [5, 60],
        maxHeaderBytes: [1, 120],
        maxHeaderEntries: [1, 6],
        maxHeaderKeyBytes: [1, 30],
        maxHeaderDepth: [1, 3],
      }).map(([name, [min, max]]) => fc.integer({ min, max }).map((limit) => ({ [name]: limit }))),
    );
    const bodies = fc.oneof(values(), fc.array(jsValue, { maxLength: 4 }));
    fc.assert(
      fc.property(lowered, anyFrame(bodies), (limit, [, , head, body]) => {
        const limits = { ...LIMITS, ...limit };
        expect(sends(limits, head as Header, body)).toBe(takes(limits, head as Header, body));
      }),
      { numRuns: 1000 },
    );
  });

  it.each<[string, Record<string, unknown>]>([
    ['its size', { a: 'x'.repeat(8192) }],
    ['its entries', Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, 1]))],
    ['the length of a key', { ['k'.repeat(129)]: 1 }],
    ['its depth', { a: [[[[1]]]] }],
    ['a forbidden key', { constructor: 1 }],
  ])('of a header hold for %s: a peer would close the connection', (_name, head) => {
    expect(faultOf(() => encodeFrame(101, 3, head as Header, null, LIMITS)).status).toBeGreaterThan(0);
  });
});

describe('a frame that failed', () => {
  const bodies: [string, unknown][] = [
    ['at its start', bad],
    ['in its middle', ['x'.repeat(1000), { a: bad }]],
    ['after it outgrew its memory', ['x'.repeat(200_000), bad]],
    ['after large bytes', [Buffer.alloc(100_000), bad]],
    ['for its size', 'x'.repeat(LIMITS.maxFrameBytes)],
    ['for its depth', nested(150, () => 'map', 1)],
    ['in a getter', ['some', getter]],
  ];

  it.each(bodies)('%s leaves nothing behind', (_name, body) => {
    const outbox = new Outbox();
    const expected: unknown[] = [];
    for (let i = 1; i <= 5; i++) {
      outbox.append(encodeFrame(101, i, null, { i, text: 'é'.repeat(20) }, LIMITS));
      expected.push([101, i, {}, { i, text: 'é'.repeat(20) }]);
      faultOf(() => encodeFrame(101, 99, { target: '/lost' }, body, LIMITS));
    }
    const { frames, fault } = decode([Buffer.concat(outbox.take())]);
    expect(fault).toBeUndefined();
    expect(frames).toEqual(expected);
  });

  it.each(bodies)('%s gives its place to the next', (_name, body) => {
    const encoder = new Encoder();
    faultOf(() => encoder.frame(101, 3, null, body, LIMITS));
    const { start } = encoder.frame(101, 3, null, null, LIMITS);
    expect(start).toBe(0);
    expect(wire(encoder)).toEqual(hex(`${HEAD} c0`));
    expect(encoder.splices).toEqual([]);
  });
});

/** Sends through one outbox, as a link does. */
function sender(): { send: (id: number, body: unknown) => void; received: () => unknown[] } {
  const outbox = new Outbox();
  return {
    send: (id, body) => outbox.append(encodeFrame(101, id, null, body, LIMITS)),
    received: () => {
      const { frames, fault } = decode([Buffer.concat(outbox.take())], decoderWith());
      expect(fault).toBeUndefined();
      return frames.map(([, id, , body]) => [id, body]);
    },
  };
}

describe('a body that sends while it is read', () => {
  it('gives two frames that are whole', () => {
    const { send, received } = sender();
    send(1, 'before');
    send(2, {
      a: 'x'.repeat(50),
      get b() {
        send(3, { inner: 'y'.repeat(50) });
        return 'read';
      },
      c: [1, { toJSON: () => (send(4, Buffer.alloc(70_000)), 'json') }],
    });
    send(5, 'after');
    expect(received()).toEqual([
      [1, 'before'],
      [3, { inner: 'y'.repeat(50) }],
      [4, Buffer.alloc(70_000)],
      [2, { a: 'x'.repeat(50), b: 'read', c: [1, 'json'] }],
      [5, 'after'],
    ]);
  });

  it('gives whole frames if one within it fails, or it fails after one', () => {
    const { send, received } = sender();
    send(1, {
      get a() {
        expect(() => send(2, bad)).toThrow('64 bits');
        return 1;
      },
    });
    let reads = 0;
    const failing = {
      get a() {
        // the search for its place reads it again
        if (++reads === 1) send(4, 'inner');
        throw new Error('no');
      },
    };
    expect(() => send(3, failing)).toThrow('no at body');
    send(5, 'after');
    expect(received()).toEqual([
      [1, { a: 1 }],
      [4, 'inner'],
      [5, 'after'],
    ]);
  });

  it('gives whole frames at any depth of it', () => {
    const { send, received } = sender();
    const body = (depth: number): unknown => ({
      get a() {
        if (depth > 1) send(depth - 1, body(depth - 1));
        return depth;
      },
    });
    send(10, body(10));
    expect(received()).toEqual(Array.from({ length: 10 }, (_, i) => [i + 1, { a: i + 1 }]));
  });
});
