import { SpanKind } from '@opentelemetry/api';

/** What is shown of a span. */
interface Span {
  readonly id: string;
  readonly parent: string | undefined;
  readonly trace: string;
  readonly line: string;
}

/** Shortens what the console exporter of OpenTelemetry prints, some 30 lines for a span, to a line for each. */
export class Spans {
  #text = '';

  add(text: string): void {
    this.#text += text;
  }

  /** Each trace, with its spans below the calls that caused them. */
  traces(): string[] {
    const all = [...this.#text.matchAll(/^\{\n.*?^\}$/gms)].map(([text]) => spanOf(text));
    return all
      .filter(({ parent }) => parent === undefined)
      .map((root) => [`trace ${root.trace}`, ...below(root, all, '  ')].join('\n'));
  }
}

function below(span: Span, all: readonly Span[], indent: string): string[] {
  const children = all.filter(({ parent, trace }) => parent === span.id && trace === span.trace);
  return [indent + span.line, ...children.flatMap((child) => below(child, all, `${indent}  `))];
}

function spanOf(text: string): Span {
  const find = (pattern: RegExp): string | undefined => pattern.exec(text)?.[1];
  const kind = SpanKind[Number(find(/^ {2}kind: (\d)/m))]?.toLowerCase();
  const service = find(/'service\.name': '(.*?)'/);
  const status = find(/'rpc\.status_code': '(.*?)'/);
  const ms = (Number(find(/^ {2}duration: ([\d.]+)/m)) / 1000).toFixed(1);
  return {
    id: find(/^ {2}id: '(.*?)'/m) ?? '',
    parent: find(/^ {4}spanId: '(.*?)'/m),
    trace: find(/^ {2}traceId: '(.*?)'/m) ?? '',
    line: `${service}: ${kind} ${find(/^ {2}name: '(.*?)'/m)} ${status}, ${ms} ms`,
  };
}
