import { inspect } from 'node:util';
import type { PeerSource } from '../../../cluster/peer-source.js';
import { systemClock } from '../../../rpc/time/system-clock.js';
import { callError, traced } from '../../errors/failed-call.js';
import { runInSession } from '../../handlers/call-scope.js';
import { assertKnown, type Keys } from '../../validation/known-options.js';
import type { CallPlanner } from './call-plan.js';
import type { ClientCalls } from './client-calls.js';
import { PinnedConnection } from './pinned-connection.js';
import { RapSession, type SessionClient } from './rap-session.js';

export interface ClientSessionsOptions {
  readonly client: SessionClient;
  readonly calls: ClientCalls;
  readonly source: PeerSource;
  readonly planner: CallPlanner;
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
    const { client, calls } = this.options;
    return new RapSession(client, await calls.acquire('openSession'));
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
    const { client, source, planner } = this.options;
    const { callTimeoutMs } = planner;
    const since = systemClock.now();
    const lease = await source.lease('withConnection', callTimeoutMs, exclusive).catch((error: unknown) => {
      throw traced(callError(error, { target: 'withConnection', where: source.where, since }));
    });
    try {
      return await runInSession(new PinnedConnection(client, lease.peer), work);
    } finally {
      lease.release();
    }
  }
}
