import { inspect } from 'node:util';
import { assertKnown, type Keys } from '../nest/validation/known-options.js';
import { handlerFault } from '../nest/errors/handler-fault.js';
import { pluginLogger } from '../nest/lifecycle/plugin-logger.js';
import type { Clock } from '../protocol/clock.js';
import type { Fault } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';
import { onAbort } from '../rpc/context/listeners.js';
import { systemClock } from '../rpc/time/system-clock.js';
import { CallContext } from '../pipeline/call-context.js';
import {
  type MessageKind,
  MessageMiddleware,
  type ProcessorContext,
  RapProcessor,
  type RapRequest,
} from '../pipeline/api.js';
import { fraction } from './plugin-options.js';

/** One call, event, channel or stream, when it is over. */
export interface AccessLogEntry {
  readonly target: string;
  readonly kind: MessageKind;
  /** Id of the connection, as `RapContext` shows it. */
  readonly connectionId: string;
  /** Id of the call on its connection. */
  readonly correlationId: number;
  /** `address:port`, or the path of a Unix socket. */
  readonly peer: string;
  /** Status on the wire: 200, or that of the error. */
  readonly status: number;
  readonly durationMs: number;
  /** Received bytes on the wire; for a channel, those of all its messages. */
  readonly bytes: number;
}

export interface AccessLogOptions {
  /** Fraction of the calls that is logged, from 0 to 1. Default 1: all. */
  sample?: number | undefined;
  /** Fraction of the failed calls that is logged, from 0 to 1. Default 1: all. */
  sampleErrors?: number | undefined;
  /**
   * How Nest's logger gets an entry: `json`, one line of text, or `object`, the entry itself, for loggers that write its fields.
   * Default `json`.
   */
  format?: 'json' | 'object' | undefined;
  /** Called with each entry, instead of Nest's logger. Without it, a call that failed is a warning there. */
  log?: ((entry: AccessLogEntry) => void) | undefined;
  /** From 0 to 1. Default `Math.random`. */
  random?: (() => number) | undefined;
  /** @internal */
  clock?: Clock | undefined;
}

const OPTIONS: Keys<AccessLogOptions> = {
  sample: true,
  sampleErrors: true,
  format: true,
  log: true,
  random: true,
  clock: true,
};

/** Longest target that is logged, in characters; the wire does not allow a longer one. */
const MAX_TARGET_LENGTH = 256;

interface Sized {
  readonly startedAt: number;
  bytes: number;
}

/**
 * Logs one line for each call that reached a handler. Bodies and headers are never logged. To log channels and streams as
 * well, when they end, load its processor too:
 *
 *     const accessLog = new AccessLogMiddleware({ sample: 0.01 });
 *     new RapServer({ middleware: [accessLog], processors: [accessLog.channels] });
 */
export class AccessLogMiddleware extends MessageMiddleware {
  /** Logs channels and streams, also those without a handler. */
  readonly channels: RapProcessor;
  readonly #sample: number;
  readonly #sampleErrors: number;
  readonly #log: (entry: AccessLogEntry) => void;
  readonly #random: () => number;
  readonly #clock: Clock;

  /** @throws RangeError for an option that is out of range. */
  constructor(options: AccessLogOptions = {}) {
    super();
    assertKnown('AccessLogMiddleware', options, OPTIONS);
    const { sample = 1, sampleErrors = 1, log = loggerOf(options.format), random = Math.random } = options;
    this.#sample = fraction('sample', sample);
    this.#sampleErrors = fraction('sampleErrors', sampleErrors);
    this.#log = log;
    this.#random = random;
    this.#clock = options.clock ?? systemClock;
    this.channels = new ChannelLog(this.#clock, (context, record, status) =>
      this.#end(context, record, status),
    );
  }

  override async use(
    request: RapRequest,
    next: () => Promise<unknown>,
    context: ProcessorContext,
  ): Promise<unknown> {
    // the processor logs it, when it ends
    if (context.state.has(this.channels)) return next();
    const record = { startedAt: this.#clock.now(), bytes: request.bytes };
    let isLogged = false;
    const end = (status: number): void => {
      if (!isLogged) this.#end(context, record, status);
      isLogged = true;
    };
    whenGivenUp(context, end);
    try {
      const result = await next();
      end(Status.Ok);
      return result;
    } catch (error) {
      end(handlerFault(error).fault.status);
      throw error;
    }
  }

  #end(context: ProcessorContext, { startedAt, bytes }: Sized, status: number): void {
    const { target, kind, id, connection, peer } = context;
    const sample = status === Status.Ok ? this.#sample : this.#sampleErrors;
    try {
      if (sample < 1 && this.#random() >= sample) return;
      this.#log({
        target: target.slice(0, MAX_TARGET_LENGTH),
        kind,
        connectionId: connection.id,
        correlationId: id,
        peer: peer.family === 'unix' ? peer.address : `${peer.address}:${peer.port}`,
        status,
        durationMs: Math.round((this.#clock.now() - startedAt) * 1000) / 1000,
        bytes,
      });
    } catch {
      // a log that fails must not fail a call
    }
  }
}

/** A call that has timed out or was cancelled is over at that moment, whenever its handler ends. */
function whenGivenUp(context: ProcessorContext, end: (status: number) => void): void {
  const call = context instanceof CallContext ? context.incoming : undefined;
  if (call?.kind !== 'call') return;
  const { signal } = call;
  onAbort(signal, () => {
    // a stream that its reader has left has not failed
    const isLeft = call.stream !== undefined && call.stream.fault === undefined;
    if (!isLeft) end((signal.reason as Fault).status);
  });
}

class ChannelLog extends RapProcessor {
  constructor(
    private readonly clock: Clock,
    private readonly end: (context: ProcessorContext, record: Sized, status: number) => void,
  ) {
    super();
  }

  override onContextEnter({ kind, state }: ProcessorContext): void {
    if (kind === 'channel') state.set(this, { startedAt: this.clock.now(), bytes: 0 } satisfies Sized);
  }

  override processRequest({ bytes }: RapRequest, { state }: ProcessorContext): void {
    const record = state.get(this) as Sized | undefined;
    if (record) record.bytes += bytes;
  }

  override onContextExit(context: ProcessorContext, error?: unknown): void {
    const record = context.state.get(this) as Sized | undefined;
    if (record) this.end(context, record, error === undefined ? Status.Ok : handlerFault(error).fault.status);
  }
}

/** @throws RangeError for an unknown format */
function loggerOf(format: AccessLogOptions['format'] = 'json'): (entry: AccessLogEntry) => void {
  const logger = pluginLogger('AccessLogMiddleware');
  if (format !== 'json' && format !== 'object')
    throw new RangeError(`format must be 'json' or 'object', got ${inspect(format)}`);
  return (entry) => {
    // JSON escapes what a peer may have put into the target
    const line = format === 'json' ? JSON.stringify(entry) : entry;
    if (entry.status === Status.Ok) logger.log(line);
    else logger.warn(line);
  };
}
