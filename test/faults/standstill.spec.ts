import { CallTimeoutError } from '../../lib/index.js';
import { answerDeclare, DECLARE, type RawFrame, type RawSocket } from '../helpers/raw-socket.js';
import {
  call,
  connectRaw,
  expectAnswers,
  openRaw,
  startApp,
  startClient,
  startScript,
  until,
} from '../helpers/fault-scope.js';
import { pass } from '../helpers/async.js';

const TIMEOUT_MS = 200;

/** The process stands still: what comes meanwhile lies in its sockets, and its timers are late. */
function standStill(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** A server that takes `count` calls, and what it does then. */
function serverOf(
  count: number,
  then: (peer: RawSocket, calls: RawFrame[]) => void,
): ReturnType<typeof startScript> {
  return startScript(async (peer) => {
    await answerDeclare(peer);
    const calls: RawFrame[] = [];
    while (calls.length < count) calls.push(await peer.next((frame) => frame[0] === 101));
    then(peer, calls);
  });
}

function answer(peer: RawSocket, calls: readonly RawFrame[]): void {
  peer.send(...calls.map(([, id, , body]): RawFrame => [101, id, {}, body]));
}

describe('a client that stood still', () => {
  it.each([1, 2000])('gets the answers of %d calls that came meanwhile', async (count) => {
    const timeoutMs = 1000; // until all calls have come to the server, too
    const server = await serverOf(count, (peer, calls) => {
      answer(peer, calls);
      standStill(1.5 * timeoutMs);
    });
    const client = startClient(server.port, { limits: { maxInFlight: count } });
    await client.connect();
    const calls = Array.from({ length: count }, (_, i) => client.call('echo', i, { timeoutMs }));
    const answers = await Promise.allSettled(calls);
    expect(answers.filter(({ status }) => status === 'rejected').length).toBe(0);
  });

  it('times a call out all the same that was not answered, beside one that was', async () => {
    const server = await serverOf(2, (peer, calls) => {
      answer(peer, calls.slice(1));
      standStill(2 * TIMEOUT_MS);
    });
    const client = startClient(server.port);
    await client.connect();
    const calls = ['lost', 'found'].map((body) => client.call('echo', body, { timeoutMs: TIMEOUT_MS }));
    const [lost, found] = await Promise.allSettled(calls);
    expect(lost).toMatchObject({ status: 'rejected', reason: expect.any(CallTimeoutError) as Error });
    expect(found).toMatchObject({ status: 'fulfilled', value: 'found' });
  });

  it('is connected if the server has answered DECLARE meanwhile', async () => {
    const server = await startScript(async (peer) => {
      await answerDeclare(peer);
      standStill(2 * TIMEOUT_MS);
      for (;;) answer(peer, [await peer.next((frame) => frame[0] === 101)]);
    });
    const client = startClient(server.port, { reconnect: false, limits: { openTimeoutMs: TIMEOUT_MS } });
    await client.connect();
    expect(server.peers).toHaveLength(1);
  });
});

describe('a server that stood still', () => {
  it('takes a client whose DECLARE came meanwhile', async () => {
    const app = await startApp({ limits: { declareTimeoutMs: TIMEOUT_MS } });
    const raw = await connectRaw(app);
    await pass(TIMEOUT_MS / 4); // its time runs
    raw.send(DECLARE);
    standStill(2 * TIMEOUT_MS);
    await raw.answer(DECLARE[1]);
    await expectAnswers(raw);
  });

  it('takes a frame whose end came meanwhile', async () => {
    const app = await startApp({ limits: { incompleteFrameTimeoutMs: TIMEOUT_MS } });
    const raw = await openRaw(app);
    raw.send(call(5, 'echo', 'before'));
    raw.bytes('946507'); // the begin of the next frame
    await raw.answer(5);
    raw.bytes(Buffer.from('80c0', 'hex'));
    standStill(2 * TIMEOUT_MS);
    await until(() => raw.frames.length > 0 || raw.closed, 'an answer');
    expect((await raw.answer(7))[2]['status_code']).toBe(404);
  });
});
