import { jest } from '@jest/globals';
import { RapServer } from '../../lib/index.js';
import { registerInEtcd, type RegisterInEtcdOptions } from '../../lib/etcd.js';
import { eventually, pass, rejection, testScope } from '../helpers/async.js';
import { describeWithEtcd, TestEtcd } from './etcd.js';
import { ScriptedServer, Watched } from './etcd-scope.js';

const scope = testScope();

const own = { address: '10.0.0.1', port: 1 };

const farAway: typeof fetch = async (...args) => {
  await pass(50);
  return fetch(...args);
};

describeWithEtcd('registerInEtcd', () => {
  let etcd: TestEtcd;
  let options: RegisterInEtcdOptions & { onError: (error: Error) => void };
  let errors: string[];

  beforeEach(async () => {
    errors = [];
    etcd = await TestEtcd.start();
    const onError = ({ message }: Error): number => errors.push(message);
    options = { endpoints: [etcd.endpoint], service: 'a', timeoutMs: 500, leaseSeconds: 2, onError };
  });
  afterEach(() => etcd.end());

  function register(server: ScriptedServer | RapServer, more: Partial<RegisterInEtcdOptions> = {}) {
    const registration = registerInEtcd(server, { ...options, ...more });
    scope.defer(() => registration.unregister());
    return registration;
  }

  const isEmpty = async (): Promise<boolean> => (await etcd.all()).length === 0;

  /** As `eventually`, for a question to etcd. */
  async function soon(what: string, check: () => Promise<boolean>): Promise<void> {
    const until = performance.now() + 10_000;
    while (!(await check()))
      if (performance.now() > until) throw new Error(`not in time: ${what}; ${errors.join('\n')}`);
  }

  it('puts a server that listens under a lease, and takes it out', async () => {
    const registration = register(new ScriptedServer(own), { weight: 3, metadata: { zone: 'z' } });
    await registration.registered();
    const [entry] = await etcd.all();
    expect(entry?.key).toMatch(/^\/rap\/a\/10\.0\.0\.1:1\/[\da-f-]{36}$/);
    expect(entry?.value).toEqual({ host: '10.0.0.1', port: 1, weight: 3, metadata: { zone: 'z' } });
    expect(Number(entry?.lease)).toBeGreaterThan(0);
    await registration.unregister();
    await registration.unregister();
    expect(await isEmpty()).toBe(true);
    expect(errors).toEqual([]);
  });

  it('follows a server: it is in while it listens, and out from the first moment of its drain', async () => {
    const server = new RapServer({ port: 0, host: '127.0.0.1' });
    const registration = registerInEtcd(server, options);
    scope.defer(() => registration.unregister());
    scope.defer(() => server.close());
    const listen = (): Promise<unknown> => new Promise((resolve) => server.listen(resolve));
    const watched = new Watched({ ...options, onError: undefined } as never);
    scope.defer(watched.stop);
    await watched.becomes();
    await listen();
    await registration.registered();
    const { port } = server.address() as { port: number };
    await watched.becomes(`127.0.0.1:${port}`);

    const told: (number | undefined)[] = [];
    server.on('draining', () => told.push((server.address() as { port: number } | null)?.port));
    await Promise.all([server.drain(), watched.becomes()]);
    await server.close();
    expect(told).toEqual([port]); // once, while it still listened
    await listen();
    const again = (server.address() as { port: number }).port;
    await watched.becomes(`127.0.0.1:${again}`);
    await server.close();
    await watched.becomes();
    expect(told).toEqual([port, again]);
  });

  it('is out of etcd when its server has closed, also if etcd is far away: the process may end then', async () => {
    const server = new RapServer({ port: 0, host: '127.0.0.1' });
    const registration = registerInEtcd(server, { ...options, fetch: farAway });
    scope.defer(() => registration.unregister());
    for (let i = 0; i < 2; i += 1) {
      await new Promise((resolve) => server.listen(resolve));
      await soon('in etcd', async () => !(await isEmpty()));
      await server.close();
      expect(await isEmpty()).toBe(true);
    }
  });

  it('closes its server if etcd is frozen', async () => {
    const server = new RapServer({ port: 0, host: '127.0.0.1' });
    const registration = registerInEtcd(server, options);
    scope.defer(() => registration.unregister());
    await new Promise((resolve) => server.listen(resolve));
    await registration.registered();
    await etcd.freeze();
    await server.close();
    expect(errors).toEqual([expect.stringContaining('stays for up to 2 s')]);
    etcd.thaw();
  });

  it('warns once of an address that only this machine can reach, unless it was given', async () => {
    const warnings: unknown[] = [];
    const spy = jest
      .spyOn(process, 'emitWarning')
      .mockImplementation((warning) => void warnings.push(warning));
    scope.defer(() => spy.mockRestore());
    const server = new RapServer({ port: 0 });
    scope.defer(() => server.close());
    const listen = (): Promise<unknown> => new Promise((resolve) => server.listen(resolve));
    await listen();
    await register(server).registered();
    await server.close();
    await listen();
    const { address } = server.address() as { address: string };
    await register(server, { address: { host: address } }).registered();
    await register(new ScriptedServer(own)).registered();
    expect(warnings).toEqual([
      `a in etcd: the server listens on ${address}, which only this machine can reach; set host of the server, or registerInEtcd.address.host`,
    ]);
    expect(address).toMatch(/^(127\.0\.0\.1|::1)$/);
    expect(errors).toEqual([]);
  });

  it('is out for good after unregister', async () => {
    const server = new ScriptedServer(null);
    const registration = register(server);
    await registration.unregister();
    server.own = own;
    server.emit('listening');
    expect((await rejection(registration.registered())).message).toContain('was unregistered');
    expect(await isEmpty()).toBe(true);
  });

  it('comes back if its lease is lost', async () => {
    const registration = register(new ScriptedServer(own));
    await registration.registered();
    const [entry] = await etcd.all();
    await etcd.call('/v3/lease/revoke', { ID: entry?.lease });
    expect(await isEmpty()).toBe(true);
    await soon('it is back', async () => !(await isEmpty()));
    expect(errors).toEqual(['a in etcd: the lease is lost; it is registered again']);
    expect((await etcd.all())[0]?.lease).not.toBe(entry?.lease);
  });

  it('stays beyond the time of its lease', async () => {
    const registration = register(new ScriptedServer(own));
    await registration.registered();
    const [{ lease } = {}] = await etcd.all();
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    expect((await etcd.all())[0]?.lease).toBe(lease);
    expect(errors).toEqual([]);
  });

  it('comes to an etcd that was down at first, and to one that has lost its data', async () => {
    await etcd.down();
    const registration = register(new ScriptedServer(own));
    await eventually('an error', () => errors.length > 0);
    expect(errors[0]).toContain('ECONNREFUSED');
    await etcd.up();
    await registration.registered();
    await etcd.down();
    await etcd.up({ empty: true });
    await soon('it is back', async () => !(await isEmpty()));
  });

  it('has one entry after etcd was frozen while it registered', async () => {
    await etcd.freeze();
    const registration = register(new ScriptedServer(own));
    await eventually('an error', () => errors.length > 1);
    etcd.thaw();
    await registration.registered();
    await new Promise((resolve) => setTimeout(resolve, 3_000)); // longer than a lease
    expect(await etcd.all()).toHaveLength(1);
  });

  it('settles if etcd is frozen while it leaves, and says how long the server stays listed', async () => {
    const registration = register(new ScriptedServer(own));
    await registration.registered();
    await etcd.freeze();
    await registration.unregister();
    expect(errors).toEqual([expect.stringContaining('stays for up to 2 s')]);
    etcd.thaw();
    await soon('the lease has ended', isEmpty);
  });

  it('does not take out another registration of its address', async () => {
    const first = register(new ScriptedServer(own));
    const second = register(new ScriptedServer(own));
    await Promise.all([first.registered(), second.registered()]);
    expect(await etcd.all()).toHaveLength(2);
    await first.unregister();
    expect(await etcd.all()).toHaveLength(1);
  });
});

