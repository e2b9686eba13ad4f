import { Unpackr } from 'msgpackr';
import type { Feed } from './decoder.js';

const unpackr = new Unpackr({ useRecords: false });

/** What `--decoder` measures, by the name in its report. */
export const decoders: Record<string, Feed> = {
  // The floor: a decoder that is told where the frame ends.
  'msgpackr, joined once, end known': (chunks) => {
    unpackr.unpack(Buffer.concat(chunks));
  },
};
