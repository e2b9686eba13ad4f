import { lastValueFrom } from 'rxjs';
import type { RapClient, RapError } from '../../../lib/index.js';
import { eventually, rejection } from '../../helpers/async.js';
import { TestFleet } from './test-fleet.js';

let fleet: TestFleet;
beforeEach(async () => {
  fleet = await TestFleet.start(3);
});
afterEach(() => fleet.close());

/** A call of each kind; the ports that the server saw. */
async function everyKind(client: RapClient): Promise<number[]> {
  const ports = [await client.call<number>('port'), await lastValueFrom(client.send<number>('port', 1))];
  for await (const port of client.stream<number>('ports', 2)) ports.push(port);
  const channel = await client.channel<number, string>('talk');
  ports.push(Number(await channel.read()));
  await channel.write('end');
  await lastValueFrom(client.emit('port', 1), { defaultValue: undefined });
  ports.push(await client.withSession((session) => session.call<number>('port')));
  return ports;
}

/** Ports that any server saw. */
const seen = (): number => new Set(fleet.works.flatMap(({ ports }) => [...ports])).size;
const connections = (): number => fleet.apps.reduce((sum, { server }) => sum + server.stats().connections, 0);

describe.each([1, 3])('with %i servers', (count) => {
  const client = (): Promise<RapClient> =>
    fleet.ready({ servers: fleet.servers.slice(0, count), balancer: 'roundRobin' }, count);
  const connected = async (): Promise<RapClient> => {
    if (count > 1) return client();
    const one = fleet.client({ servers: undefined, ...fleet.servers[0] });
    await one.connect();
    return one;
  };

  it.each([false, true])('all calls go over one connection; exclusive: %j', async (exclusive) => {
    const it = await connected();
    const ports = await it.withConnection(() => everyKind(it), { exclusive });
    expect(new Set(ports).size).toBe(1);
    expect(seen()).toBe(1);
  });

  it('an exclusive one is used by nobody else, and closes after its calls', async () => {
    const it = await connected();
    let late: Promise<unknown> | undefined;
    const own = await it.withConnection(
      async () => {
        late = it.call('slow', 60);
        return it.call<number>('port');
      },
      { exclusive: true },
    );
    const others = await Promise.all(Array.from({ length: 30 }, () => it.call<number>('port')));
    expect(others).not.toContain(own);
    expect(connections()).toBe(count + 1);
    await expect(late).resolves.toMatch(/^s/);
    await eventually('closed', () => connections() === count);
  });

  it('parallel and nested ones have their own', async () => {
    const it = await connected();
    const port = (): Promise<number> => it.call<number>('port');
    const pinned = (work: () => Promise<number>): Promise<number> =>
      it.withConnection(work, { exclusive: true });
    const ports = await Promise.all([pinned(port), pinned(port), pinned(port)]);
    expect(new Set(ports).size).toBe(3);
    const [outer, inner, again] = await it.withConnection(
      async () => [await port(), await pinned(port), await port()],
      { exclusive: true },
    );
    expect(inner).not.toBe(outer);
    expect(again).toBe(outer);
  });

  it('after the connection is lost, calls fail and were not sent', async () => {
    const it = await connected();
    const error = (await rejection(
      it.withConnection(
        async () => {
          const name = await it.call<string>('name');
          await fleet.apps.splice(Number(name.slice(1)), 1)[0]?.close();
          await it.call('name');
        },
        { exclusive: true },
      ),
    )) as unknown as RapError;
    expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
  });

  it('an error of the work is that of withConnection(), and misuse is named', async () => {
    const it = await connected();
    const failing = it.withConnection(() => Promise.reject(new Error('mine')), { exclusive: true });
    await expect(failing).rejects.toThrow('mine');
    await eventually('closed', () => connections() === count);
    await expect(it.withConnection(undefined as never)).rejects.toThrow(
      'withConnection() needs a function, got undefined',
    );
    await expect(it.withConnection(() => 1, { exclusiv: true } as never)).rejects.toThrow(
      'exclusiv is not an option; did you mean exclusive?',
    );
    await expect(it.withConnection(() => 1, null as never)).rejects.toThrow(/must be an object/);
    expect(connections()).toBe(count);
  });
});

it('an exclusive connection is not lost to a server that closes while it is opened', async () => {
  const client = await fleet.ready({}, 3);
  const over = new AbortController();
  const pinned = async (): Promise<void> => {
    while (!over.signal.aborted) await client.withConnection(() => {}, { exclusive: true });
  };
  const all = Promise.all(Array.from({ length: 8 }, pinned));
  for (const app of fleet.apps.splice(0, 2)) await app.close();
  over.abort();
  await all;
});
