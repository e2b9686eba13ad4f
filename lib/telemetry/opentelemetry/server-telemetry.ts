import { context, type Span, SpanKind, trace, type Tracer } from '@opentelemetry/api';
import type { RapServerOperation } from '../../diagnostics/messages.js';
import { type MethodName, MethodNames } from '../method-names.js';
import { Slot } from '../slot.js';
import type { Subscriptions } from '../subscriptions.js';
import { hasServerFailed, isKnown, originalOf, spanNameOf } from './attributes.js';
import { ServerAttributes } from './call-attributes.js';
import type { CallMetrics } from './call-metrics.js';
import { endSpan } from './end-span.js';
import { extract } from './propagation.js';

interface Traced {
  readonly name: MethodName;
  readonly span: Span;
}

/** Spans and metrics of what comes in at servers. */
export class ServerTelemetry {
  readonly #names = new MethodNames();
  readonly #attributes = new ServerAttributes();
  readonly #calls = new Slot<RapServerOperation, Traced>('traced');

  constructor(
    private readonly tracer: Tracer,
    private readonly metrics: CallMetrics,
    private readonly trust: 'parent' | 'link',
  ) {}

  subscribe(to: Subscriptions): void {
    for (const name of ['rap.server.call', 'rap.server.channel']) {
      to.add<RapServerOperation>(`tracing:${name}:start`, (call) => this.#started(call));
      to.add<RapServerOperation>(`tracing:${name}:asyncEnd`, (call) => this.#ended(call));
    }
  }

  #started(call: RapServerOperation): void {
    const name = this.#names.served(call);
    const { parent, links } = extract(call.header, this.trust);
    const { started } = this.#attributes.of(name, call);
    const attributes = isKnown(name) ? started : { ...started, ...originalOf(call) };
    const span = this.tracer.startSpan(
      spanNameOf(name),
      { kind: SpanKind.SERVER, attributes, links },
      parent,
    );
    this.#calls.set(call, { name, span });
    this.metrics.started(call, name);
    const inside = trace.setSpan(parent, span);
    call.runWith((work) => context.with(inside, work));
  }

  #ended(call: RapServerOperation): void {
    const traced = this.#calls.get(call);
    if (!traced) return;
    const { name, span } = traced;
    const hasFailed = hasServerFailed(call);
    const ended = this.#attributes.of(name, call).ended(call.outcome as string, hasFailed);
    endSpan(span, ended.span, hasFailed ? call.error : undefined);
    this.metrics.ended(call, name, ended.metric);
  }
}
