import { type Context, type Link, propagation, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import { encodeHeader } from '../../protocol/encoder.js';
import type { Header } from '../../protocol/frame.js';
import { DEFAULT_FRAME_LIMITS } from '../../protocol/limits.js';

/** Longest header of a trace that is read: half of what all headers of a call may have. */
const MAX_HEADER_LENGTH = 4096;
/** What is left free in a header for the protocol. */
const RESERVED_BYTES = 1024;
const RESERVED_ENTRIES = 8;
/** What a text and its key need beside their characters. */
const ENTRY_BYTES = 8;

/** Something that takes headers. */
export interface HeaderSink {
  setHeader(key: string, value: unknown): void;
}

/**
 * Writes the trace of a context into the header of a call. What does not fit beside the headers that the call has is left out: a call
 * whose header is too large cannot be sent, and it is worth more than its baggage.
 */
export function inject(from: Context, into: HeaderSink, header: Header): void {
  let { bytes, entries } = roomIn(header);
  propagation.inject(from, into, {
    set: (sink, key, value) => {
      const size = Buffer.byteLength(key) + Buffer.byteLength(value) + ENTRY_BYTES;
      if (size > bytes || entries === 0) return;
      bytes -= size;
      entries -= 1;
      sink.setHeader(key, value);
    },
  });
}

function roomIn(header: Header): { bytes: number; entries: number } {
  const { maxHeaderBytes, maxHeaderEntries } = DEFAULT_FRAME_LIMITS;
  const count = Object.keys(header).length;
  const entries = Math.max(0, maxHeaderEntries - RESERVED_ENTRIES - count);
  if (count <= 1) return { bytes: maxHeaderBytes - RESERVED_BYTES, entries };
  try {
    return { bytes: maxHeaderBytes - RESERVED_BYTES - encodeHeader(header).bytes.length, entries };
  } catch {
    return { bytes: 0, entries: 0 }; // its own sender will say what is wrong with it
  }
}

/** Where the span of a call that came in belongs. */
export interface Origin {
  readonly parent: Context;
  readonly links: Link[];
}

/** Reads the trace of a header. `link`: the caller is not trusted; its trace is only linked to, and its baggage dropped. */
export function extract(header: Header, trust: 'parent' | 'link'): Origin {
  const remote = propagation.extract(ROOT_CONTEXT, header, {
    keys: (from) => Object.keys(from),
    get: (from, key) => {
      const value = Object.hasOwn(from, key) ? from[key] : undefined;
      return typeof value === 'string' && value.length <= MAX_HEADER_LENGTH ? value : undefined;
    },
  });
  if (trust === 'parent') return { parent: remote, links: [] };
  const linked = trace.getSpanContext(remote);
  return { parent: ROOT_CONTEXT, links: linked ? [{ context: linked }] : [] };
}
