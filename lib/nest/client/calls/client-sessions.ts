import type { PeerSource } from '../../../cluster/peer-source.js';
import { systemClock } from '../../../rpc/time/system-clock.js';
import { callError, traced } from '../../errors/failed-call.js';
import { runInSession } from '../../handlers/call-scope.js';
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

  async withConnection<T>(work: () => Promise<T> | T, exclusive: boolean): Promise<T> {
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
