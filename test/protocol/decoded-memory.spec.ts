import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { fromPythonJson } from '../../lib/protocol/crypto/python-json.js';
import type { Frame, Header } from '../../lib/protocol/frame.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { snapshotOf } from '../../lib/protocol/snapshot.js';
import { MessageView } from '../../lib/pipeline/message-view.js';
import { heapUsed } from '../helpers/memory.js';

/** What a value may cost beside its bytes: docs/limits.md. */
const ITEM_BYTES = 100;
/** What the heap of a test is off by. */
const NOISE_BYTES = 2 * 1024 * 1024;

const key = (text: string): Buffer => Buffer.concat([Buffer.from([0xa0 | text.length]), Buffer.from(text)]);
const count32 = (token: number, count: number): Buffer => {
  const head = Buffer.alloc(5);
  head[0] = token;
  head.writeUInt32BE(count, 1);
  return head;
};
const NIL = Buffer.from([0xc0]);

function map(...keys: string[]): Buffer {
  return Buffer.concat([count32(0xdf, keys.length), ...keys.flatMap((name) => [key(name), NIL])]);
}

function times(count: number, value: (i: number) => Buffer): Buffer {
  return Buffer.concat([count32(0xdd, count), ...Array.from({ length: count }, (_, i) => value(i))]);
}

function frameOf(header: Buffer, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x94, 0x65, 0x05]), header, body]);
}

const bin = (bytes: Buffer): Buffer => Buffer.concat([count32(0xc6, bytes.length), bytes]);

const EMPTY = Buffer.from([0x80]);

function decode(frame: Buffer, chunkBytes: number, values = false): Frame {
  const decoder = new FrameDecoder(DEFAULT_FRAME_LIMITS);
  decoder.admit(DEFAULT_FRAME_LIMITS.maxFrameBytes, values);
  let found: Frame | undefined;
  for (let at = 0; at < frame.length; at += chunkBytes) {
    decoder.push(frame.subarray(at, at + chunkBytes));
    found = decoder.next() ?? found;
  }
  if (!found) throw new Error('no frame');
  return found;
}

/** Bytes of heap that what `make` gives holds. */
async function heapOf(make: () => unknown): Promise<number> {
  const before = await heapUsed();
  const value = make();
  const bytes = (await heapUsed()) - before;
  expect(value).toBeDefined();
  return bytes;
}

