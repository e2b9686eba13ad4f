import type { TracingChannel } from 'node:diagnostics_channel';
import type {
  RapCallKind,
  RapPeerInfo,
  RapFunctionName,
  RapServerOperation,
} from '../../diagnostics/messages.js';
import { Operation } from '../../diagnostics/operation.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { textOf } from '../../protocol/values/unknown.js';
import type { AnyIncoming } from '../../rpc/server/any-incoming.js';
import type { IncomingObserver } from '../../rpc/server/incoming.js';
import type { Route } from '../handlers/handler.js';

/** Targets are shown up to this length. */
const MAX_TARGET = 256;

/** A call or channel that came in, as subscribers of the tracing channels see it. */
export class ServedOperation extends Operation implements RapServerOperation, IncomingObserver {
  readonly kind: RapCallKind;
  #failure: Fault | undefined;
  readonly #around: ((work: () => void) => void)[] = [];

  constructor(
    tracing: TracingChannel<unknown, RapServerOperation>,
    private readonly incoming: AnyIncoming,
    readonly method: (RapFunctionName & Pick<Route, 'kind'>) | undefined,
  ) {
    const { target } = incoming.header;
    super(tracing, typeof target === 'string' ? target.slice(0, MAX_TARGET) : '', incoming.startedAt);
    this.kind = kindOf(incoming, method?.kind);
    if (incoming.kind === 'channel') this.channel = incoming.channel;
  }

  get header(): Header {
    return this.incoming.header;
  }

  get correlationId(): number {
    return this.incoming.id;
  }

  get connection(): RapPeerInfo {
    return this.incoming.connection;
  }

  get messagesSent(): number {
    const { incoming } = this;
    const channel = incoming.kind === 'call' ? incoming.stream : incoming.channel;
    if (channel) return channel.sentCount;
    return this.isAnswered ? 1 : 0;
  }

  get messagesReceived(): number {
    return this.channel?.receivedCount ?? 1;
  }

  private get isAnswered(): boolean {
    return this.isOver && this.error === undefined && this.kind !== 'event';
  }

  runWith(around: (work: () => void) => void): void {
    if (this.isStarting) this.#around.push(around);
  }

  /** Observes it from here on, and runs what handles it. */
  run(work: () => void): void {
    this.incoming.observer = this;
    this.begin(() => this.#around.reduceRight<() => void>((inner, around) => once(around, inner), work)());
  }

  failed(failure: Fault): void {
    this.#failure ??= failure;
  }

  over(): void {
    this.finish(this.incoming.deadlines.clock.now(), this.#failure);
  }
}

/** Work inside of `around`, which runs once, whatever that does. */
function once(around: (work: () => void) => void, work: () => void): () => void {
  return () => {
    let hasRun = false;
    const run = (): void => {
      if (hasRun) return;
      hasRun = true;
      work();
    };
    try {
      around(run);
    } catch (error) {
      // the call goes on; its subscriber must not stay unheard
      process.emitWarning(error instanceof Error ? error : textOf(error), 'RapWarning');
    }
    run();
  };
}

/** What was opened; of a channel to an unknown function, what its caller expects. */
function kindOf(incoming: AnyIncoming, known: Route['kind'] | undefined): RapCallKind {
  if (incoming.kind === 'call') return incoming.oneWay ? 'event' : 'unary';
  return (known ? known === 'channel' : incoming.wantsChannel) ? 'channel' : 'stream';
}
