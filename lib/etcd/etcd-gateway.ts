import type { Clock } from '../protocol/clock.js';
import { isRecord, textOf } from '../protocol/values/unknown.js';
import type { EtcdSettings } from './etcd-options.js';
import { jsonLines } from './json-lines.js';

export type Json = Readonly<Record<string, unknown>>;

/** etcd has answered, and refused. */
export class EtcdRefusal extends Error {
  /** @param code of gRPC */
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

/** Codes of gRPC. */
export const NOT_FOUND = 5;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;
/** Of refusals that another member would repeat. 4: deadline; 13: internal. */
const OF_THE_MEMBER = new Set([4, 13, UNAVAILABLE]);

/** The calls of etcd's v3 JSON gateway, at the first member that answers. */
export class EtcdGateway {
  #current: number;
  #token: string | undefined;

  constructor(
    private readonly settings: EtcdSettings,
    private readonly clock: Clock,
    random: () => number,
  ) {
    // clients spread over the members
    this.#current = Math.floor(random() * settings.endpoints.length) % settings.endpoints.length;
  }

  /** The member that is asked first. */
  get endpoint(): string {
    return this.settings.endpoints[this.#current] ?? '';
  }

  /**
   * The answer to one request; of a stream, its first message.
   *
   * @throws EtcdRefusal if etcd refuses it
   * @throws Error that names the members if none answers in time, or the reason of `signal`
   */
  call(path: string, body: Json, signal?: AbortSignal): Promise<Json> {
    return this.#atSomeMember(signal, async (endpoint) => {
      const limit = new TimeLimit(this.clock, this.settings.timeoutMs, signal);
      try {
        for await (const message of await this.#request(endpoint, path, body, limit.signal)) return message;
        throw new Error('an empty answer');
      } catch (error) {
        throw limit.errorOf(error);
      } finally {
        limit.end();
      }
    });
  }

