import { type Attributes, type Span, SpanStatusCode } from '@opentelemetry/api';

/** Ends a span, with the error if it has failed. */
export function endSpan(span: Span, attributes: Attributes, error: unknown): void {
  if (span.isRecording()) span.setAttributes(attributes);
  if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
  span.end();
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'an error that is no Error';
}