describe('options of registerInEtcd', () => {
  const good = { endpoints: ['http://127.0.0.1:1'], service: 'a' };

  it.each<[Record<string, unknown>, string]>([
    [{ weight: NaN }, 'registerInEtcd.weight must be a finite number'],
    [{ weight: -1 }, 'registerInEtcd.weight must be a finite number'],
    [{ leaseSeconds: 0 }, 'registerInEtcd.leaseSeconds must be'],
    [{ leaseSeconds: 1.5 }, 'registerInEtcd.leaseSeconds must be'],
    [{ metadata: 'z' }, 'registerInEtcd.metadata must be an object'],
    [{ metadata: { text: 'x'.repeat(40_000) } }, 'registerInEtcd.metadata must take at most'],
    [{ address: '10.0.0.1' }, 'registerInEtcd.address must be { host, port }'],
    [{ address: { host: '' } }, 'registerInEtcd.address.host must be text'],
    [{ address: { port: 0 } }, 'registerInEtcd.address.port must be'],
    [{ address: { host: '0.0.0.0' } }, 'registerInEtcd.address.host must be one that clients can connect to'],
    [
      { address: { hostname: 'a' } },
      'registerInEtcd.address.hostname is not an option; did you mean registerInEtcd.address.host?',
    ],
    [{ metadata: { big: 1n } }, 'registerInEtcd.metadata must be plain JSON: '],
    [{ onError: 'log' }, "registerInEtcd.onError must be a function, got 'log'"],
    [{ adress: {} }, 'registerInEtcd.adress is not an option; did you mean registerInEtcd.address?'],
  ])('refuse %p', (options, message) => {
    const refused = (): unknown => registerInEtcd(new ScriptedServer(null), { ...good, ...options });
    expect(refused).toThrow(RangeError);
    expect(refused).toThrow(message);
  });

  it('are needed, and a server', () => {
    expect(() => registerInEtcd(new ScriptedServer(null), undefined as never)).toThrow(
      'registerInEtcd() needs an object with its options, got undefined',
    );
    for (const server of [undefined, {}, good])
      expect(() => registerInEtcd(server as never, good)).toThrow('registerInEtcd() needs a RapServer, got ');
  });

  it.each(['0.0.0.0', '::'])('need a host if the server listens on %s', async (address) => {
    const server = new ScriptedServer({ address, port: 1 });
    expect(() => registerInEtcd(server, good)).toThrow('registerInEtcd.address.host is needed');

    server.own = null;
    const errors: string[] = [];
    const later = registerInEtcd(server, { ...good, onError: ({ message }) => errors.push(message) });
    server.own = { address, port: 1 };
    server.emit('listening');
    expect((await rejection(later.registered())).message).toContain('address.host is needed');
    expect(errors).toHaveLength(1);
  });

  it('need host and port if the server listens on a Unix socket', () => {
    expect(() => registerInEtcd(new ScriptedServer('/tmp/s'), good)).toThrow('Unix socket /tmp/s');
  });
});
