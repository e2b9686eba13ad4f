import { type Context, context, type Span, SpanKind, trace, type Tracer } from '@opentelemetry/api';
import type { RapClientOperation, RapFurtherAttempt } from '../../diagnostics/messages.js';
import { type MethodName, MethodNames } from '../method-names.js';
import { Slot } from '../slot.js';
import type { Subscriptions } from '../subscriptions.js';
import { isKnown, originalOf, outcomeOf, spanNameOf } from './attributes.js';
import { ClientAttributes } from './call-attributes.js';
import type { CallMetrics } from './call-metrics.js';
import { endSpan } from './end-span.js';
import { inject } from './propagation.js';

/** What is kept of a call that runs. */
interface Traced {
  readonly name: MethodName;
  readonly span: Span;
  /** With the span. */
  readonly context: Context;
}

/** Spans and metrics of what clients do. */
export class ClientTelemetry {
  readonly #names = new MethodNames();
  readonly #attributes = new ClientAttributes();
  readonly #calls = new Slot<RapClientOperation, Traced>('traced');
  readonly #attempts = new Slot<RapFurtherAttempt, Span>('traced');

  constructor(
    private readonly tracer: Tracer,
    private readonly metrics: CallMetrics,
  ) {}

  subscribe(to: Subscriptions): void {
    for (const name of ['rap.client.call', 'rap.client.channel']) {
      to.add<RapClientOperation>(`tracing:${name}:start`, (call) => this.#started(call));
      to.add<RapClientOperation>(`tracing:${name}:asyncEnd`, (call) => this.#ended(call));
    }
    to.add<RapFurtherAttempt>('tracing:rap.client.attempt:start', (attempt) => this.#attemptStarted(attempt));
    to.add<RapFurtherAttempt>('tracing:rap.client.attempt:asyncEnd', (attempt) =>
      this.#attemptEnded(attempt),
    );
  }

  #started(call: RapClientOperation): void {
    const name = this.#names.called(call);
    const parent = context.active();
    const { started } = this.#attributes.of(name, call);
    const attributes = isKnown(name) ? started : { ...started, ...originalOf(call) };
    const span = this.tracer.startSpan(spanNameOf(name), { kind: SpanKind.CLIENT, attributes }, parent);
    const traced = { name, span, context: trace.setSpan(parent, span) };
    this.#calls.set(call, traced);
    this.metrics.started(call, name);
    inject(traced.context, call, call.header);
  }

  #ended(call: RapClientOperation): void {
    const traced = this.#calls.get(call);
    if (!traced) return;
    const { name, span } = traced;
    const { outcome = '', error } = call;
    const ended = this.#attributes.of(name, call).ended(outcome, error !== undefined);
    endSpan(span, ended.span, error);
    this.metrics.ended(call, name, ended.metric);
  }

  #attemptStarted(attempt: RapFurtherAttempt): void {
    const traced = this.#calls.get(attempt.call);
    if (!traced) return;
    const { name, context: parent } = traced;
    const { number, isHedge, reason } = attempt;
    const attributes = {
      ...this.#attributes.of(name, attempt).started,
      'rap.attempt.number': number,
      'rap.attempt.hedge': isHedge,
      ...(reason !== undefined && { 'rap.attempt.reason': reason }),
    };
    const span = this.tracer.startSpan(spanNameOf(name), { kind: SpanKind.CLIENT, attributes }, parent);
    this.#attempts.set(attempt, span);
    inject(trace.setSpan(parent, span), attempt, attempt.call.header);
  }

  #attemptEnded(attempt: RapFurtherAttempt): void {
    const { outcome = '', error } = attempt;
    const span = this.#attempts.get(attempt);
    if (span) endSpan(span, outcomeOf(outcome, error !== undefined), error);
  }
}
