import { Unpackr } from 'msgpackr';
import type { Feed } from './decoder.js';

/** Above all measured sizes, so that no limit stops a run. */
const limits = { maxFrameBytes: 64 * 1024 * 1024, maxItems: 2 ** 31 };

interface DecoderEntry {
  name: string;
  feed: Feed;
  /** A reference only: it is told the length that a decoder must find out. */
  isFloor: boolean;
}

/** What `--decoder` measures. */
export async function loadDecoders(): Promise<DecoderEntry[]> {
  const unpackr = new Unpackr({ useRecords: false });
  return [
    { name: 'FrameDecoder', feed: await frameDecoderFeed(), isFloor: false },
    {
      name: 'The floor: msgpackr, joined once, end known',
      feed: (chunks) => void unpackr.unpack(Buffer.concat(chunks)),
      isFloor: true,
    },
  ];
}

/** The internal decoder: the package does not export one. */
async function frameDecoderFeed(): Promise<Feed> {
  type DecoderModule = typeof import('../../dist/protocol/frame-decoder.js');
  type LimitsModule = typeof import('../../dist/protocol/limits.js');
  const { FrameDecoder } = await fromDist<DecoderModule>('frame-decoder.js');
  const { DEFAULT_FRAME_LIMITS } = await fromDist<LimitsModule>('limits.js');

  return (chunks) => {
    const decoder = new FrameDecoder({ ...DEFAULT_FRAME_LIMITS, ...limits });
    decoder.admit(limits.maxFrameBytes);
    let frames = 0;
    for (const chunk of chunks) {
      decoder.push(chunk);
      while (decoder.next()) frames += 1;
    }
    if (frames !== 1) throw new Error(`FrameDecoder found ${frames} frames in one`);
  };
}

/** From bench/dist/src, where this file is compiled to. */
async function fromDist<T>(file: string): Promise<T> {
  const module: T = await import(new URL(`../../../dist/protocol/${file}`, import.meta.url).href);
  return module;
}
