import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import { Sessions } from '../../../lib/rpc/server/sessions.js';
import { Gate } from '../../helpers/async.js';
import { settled } from '../../helpers/outcome.js';
import { PeerPair, type PairOptions } from '../../helpers/peer-pair.js';

const gone = new Fault({ status: 1006, message: 'gone' });

describe('Sessions', () => {
  it('makes a session with its first use, and gives the same one until its end', () => {
    const sessions = new Sessions(10);
    const session = sessions.get('a');
    expect(session.id).toBe('a');
    expect([session.state.size, session.signal.aborted]).toEqual([0, false]);
    session.state.set('count', 1);
    expect(sessions.get('a')).toBe(session);
    expect(sessions.get('b')).not.toBe(session);
    expect(sessions.get('b').state.size).toBe(0);
    sessions.close('a');
    expect(session.signal.aborted).toBe(true);
    const anew = sessions.get('a');
    expect(anew).not.toBe(session);
    expect([anew.state.size, anew.signal.aborted]).toEqual([0, false]);
  });

  it('takes ids of 1 to 128 characters, and nothing else', () => {
    const sessions = new Sessions(10);
    expect(sessions.get('s'.repeat(128)).id).toHaveLength(128);
    expect(sessions.get('__proto__').state.size).toBe(0);
    expect(sessions.get('constructor').state.size).toBe(0);
    for (const id of ['', 's'.repeat(129), 1, null, undefined, {}, ['a'], true, 7n]) {
      expect(() => sessions.get(id)).toThrow(
        expect.objectContaining({
          status: 1003,
          message: 'session_id must be a string of 1 to 128 characters',
        }),
      );
    }
  });

  it('refuses more than its limit, and takes another when one has ended', () => {
    const sessions = new Sessions(3);
    for (const id of ['a', 'b', 'c']) sessions.get(id);
    expect(() => sessions.get('d')).toThrow(
      expect.objectContaining({ status: 429, message: 'Too many sessions (3)' }),
    );
    expect(sessions.get('b').id).toBe('b');
    sessions.close('b');
    expect(sessions.get('d').id).toBe('d');
    expect(() => sessions.get('b')).toThrow('Too many sessions');
  });

  it('closes what is not there without a word', () => {
    const sessions = new Sessions(3);
    for (const id of ['never', '', undefined, null, 7, {}]) sessions.close(id);
    const { signal } = sessions.get('a');
    sessions.close('A');
    expect(signal.aborted).toBe(false);
  });

  it('ends all of them with one reason', () => {
    const sessions = new Sessions(3);
    const signals = ['a', 'b'].map((id) => sessions.get(id).signal);
    sessions.closeAll(gone);
    expect(signals.map((signal) => signal.reason as unknown)).toEqual([gone, gone]);
    expect(sessions.get('a').signal.aborted).toBe(false);
  });
});

describe('sessions of a connection', () => {
  let pair: PeerPair;
  const open = (options?: PairOptions): PeerPair => {
    pair = new PeerPair(options).open();
    return pair;
  };
  afterEach(() => pair.end());

  const closeEvents = (): unknown[] =>
    pair.links.toServer.to('/_event/session_close').map(([, , , body]) => body);

  it('end with the event of the client', () => {
    open();
    const { signal } = pair.server.sessions.get('a');
    pair.client.closeSession('a');
    pair.flow();
    expect(closeEvents()).toEqual([{ session_id: 'a' }]);
    expect(signal.aborted).toBe(true);
    expect(pair.links.toClient.frames.filter(([type]) => type === 103)).toHaveLength(1); // the answer to DECLARE
  });

  it('end with the connection, with its reason, and without it at once', () => {
    open();
    const signals = ['a', 'b'].map((id) => pair.server.sessions.get(id).signal);
    pair.links.client.destroy();
    pair.flow();
    expect(signals.map((signal) => signal.reason as unknown)).toEqual([
      pair.serverOwner.reason,
      pair.serverOwner.reason,
    ]);
  });

  it('are bounded', () => {
    open({ limits: { maxSessions: 2 } });
    pair.server.sessions.get('a');
    pair.server.sessions.get('b');
    expect(() => pair.server.sessions.get('c')).toThrow('Too many sessions (2)');
  });

  it.each([[null], [7], [{}], [{ session_id: 7 }], ['a'], [{ session_id: null }], [[]]])(
    'are not ended by an event with the body %p',
    (body) => {
      open();
      const { signal } = pair.server.sessions.get('a');
      pair.links.toServer.inject([103, 21, { target: '/_event/session_close' }, body]);
      pair.flow();
      expect([signal.aborted, pair.server.state]).toEqual([false, 'open']);
    },
  );

  it('end behind the calls that wait to be sent', () => {
    open({ limits: { maxInFlight: 1 } });
    pair.call('first');
    const second = pair.call('second');
    const third = pair.call('third');
    pair.client.closeSession('a');
    pair.flow();
    expect(closeEvents()).toEqual([]);
    pair.serverOwner.call().reply(1);
    pair.serverOwner.call().ended();
    pair.flow();
    expect([closeEvents(), pair.serverOwner.calls.length]).toEqual([[], 2]);
    third.call.abandon();
    second.call.abandon();
    expect(closeEvents()).toEqual([{ session_id: 'a' }]);
  });

  it('end behind the calls that processors work on', async () => {
    const gate = new Gate();
    open({ clientProcessors: [{ processRequest: () => gate.opened }] });
    pair.call('slow');
    pair.client.closeSession('a');
    expect(pair.links.toServer.frames).toHaveLength(1);
    gate.open();
    await settled();
    expect(pair.links.toServer.frames.slice(1).map(([, , , body]) => body)).toEqual([
      'slow',
      { session_id: 'a' },
    ]);
  });

  it('do not go on elsewhere: calls that wait fail when the server shuts down, others move', () => {
    open({ limits: { maxInFlight: 1 } });
    pair.call('runs', { pinned: true });
    const { sink } = pair.call('waits', { pinned: true });
    const other = pair.call('waits, too');
    pair.flow();
    pair.server.drain(3000);
    pair.flow();
    expect(sink.fault).toMatchObject({
      code: LocalCode.ConnectionLost,
      message: 'the session is gone: the server shuts down',
      sent: 'no',
    });
    expect(pair.clientOwner.unsent).toEqual([other.call]);
    expect([pair.client.calls.inFlight, pair.client.calls.queued]).toEqual([1, 0]);
    other.call.abandon();
  });

  it('are the client’s to end: an event of the server ends none', () => {
    open();
    const { signal } = pair.server.sessions.get('a');
    pair.links.toClient.inject([203, 22, { target: '/_event/session_close' }, { session_id: 'b' }]);
    pair.flow();
    expect([signal.aborted, pair.client.state]).toEqual([false, 'open']);
  });

  it('are not closed on a connection that is over: nothing is sent', () => {
    open();
    pair.client.close('enough');
    const before = pair.links.toServer.frames.length;
    pair.client.closeSession('a');
    expect(pair.links.toServer.frames).toHaveLength(before);
  });
});
