import { type Context, context, type Link, propagation, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import type { Header } from '../../protocol/frame.js';

/** Longest header of a trace that is read or sent: half of what all headers of a call may have. */
const MAX_HEADER_LENGTH = 4096;

/** Something that takes headers. */
export interface HeaderSink {
  setHeader(key: string, value: unknown): void;
}

/** Writes the trace of a context into the header of a call. */
export function inject(from: Context, into: HeaderSink): void {
  propagation.inject(from, into, {
    // a peer ends a connection whose headers are too large: the call is worth more than its baggage
    set: (sink, key, value) => {
      if (value.length <= MAX_HEADER_LENGTH) sink.setHeader(key, value);
    },
  });
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

/** Runs work in a context. */
export function within(it: Context, work: () => void): void {
  context.with(it, work);
}
