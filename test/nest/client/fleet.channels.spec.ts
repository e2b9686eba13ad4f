import {
  CallCancelledError,
  type RapChannel,
  RapClient,
  type RapClientOptions,
  type RapError,
  TooManyRequestsError,
} from '../../../lib/index.js';
import { eventually, Gate, rejection } from '../../helpers/async.js';
import { answerDeclareWith, declared, drop, EXTENSIONS, msg } from '../../helpers/channel/channel-frames.js';
import { type RawFrame, type RawSocket, scriptedServer } from '../../helpers/raw-socket.js';
import { silenced } from '../../helpers/silent-log.js';
import { TestFleet } from './test-fleet.js';

silenced();

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each.close();
});

async function fleetOf(size: number, options?: Parameters<typeof TestFleet.start>[1]): Promise<TestFleet> {
  const fleet = await TestFleet.start(size, options);
  open.push(fleet);
  return fleet;
}

async function items(client: RapClient, n = 2): Promise<string[]> {
  const all: string[] = [];
  for await (const item of client.stream<string>('count', n)) all.push(item);
  return all;
}

/** Says something, and reads until the server ends. */
async function talk(client: RapClient): Promise<unknown[]> {
  const channel = await client.channel<unknown, string>('talk');
  const sent = [channel.write('hello'), channel.write('end')];
  const all: unknown[] = [];
  for await (const message of channel) all.push(message);
  await Promise.all(sent);
  return all;
}

const KINDS = { stream: items, channel: talk };
const kinds = Object.keys(KINDS) as (keyof typeof KINDS)[];

/** Occupies the one slot of a server. */
async function occupy(fleet: TestFleet, index: number): Promise<RapChannel> {
  const servers = fleet.servers.slice(index, index + 1);
  const channel = await fleet.client({ servers }).channel('talk');
  await channel.read();
  return channel;
}

describe.each(kinds)('a %s', (kind) => {
  const use = KINDS[kind];

  it('that a server at its limit refuses goes to another, and nothing runs twice', async () => {
    const fleet = await fleetOf(2);
    await fleet.add({ limits: { maxChannelsTotal: 1 } });
    const occupant = await occupy(fleet, 2);
    const client = await fleet.ready({ balancer: 'roundRobin' });
    const results = await Promise.all(Array.from({ length: 60 }, () => use(client)));
    expect(results.every(({ length }) => length > 0)).toBe(true);
    expect(fleet.works.map(({ calls }) => calls).slice(2)).toEqual([1]);
    expect(fleet.calls).toBe(60 + 1);
    expect(client.stats().endpoints?.[2]?.picks).toBe(20);
    expect(client.stats()).toMatchObject({ channels: 0, inFlight: 0, queued: 0 });
    occupant.close();
  });

  it('that meets a server which drains, and one at its limit, goes to others', async () => {
    const fleet = await fleetOf(3, { closeTimeoutMs: 60_000 });
    await fleet.add({ limits: { maxChannelsTotal: 1 } });
    const occupant = await occupy(fleet, 3);
    const client = await fleet.ready({ balancer: 'roundRobin' });
    const running = await client.channel('talk'); // on one of the servers that are free
    await running.read();
    const drained = fleet.works.findIndex(({ calls }) => calls > 0);
    expect(drained).toBeLessThan(3);

    const many = (): Promise<unknown[]>[] => Array.from({ length: 40 }, () => use(client));
    const before = many();
    const end = fleet.apps[drained]?.server.drain();
    const during = many();
    await eventually('it drains', () => client.stats().endpoints?.[drained]?.state === 'draining');
    const results = await Promise.all([...before, ...during]);
    const { calls } = fleet.works[drained] as { calls: number };
    results.push(...(await Promise.all(many())));
    expect(results.every(({ length }) => length > 0)).toBe(true);
    expect(fleet.works[drained]?.calls).toBe(calls);
    expect(fleet.works[3]?.calls).toBe(1);
    expect(fleet.calls).toBe(1 + 1 + 120);
    await running.write('end');
    await end;
    occupant.close();
  });

  it('is not lost when a server is closed in order', async () => {
    const fleet = await fleetOf(3);
    const client = await fleet.ready();
    const before = Array.from({ length: 100 }, () => use(client));
    const closing = fleet.apps[1]?.server.close();
    const more = Array.from({ length: 100 }, () => use(client));
    await expect(Promise.all([...before, ...more])).resolves.toHaveLength(200);
    await closing;
    expect(fleet.calls).toBe(200);
  });

  it('that all servers refuse fails with the attempts', async () => {
    const fleet = await fleetOf(3, { limits: { maxChannelsTotal: 1 } });
    const occupants = await Promise.all([0, 1, 2].map((index) => occupy(fleet, index)));
    const client = await fleet.ready({ balancer: 'roundRobin' });
    const error = (await rejection(use(client))) as unknown as RapError;
    expect(error).toBeInstanceOf(TooManyRequestsError);
    expect(error).toMatchObject({ status: 429, sent: 'no' });
    const asked = error.attempts?.map(({ server }) => server) ?? [];
    expect(new Set(asked.slice(0, 3)).size).toBe(3);
    expect(error.call).toMatchObject({ server: asked.at(-1), target: expect.stringContaining('/default/') });
    expect(error.message).toContain(`${asked.length} attempts: `);
    expect(fleet.calls).toBe(3);
    expect(client.stats()).toMatchObject({ channels: 0, inFlight: 0, queued: 0 });
    for (const each of occupants) each.close();
  });

  it('whose handler has begun does not move, whatever it throws', async () => {
    const fleet = await fleetOf(2);
    for (const work of fleet.works)
      work.fault = () => {
        throw new TooManyRequestsError('mine');
      };
    const client = await fleet.ready();
    const error = (await rejection(use(client))) as unknown as RapError;
    expect(error).toMatchObject({ status: 429, message: 'mine' });
    expect('attempts' in error).toBe(false);
    expect(fleet.calls).toBe(1);
  });

  it('that is cancelled while it waits for its next attempt goes nowhere', async () => {
    const fleet = await fleetOf(1, { limits: { maxChannelsTotal: 1 } });
    const occupant = await occupy(fleet, 0);
    const client = await fleet.ready({ retry: { baseDelayMs: 60_000, maxDelayMs: 60_000 } });
    const controller = new AbortController();
    const { signal } = controller;
    const work =
      kind === 'stream'
        ? client.stream('count', 1, { signal })[Symbol.asyncIterator]().next()
        : client.channel('talk', { signal });
    const error = rejection(work);
    await eventually('it waits', () => client.stats().queued === 1);
    controller.abort();
    expect(await error).toBeInstanceOf(CallCancelledError);
    expect(fleet.calls).toBe(1);
    occupant.close();
  });
});

