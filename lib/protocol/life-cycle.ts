import type { EncodedHeader } from './bytes/encoded-frame.js';
import { encodeHeader } from './encoder.js';

/** `header.channel_life_cycle` of a channel's frames. */
export const LifeCycle = {
  /** Opens the channel; the server answers with the same. */
  Declare: 'DECLARE',
  /** One message, in either direction. */
  Msg: 'MSG',
  /** Ends the channel in both directions; carries an error if there is one. */
  Drop: 'DROP',
  /** Extension `half_close`: the sender writes no more. */
  End: 'END',
  /** Extension `credit`: the receiver has room for that many more bytes. */
  Credit: 'CREDIT',
} as const;

export type LifeCycle = (typeof LifeCycle)[keyof typeof LifeCycle];

/** Headers that every channel sends, encoded once. */
export const LIFE_CYCLE_HEADER: Readonly<Record<LifeCycle, EncodedHeader>> = {
  DECLARE: encodeHeader({ channel_life_cycle: LifeCycle.Declare }),
  MSG: encodeHeader({ channel_life_cycle: LifeCycle.Msg }),
  DROP: encodeHeader({ channel_life_cycle: LifeCycle.Drop }),
  END: encodeHeader({ channel_life_cycle: LifeCycle.End }),
  CREDIT: encodeHeader({ channel_life_cycle: LifeCycle.Credit }),
};
