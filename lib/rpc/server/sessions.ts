import { Fault } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';

/** Longest session id, in characters. */
const MAX_SESSION_ID_LENGTH = 128;

/** State shared by the calls of one session: `ctx.session`. */
export interface Session {
  readonly id: string;
  /** For the application; discarded with the session. */
  readonly state: Map<unknown, unknown>;
  /** Aborted when the session or its connection ends. */
  readonly signal: AbortSignal;
}

/** The sessions of one connection. Each is created on first use. */
export class Sessions {
  readonly #open = new Map<string, { session: Session; controller: AbortController }>();

  constructor(private readonly maxSessions: number) {}

  /**
   * The session with this id, created if there is none.
   *
   * @throws {@link Fault} 1003 if the id is not valid, 429 if the connection has too many sessions.
   */
  get(id: unknown): Session {
    if (typeof id !== 'string' || id === '' || id.length > MAX_SESSION_ID_LENGTH) {
      throw new Fault({
        status: Status.Protocol,
        message: 'session_id must be a string of 1 to 128 characters',
      });
    }
    const known = this.#open.get(id);
    if (known) return known.session;
    if (this.#open.size >= this.maxSessions) {
      throw new Fault({ status: Status.TooManyRequests, message: `Too many sessions (${this.maxSessions})` });
    }
    const controller = new AbortController();
    const session: Session = { id, state: new Map(), signal: controller.signal };
    this.#open.set(id, { session, controller });
    return session;
  }

  /** The client closed the session. */
  close(id: unknown): void {
    if (typeof id !== 'string' || id.length > MAX_SESSION_ID_LENGTH) return;
    const entry = this.#open.get(id);
    this.#open.delete(id);
    entry?.controller.abort();
  }

  closeAll(reason: Fault): void {
    for (const { controller } of this.#open.values()) controller.abort(reason);
    this.#open.clear();
  }
}
