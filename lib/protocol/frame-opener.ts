import { protocolFault } from './fault.js';
import { cryptoFault, type FrameSeal } from './frame-seal.js';
import type { FrameLimits } from './limits.js';
import { Scanner } from './scanner.js';

/** Opens sealed frames, and applies the limits of any frame to what was inside. */
export class FrameOpener {
  /** Whether the frame that is read now is certainly the other side's: it has opened. */
  authentic = false;

  /** Has scanned the frame that was opened last, and says how to decode it. */
  readonly found: Scanner;

  constructor(
    private readonly seal: FrameSeal,
    limits: FrameLimits,
  ) {
    this.found = new Scanner(limits);
  }

  /** Both sides offered `values`. */
  set allowsValues(allows: boolean) {
    this.found.allowsValues = allows;
  }

  /**
   * The frame that a sealed one, of which the body begins at `bodyStart`, stands for.
   *
   * @throws {@link Fault} 1007 if it is not what the other side has sealed; 1003 if that breaks the rules of frames.
   */
  open(frame: Buffer, bodyStart: number): Buffer {
    const plaintext = this.seal.open(frame.subarray(1, bodyStart), sealedBody(frame, bodyStart));
    if (!plaintext) throw cryptoFault('a frame does not open');
    this.authentic = true;
    const bytes = Buffer.allocUnsafe(bodyStart + plaintext.length);
    frame.copy(bytes, 0, 0, bodyStart);
    plaintext.copy(bytes, bodyStart);
    if (this.found.scan(bytes, 0) !== bytes.length) {
      throw protocolFault('a sealed body is one whole value');
    }
    return bytes;
  }
}

/** The body's bytes. There is only one valid form: `bin` with the shortest length that holds it. */
function sealedBody(frame: Buffer, start: number): Buffer {
  const token = frame[start] as number;
  if (token < 0xc4 || token > 0xc6) throw cryptoFault('a frame is not sealed');
  const head = token === 0xc4 ? 2 : token === 0xc5 ? 3 : 5;
  const bytes = frame.subarray(start + head);
  const shortest = bytes.length < 0x100 ? 2 : bytes.length < 0x1_0000 ? 3 : 5;
  if (head !== shortest) throw cryptoFault('the length of a body is not in its shortest form');
  return bytes;
}