const isDeclare = (frame: RawFrame): boolean =>
  frame[0] === 102 && frame[2]['channel_life_cycle'] === 'DECLARE';

/** The first message of a stream. */
const parameters = (peer: RawSocket): Promise<RawFrame> =>
  peer.next((frame) => frame[2]['channel_life_cycle'] === 'MSG');

const REFUSED = {
  status_code: 429,
  error: { name: 'TooManyRequestsError', code: 'ERR_RAP_DRAINING', refused: true },
};
const refusal = (id: number, header: object = REFUSED): RawFrame => [
  102,
  id,
  { channel_life_cycle: 'DROP', ...header },
  'no',
];

/** A client of a scripted server, which it asks first, and of one that answers. */
async function clientOf(
  script: (peer: RawSocket, id: number) => unknown,
): Promise<{ client: RapClient; fleet: TestFleet; declares: RawFrame[]; address: string }> {
  const declares: RawFrame[] = [];
  const scripted = await scriptedServer(async (peer) => {
    await answerDeclareWith(peer, { ...EXTENSIONS, close: {} });
    for (;;) {
      const declare = await peer.next(isDeclare);
      declares.push(declare);
      await script(peer, declare[1]);
    }
  });
  open.push(scripted);
  const fleet = await fleetOf(1);
  const servers = [{ host: '127.0.0.1', port: scripted.port }, ...fleet.servers];
  const address = `127.0.0.1:${scripted.port}`;
  const client = await fleet.ready(
    { servers, balancer: (list) => list.find((each) => each.address === address) ?? list[0] },
    2,
  );
  return { client, fleet, declares, address };
}

/** A client of two scripted servers, of which it asks the first one first; their scripts get each DECLARE. */
async function clientOfTwo(
  scripts: ((peer: RawSocket, declare: RawFrame) => unknown)[],
  options: RapClientOptions = {},
): Promise<RapClient> {
  const servers: { host: string; port: number }[] = [];
  for (const script of scripts) {
    const scripted = await scriptedServer(async (peer) => {
      await answerDeclareWith(peer);
      for (;;) await script(peer, await peer.next(isDeclare));
    });
    open.push(scripted);
    servers.push({ host: '127.0.0.1', port: scripted.port });
  }
  const first = `127.0.0.1:${servers[0]?.port}`;
  const balancer: RapClientOptions['balancer'] = (list) =>
    list.find((each) => each.address === first) ?? list[0];
  const client = new RapClient({ servers, balancer, ...options });
  open.push(client);
  await client.connect();
  await eventually('connected', () => client.stats().endpoints?.every(({ state }) => state === 'ready'));
  return client;
}

