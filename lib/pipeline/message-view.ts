import { ownCopy } from '../protocol/values/own-property.js';
import { isRecord } from '../protocol/values/unknown.js';
import { FRAME_KEYS, type Header } from '../protocol/frame.js';
import { parseTarget } from '../protocol/target.js';
import type { NamedFault } from '../protocol/wire-error.js';
import type { MessageKind, ProcessorContext, RapFault, RapResponse } from './api.js';

/** A message as middleware and processors see it. Its header is copied on first access. */
export class MessageView implements RapResponse {
  error: RapFault | undefined;
  /** Has the class name of `error`, as long as `error` is `named.fault`. */
  named: NamedFault | undefined;
  readonly #context: ProcessorContext;
  readonly #source: Header | null;
  #header: Record<string, unknown> | undefined;

  constructor(
    context: ProcessorContext,
    readonly lifeCycle: string | undefined,
    source: Header | null,
    public body: unknown,
    readonly bytes = 0,
  ) {
    this.#context = context;
    this.#source = source;
  }

  get kind(): MessageKind {
    return this.#context.kind;
  }

  get id(): number {
    return this.#context.id;
  }

  get target(): string {
    return this.#context.target;
  }

  get group(): string {
    return parseTarget(this.target)?.group ?? '';
  }

  get name(): string {
    return parseTarget(this.target)?.name ?? this.target;
  }

  get header(): Record<string, unknown> {
    this.#header ??= ownCopy(this.#source);
    return this.#header;
  }

  set header(header: Record<string, unknown>) {
    if (!isRecord(header)) throw new TypeError('the header of a message must be an object');
    this.#header = header;
  }

  /** The resulting header: changes to protocol keys are undone. */
  get outcome(): Header | null {
    if (!this.#header) return this.#source;
    const header = ownCopy(this.#header);
    for (const key of PROTOCOL_KEYS) {
      const value = this.#source?.[key];
      if (value !== undefined) header[key] = value;
      else if (key in header) delete header[key];
    }
    return header;
  }

  /** Whether the header was accessed, and so may have changed. */
  get isTouched(): boolean {
    return this.#header !== undefined;
  }

  /** The resulting header, in which protocol keys may be changed. */
  get given(): Header | null {
    return this.#header ?? this.#source;
  }

  /** The resulting header; `undefined` if it cannot have changed. */
  get changedHeader(): Header | undefined {
    return this.isTouched ? (this.outcome ?? undefined) : undefined;
  }

  /** Turns the message into an error. */
  fail(named: NamedFault): void {
    this.named = named;
    this.error = named.fault;
  }

  /** Replaces it by what a processor returned. @throws TypeError if that is not a message */
  replaceBy(other: unknown): void {
    if (other === this) return;
    if (!isRecord(other) || !('body' in other)) {
      throw new TypeError('a processor must return nothing, or a message with header and body');
    }
    this.body = other['body'];
    // a spread of the message does not copy the header: then it stays
    if (other['header'] !== undefined) this.header = other['header'] as Record<string, unknown>;
    if ('error' in other) this.error = other['error'] as RapFault | undefined;
  }
}

/** Header keys that only the transport may write. */
const PROTOCOL_KEYS = ['target', ...FRAME_KEYS] as const;
