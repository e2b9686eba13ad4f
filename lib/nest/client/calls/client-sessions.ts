import { inspect } from 'node:util';
import type { PeerSource, PinnedLease } from '../../../cluster/peer-source.js';
import type { DeadlineQueue } from '../../../rpc/time/deadline-queue.js';
import { callError, traced } from '../../errors/failed-call.js';
import { runInSession } from '../../handlers/call-scope.js';
import { assertKnown, type Keys } from '../../validation/known-options.js';
import type { CallPlanner } from './call-plan.js';
import { type CallPin, PinnedConnection } from './pinned-connection.js';
import { RapSession, type SessionClient } from './rap-session.js';

const NOTHING = (): void => {};

export interface ClientSessionsOptions {
  readonly client: SessionClient;
  readonly source: PeerSource;
  readonly planner: CallPlanner;
  readonly deadlines: DeadlineQueue;
}

/** Options of `RapClient.withConnection`. */
export interface PinOptions {
  /** A connection of its own, which no other call uses and which is closed at the end. Default false. */
  readonly exclusive?: boolean | undefined;
}

const PIN_OPTIONS: Keys<PinOptions> = { exclusive: true };

/** Binds code to one connection: by a session, or by `withConnection`. */
export class ClientSessions {
  constructor(private readonly options: ClientSessionsOptions) {}

  async open(): Promise<RapSession> {
    const { client, planner } = this.options;
    return new RapSession(client, await this.#lease('openSession', false, planner.pin()));
  }

  async withSession<T>(work: (session: RapSession) => Promise<T> | T): Promise<T> {
    const session = await this.open();
    try {
      return await runInSession(session, () => work(session));
    } finally {
      session.close();
    }
  }

  async withConnection<T>(work: () => Promise<T> | T, options: PinOptions): Promise<T> {
    if (typeof work !== 'function')
      throw new TypeError(`withConnection() needs a function, got ${inspect(work)}`);
    assertKnown('options of withConnection()', options, PIN_OPTIONS);
    const exclusive = options.exclusive === true;
    const lease = await this.#lease('withConnection', exclusive);
    try {
      return await runInSession(new PinnedConnection(this.options.client, lease), work);
    } finally {
      lease.release();
    }
  }

  /** A connection for the calls of one caller; `pin`: that which the running code is bound to. */
  async #lease(what: string, exclusive: boolean, pin?: CallPin): Promise<PinnedLease> {
    const { source, planner, deadlines } = this.options;
    const { clock } = deadlines;
    const since = clock.now();
    try {
      if (pin) return { peer: pin.openPeer(), balanced: pin.balanced, release: NOTHING };
      return await source.lease(what, planner.callTimeoutMs, exclusive);
    } catch (error) {
      throw traced(callError(error, { target: what, where: source.where, since, clock }));
    }
  }
}