describe('by the wire', () => {
  it.each<[string, (typeof kinds)[number][], (peer: RawSocket, id: number) => unknown]>([
    ['with its DECLARE', kinds, (peer, id) => peer.send(refusal(id))],
    [
      'with its parameters',
      ['stream'],
      async (peer, id) => {
        peer.send(declared(id));
        await parameters(peer);
        peer.send(refusal(id));
      },
    ],
    [
      'that came after the last one that was taken',
      kinds,
      (peer) => {
        peer.send([203, 2, { target: '/_event/CLOSE', close_code: 0, last_id: 1 }, 'shutdown']);
        peer.destroy();
      },
    ],
  ])('one that is refused %s moves', async (_, which, script) => {
    for (const kind of which) {
      const { client, fleet, declares } = await clientOf(script);
      expect((await KINDS[kind](client)).length).toBeGreaterThan(0);
      expect([declares.length, fleet.calls]).toEqual([1, 1]);
    }
  });

  it.each<[string, (typeof kinds)[number][], (peer: RawSocket, id: number) => unknown]>([
    ['does not say that no handler began', kinds, (peer, id) => peer.send(refusal(id, { status_code: 429 }))],
    [
      'asks not to repeat it',
      kinds,
      (peer, id) => peer.send(refusal(id, { ...REFUSED, error: { ...REFUSED.error, retry: false } })),
    ],
    ['is lost', kinds, (peer) => peer.destroy()],
    ['has sent an item', ['stream'], (peer, id) => peer.send(declared(id), msg(id, 'first'), refusal(id))],
  ])('one whose server %s does not move', async (_, which, script) => {
    for (const kind of which) {
      const { client, fleet, declares, address } = await clientOf(script);
      const error = (await rejection(KINDS[kind](client))) as unknown as RapError;
      expect(error.call?.server).toBe(address);
      expect('attempts' in error).toBe(false);
      expect([declares.length, fleet.calls]).toEqual([1, 0]);
    }
  });

  it('a channel that was taken stays, and what ends it ends it', async () => {
    const { client, fleet } = await clientOf((peer, id) => {
      peer.send(declared(id), refusal(id));
    });
    const channel = await client.channel('talk');
    await expect(channel.read()).rejects.toMatchObject({ status: 429 });
    expect(fleet.calls).toBe(0);
  });

  it('each attempt has parameters and metadata as they were, and processors change only their copy', async () => {
    const received: unknown[] = [];
    const take = async (peer: RawSocket, [, , { target }, metadata]: RawFrame): Promise<void> => {
      received.push(target === '/default/read' ? (await parameters(peer))[3] : metadata);
    };
    const client = await clientOfTwo(
      [
        async (peer, declare) => {
          await take(peer, declare);
          peer.send(refusal(declare[1]));
        },
        async (peer, declare) => {
          await take(peer, declare);
          peer.send(declared(declare[1]), msg(declare[1], 'item'), drop(declare[1]));
        },
      ],
      {
        processors: [
          {
            processRequest({ body }) {
              if (Array.isArray(body)) body.push('once');
            },
          },
        ],
      },
    );
    const data = [1];
    const stream = client.stream('read', data);
    const channel = client.channel('talk', { metadata: data });
    data.push(2);
    for await (const item of stream) expect(item).toBe('item');
    expect(await (await channel).read()).toBe('item');
    expect(received).toEqual(Array.from({ length: 4 }, () => [1, 'once']));
  });

  it('a reader that leaves before the first item ends the stream at the server that it has come to', async () => {
    const asked = new Gate<[RawSocket, number]>();
    const client = await clientOfTwo([
      (peer, [, id]) => peer.send(refusal(id)),
      async (peer, [, id]) => {
        peer.send(declared(id));
        await parameters(peer);
        asked.open([peer, id]);
      },
    ]);
    const iterator = client.stream('read')[Symbol.asyncIterator]();
    const next = iterator.next();
    const [peer, id] = await asked.opened;
    await iterator.return?.();
    await expect(next).resolves.toEqual({ done: true, value: undefined });
    await peer.next((frame) => frame[1] === id && frame[2]['channel_life_cycle'] === 'DROP');
    expect(client.stats()).toMatchObject({ channels: 0, inFlight: 0 });
  });
});
