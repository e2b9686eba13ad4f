import { inspect } from 'node:util';
import { lastValueFrom } from 'rxjs';
import { CallTimeoutError, ConnectionLostError, RapClient, RapError } from '../../../lib/index.js';
import { rejection } from '../../helpers/async.js';
import { freePort } from '../../helpers/ports.js';
import { answerDeclare, type RawFrame, type RawSocket, scriptedServer } from '../../helpers/raw-socket.js';
import { silenced } from '../../helpers/silent-log.js';
import { TestFleet } from './test-fleet.js';

silenced();

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each.close();
});

/** Takes calls, and breaks off each as it comes. */
async function breaking(peer: RawSocket): Promise<void> {
  await answerDeclare(peer);
  await peer.next((frame) => frame[2]['target'] !== '/_event/ping');
  peer.destroy();
}

async function server(script: (peer: RawSocket) => unknown): Promise<number> {
  const it = await scriptedServer(async (peer) => void (await script(peer)));
  open.push(it);
  return it.port;
}

async function clientOf(...scripts: ((peer: RawSocket) => unknown)[]): Promise<[RapClient, string[]]> {
  const servers: { host: string; port: number }[] = [];
  for (const script of scripts) servers.push({ host: '127.0.0.1', port: await server(script) });
  const client = new RapClient({ servers, balancer: 'roundRobin' });
  open.push(client);
  return [client, servers.map(({ port }) => `127.0.0.1:${port}`)];
}

async function answering(peer: RawSocket, answer: (frame: RawFrame) => RawFrame): Promise<void> {
  await answerDeclare(peer);
  for (;;) peer.send(answer(await peer.next((frame) => frame[0] === 101)));
}

it('an error lists the attempts of its call', async () => {
  const [client, addresses] = await clientOf(breaking, breaking);
  await client.connect();
  const error = (await rejection(client.call('f', 1, { idempotent: true }))) as unknown as RapError;
  expect(error).toBeInstanceOf(RapError);
  const { attempts = [] } = error;
  expect(attempts.length).toBeGreaterThan(1);
  expect(addresses).toEqual(expect.arrayContaining(attempts.map((each) => each.server)));
  expect(attempts[0]).toEqual({
    server: expect.any(String),
    afterMs: expect.any(Number),
    code: 'ERR_RAP_CONNECTION_LOST',
    message: expect.any(String),
  });
  expect(error.call?.server).toBe(attempts.at(-1)?.server);
  expect(error.message).toContain(`${attempts.length} attempts: ${attempts[0]?.server}`);
  expect(error.toJSON()).toMatchObject({ attempts });
  expect(inspect(error)).toContain('attempts: [');
});

it('the error of a call that was made once has none', async () => {
  const [client, addresses] = await clientOf(breaking, breaking);
  await client.connect();
  const error = (await rejection(client.call('f'))) as unknown as RapError;
  expect(error).toMatchObject({ sent: 'unknown' });
  expect('attempts' in error).toBe(false);
  expect('attempts' in error.toJSON()).toBe(false);
  expect(addresses).toContain(error.call?.server);
});

it('the error of a handler keeps its message, and lists the attempts before', async () => {
  const broken = (frame: RawFrame): RawFrame => [
    201,
    frame[1],
    { status_code: 301 },
    { exc: 'ValueError', exc_info: 'no such thing' },
  ];
  const [client] = await clientOf(breaking, (peer) => answering(peer, broken));
  await client.connect();
  let error!: RapError;
  for (let i = 0; !error?.attempts && i < 10; i += 1)
    error = (await rejection(client.call('f', i, { idempotent: true }))) as unknown as RapError;
  expect(error.message).toBe('no such thing');
  expect(error.attempts).toHaveLength(2);
  expect(error.call?.server).toBe(error.attempts?.[1]?.server);
});

it('streams and channels name the server that they went to', async () => {
  const [client, addresses] = await clientOf(breaking, breaking, breaking);
  await client.connect();
  const read = async (): Promise<void> => {
    for await (const _ of client.stream('f'));
  };
  const talk = async (): Promise<unknown> => (await client.channel('f')).read();
  for (const work of [read, talk]) {
    const error = (await rejection(work())) as unknown as RapError;
    expect(error).toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST' });
    expect(addresses).toContain(error.call?.server);
  }
});

it('an event that is refused names the server that it went to', async () => {
  const fleet = await TestFleet.start(2);
  open.push(fleet);
  const client = await fleet.ready();
  const error = (await rejection(lastValueFrom(client.emit('nobody', 1)))) as unknown as RapError;
  expect(error).toMatchObject({ status: 404 });
  expect(fleet.servers.map(({ port }) => `127.0.0.1:${port}`)).toContain(error.call?.server);
});

it('sessions and withConnection() name their server', async () => {
  const [client, addresses] = await clientOf(breaking, breaking, breaking);
  await client.connect();
  const session = await client.openSession();
  const first = (await rejection(session.call('f'))) as unknown as RapError;
  expect(addresses).toContain(first.call?.server);
  const second = (await rejection(client.withConnection(() => client.call('f')))) as unknown as RapError;
  expect(addresses).toContain(second.call?.server);
});

it('a call that times out names its server, and a call that was sent to none all of them', async () => {
  const [client, addresses] = await clientOf(answerDeclare, answerDeclare);
  const late = (await rejection(client.call('f', 1, { timeoutMs: 50 }))) as unknown as CallTimeoutError;
  expect(late).toBeInstanceOf(CallTimeoutError);
  expect(addresses).toContain(late.call?.server);
  expect(late.message).toContain(late.call?.server as string);

  const ports = [await freePort(), await freePort()];
  const nobody = new RapClient({ servers: ports.map((port) => ({ host: '127.0.0.1', port })) });
  open.push(nobody);
  const lost = (await rejection(nobody.call('f'))) as unknown as ConnectionLostError;
  expect(lost).toMatchObject({ sent: 'no' });
  for (const port of ports) expect(lost.call?.server).toContain(`127.0.0.1:${port}`);
  expect(lost.message).toMatch(
    /^none of the 2 servers of 127.0.0.1:\d+, 127.0.0.1:\d+ can be reached; the last: /,
  );
});