describe('what decoded values hold in memory', () => {
  it.each<[string, number, Buffer]>([
    ['maps with two keys that are indices far apart', 100_000, times(20_000, () => map('1023', '2574'))],
    ['maps with one key that is an index', 60_000, times(20_000, () => map('999'))],
    ['maps with a text before the index', 100_000, times(20_000, () => map('a', '1023'))],
    ['maps with the largest index', 60_000, times(20_000, () => map('4294967294'))],
    [
      'a map of many indices far apart',
      120_000,
      map(...Array.from({ length: 60_000 }, (_, i) => String(i * 1023))),
    ],
    [
      'maps in maps',
      50_000,
      times(10_000, () => Buffer.concat([count32(0xdf, 1), key('1020'), map('1023')])),
    ],
  ])('%s take little more than their bytes', async (_, items, body) => {
    const frame = frameOf(EMPTY, body);
    const bytes = await heapOf(() => decode(frame, 64 * 1024));
    expect(bytes).toBeLessThan(frame.length + items * ITEM_BYTES + NOISE_BYTES);
  });

  it('the same in a frame that comes in one piece', async () => {
    const frame = frameOf(
      EMPTY,
      times(20_000, () => map('1023', '2574')),
    );
    const bytes = await heapOf(() => decode(frame, frame.length));
    expect(bytes).toBeLessThan(frame.length + 100_000 * ITEM_BYTES + NOISE_BYTES);
  });

  it('the same in headers', async () => {
    const keys = Array.from({ length: 60 }, (_, i) => String(1023 + i * 1551));
    const header = Buffer.concat([Buffer.from([0xde, 0, 60]), ...keys.flatMap((name) => [key(name), NIL])]);
    const frames = Buffer.concat(Array.from({ length: 100 }, () => frameOf(header, NIL)));
    const bytes = await heapOf(() => {
      const decoder = new FrameDecoder(DEFAULT_FRAME_LIMITS);
      decoder.admit(DEFAULT_FRAME_LIMITS.maxFrameBytes);
      decoder.push(frames);
      const all: Frame[] = [];
      for (let frame = decoder.next(); frame; frame = decoder.next()) all.push(frame);
      expect(all).toHaveLength(100);
      return all;
    });
    expect(bytes).toBeLessThan(frames.length + 100 * 120 * ITEM_BYTES + NOISE_BYTES);
  });

  it('the same in the JSON of encrypted bodies', async () => {
    const json = `[${Array.from({ length: 20_000 }, () => '{"1023":null,"2574":null}').join()}]`;
    const bytes = await heapOf(() => fromPythonJson(json));
    expect(bytes).toBeLessThan(json.length + 100_000 * ITEM_BYTES + NOISE_BYTES);
  });

  it('the same in copies: of bodies, and of headers that processors see', async () => {
    const sparse = map('1023', '2574');
    const [, , , body] = decode(
      frameOf(
        EMPTY,
        times(20_000, () => sparse),
      ),
      64 * 1024,
    );
    const bytes = await heapOf(() => snapshotOf(body, 200_000));
    expect(bytes).toBeLessThan(20_000 * 5 * ITEM_BYTES + NOISE_BYTES);
    const [, , header] = decode(frameOf(sparse, NIL), 64 * 1024) as unknown as [0, 0, Header];
    const views = Array.from({ length: 1000 }, () => new MessageView({} as never, undefined, header, null));
    const headers = await heapOf(() => views.map((view) => [view.header, view.outcome]));
    expect(headers).toBeLessThan(2000 * 5 * ITEM_BYTES + NOISE_BYTES);
    expect(headers).toBeGreaterThan(0);
  });

  it('the same in the fields of errors', async () => {
    const fields = map('1023', '2574');
    const error = Buffer.concat([Buffer.from([0x93]), key('Error'), key('no'), fields]);
    const extension = Buffer.concat([Buffer.from([0xc7, error.length, 0x04]), error]);
    const frame = frameOf(
      EMPTY,
      times(5000, () => extension),
    );
    const bytes = await heapOf(() => {
      const found = decode(frame, 64 * 1024, true);
      expect((found[3] as Error[])[0]).toMatchObject({ message: 'no', '1023': null });
      return found;
    });
    expect(bytes).toBeLessThan(frame.length + 5000 * 15 * ITEM_BYTES + NOISE_BYTES);
  });

  it('gives such maps back as they came', () => {
    const names = ['2574', 'a', '1023', '01', '-1', '4294967295', '0', '1e3', '', '__proto__'];
    const [, , , body] = decode(frameOf(EMPTY, map(...names)), 8);
    expect(Object.keys(body as object).toSorted()).toEqual(names.toSorted());
    expect(Object.getPrototypeOf(body)).toBe(Object.prototype);
    expect(Object.keys(fromPythonJson('{"9":1,"01":2,"b":3}') as object)).toEqual(['9', '01', 'b']);
  });

  it('a small byte array does not keep a large frame alive', () => {
    const blob = Buffer.alloc(2 * 1024 * 1024, 3);
    const id = Buffer.alloc(16, 7);
    const body = Buffer.concat([Buffer.from([0x82]), key('id'), bin(id), key('blob'), bin(blob)]);
    const kept = decode(frameOf(EMPTY, body), 64 * 1024)[3] as { id: Buffer; blob: Buffer };
    expect(kept.id).toEqual(id);
    expect(kept.id.buffer.byteLength).toBeLessThan(64 * 1024);
    expect(kept.blob.equals(blob)).toBe(true);
  });

  it('a byte array that is most of its frame is not copied', () => {
    const blob = Buffer.concat([count32(0xc6, 1024 * 1024), Buffer.alloc(1024 * 1024, 3)]);
    const frame = frameOf(EMPTY, blob);
    const [, , , body] = decode(frame, 64 * 1024) as unknown as [unknown, unknown, unknown, Buffer];
    expect(body.buffer.byteLength).toBe(frame.length);
  });
});