  /**
   * The messages of a stream, until `signal` or the member ends it.
   *
   * @throws Error as `call`, and if the stream breaks
   */
  async *stream(path: string, body: Json, signal: AbortSignal): AsyncGenerator<Json, void> {
    const { timeoutMs } = this.settings;
    let limit: TimeLimit | undefined;
    let member = this.endpoint;
    try {
      const messages = await this.#atSomeMember(signal, async (endpoint) => {
        member = endpoint;
        limit?.end();
        limit = new TimeLimit(this.clock, timeoutMs, signal);
        try {
          const opened = await this.#request(endpoint, path, body, limit.signal);
          limit.passed();
          return opened;
        } catch (error) {
          throw limit.errorOf(error);
        }
      });
      yield* messages;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      this.#leave(member);
      throw this.#named(member, error);
    } finally {
      limit?.end();
    }
  }

  async #atSomeMember<T>(
    signal: AbortSignal | undefined,
    work: (endpoint: string) => Promise<T>,
  ): Promise<T> {
    const { endpoints } = this.settings;
    const errors: Error[] = [];
    for (let tried = 0; tried < endpoints.length; tried++) {
      const { endpoint } = this;
      try {
        return await work(endpoint);
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (error instanceof EtcdRefusal && !OF_THE_MEMBER.has(error.code)) throw error;
        errors.push(this.#named(endpoint, error));
        this.#leave(endpoint);
      }
    }
    throw new Error(`etcd does not answer: ${errors.map(({ message }) => message).join('; ')}`, {
      cause: errors[0],
    });
  }

  /** The next member is asked first, unless another request has left this one already. */
  #leave(member: string): void {
    if (this.endpoint !== member) return;
    this.#current = (this.#current + 1) % this.settings.endpoints.length;
  }

  #named(endpoint: string, error: unknown): Error {
    return new Error(`${endpoint}: ${reasonOf(error)}`, { cause: error });
  }

  async #request(
    endpoint: string,
    path: string,
    body: Json,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Json>> {
    const isNew = this.#token === undefined;
    this.#token ??= await this.#authenticate(endpoint, signal);
    try {
      return await this.#post(endpoint, path, body, signal);
    } catch (error) {
      if (!this.settings.credentials || !isTokenRefused(error)) throw error;
      this.#token = undefined;
      if (isNew) throw error;
      return this.#request(endpoint, path, body, signal); // the token was too old
    }
  }

  /** The token, or '' if none is needed. */
  async #authenticate(endpoint: string, signal: AbortSignal): Promise<string | undefined> {
    const { credentials } = this.settings;
    if (!credentials) return undefined;
    try {
      for await (const answer of await this.#post(
        endpoint,
        '/v3/auth/authenticate',
        { ...credentials },
        signal,
      )) {
        if (typeof answer['token'] === 'string') return answer['token'];
      }
    } catch (error) {
      // as etcd's own clients: one configuration for both kinds of etcd
      if (error instanceof EtcdRefusal && error.message.includes('authentication is not enabled')) return '';
      throw error;
    }
    throw new Error('no token in the answer to authenticate');
  }

  async #post(endpoint: string, path: string, body: Json, signal: AbortSignal): Promise<AsyncIterable<Json>> {
    const response = await this.settings.fetch(`${endpoint}${path}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(this.#token ? { authorization: this.#token } : {}),
      },
      body: JSON.stringify(body),
      redirect: 'error',
      signal,
    });
    const chunks = (response.body ?? []) as AsyncIterable<Uint8Array>;
    if (!response.ok) throw await refusalOf(response.status, chunks);
    return messagesOf(chunks);
  }
}

async function* messagesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Json, void> {
  for await (const line of jsonLines(chunks)) {
    if (!isRecord(line)) throw new Error('an answer that is no object');
    const { error, result } = line;
    if (error !== undefined) throw refusal(isRecord(error) ? error : line, 200);
    yield isRecord(result) ? result : line; // messages of a stream are wrapped
  }
}

async function refusalOf(status: number, chunks: AsyncIterable<Uint8Array>): Promise<Error> {
  try {
    for await (const line of jsonLines(chunks, 65_536)) if (isRecord(line)) return refusal(line, status);
  } catch {
    // a proxy answers with a page, not with JSON
  }
  return new Error(`HTTP status ${status}`);
}

function refusal(line: Json, status: number): EtcdRefusal {
  const { code, grpc_code: grpcCode, message, error } = line;
  const text = [message, error].find((each) => typeof each === 'string') ?? `HTTP status ${status}`;
  const number = [code, grpcCode].find((each) => typeof each === 'number');
  return new EtcdRefusal(number ?? (status >= 500 ? UNAVAILABLE : 2), text);
}

function isTokenRefused(error: unknown): boolean {
  if (!(error instanceof EtcdRefusal)) return false;
  return error.code === UNAUTHENTICATED || /invalid auth token|user name is empty/.test(error.message);
}

/** `fetch` hides its reason in a cause. */
function reasonOf(error: unknown): string {
  const { cause, message } = isRecord(error) ? error : {};
  if (isRecord(cause) && !(error instanceof EtcdRefusal))
    return typeof cause['code'] === 'string' ? cause['code'] : reasonOf(cause);
  return typeof message === 'string' ? message.slice(0, 300) : textOf(error, 300);
}

/** Aborts if an outer signal does, or after a time. */
class TimeLimit {
  readonly #controller = new AbortController();
  readonly #timer;
  #late: Error | undefined;

  constructor(
    clock: Clock,
    ms: number,
    private readonly outer: AbortSignal | undefined,
  ) {
    if (outer?.aborted) this.#controller.abort(outer.reason);
    outer?.addEventListener('abort', this.#onAbort);
    this.#timer = clock.after(ms, () => {
      this.#late = new Error(`no answer within ${ms} ms`);
      this.#controller.abort(this.#late);
    });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  readonly #onAbort = (): void => this.#controller.abort(this.outer?.reason);

  errorOf(error: unknown): unknown {
    return this.#late ?? error;
  }

  /** The time no longer counts. */
  passed(): void {
    this.#timer.cancel();
  }

  end(): void {
    this.#timer.cancel();
    this.outer?.removeEventListener('abort', this.#onAbort);
  }
}
