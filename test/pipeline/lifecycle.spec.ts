import {
  ConnectionMiddleware,
  MessageMiddleware,
  RapClient,
  RapServer,
  type RapProcessor,
} from '../../lib/index.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { forget, later, Things } from './handlers.js';

const scope = testScope();
const log: string[] = [];
beforeEach(() => {
  forget();
  log.length = 0;
});

const SIDES = ['Server', 'Client'] as const;

/** A plugin whose hooks note that they were called, each after a while. */
function noting(name: string, fails?: 'start' | 'stop'): RapProcessor {
  const hook = (step: 'start' | 'stop') => (owner: object) =>
    later(() => {
      log.push(`${name} ${step} ${owner.constructor.name}`);
      if (step === fails) throw new Error(`${name} ${step} failed`);
    });
  return Object.fromEntries(
    SIDES.flatMap((side) => [
      [`on${side}Start`, hook('start')],
      [`on${side}Stop`, hook('stop')],
    ]),
  );
}

const events = {
  beforeStart: [() => later(() => log.push('before start 1')), () => log.push('before start 2')],
  afterStart: () => later(() => log.push('after start')),
  beforeStop: () => later(() => log.push('before stop')),
  afterStop: () => log.push('after stop'),
};

class Door extends ConnectionMiddleware {
  use = (_connection: unknown, next: () => Promise<void>): Promise<void> => next();
  override onServerStart = (): unknown => log.push('door start');
  override onServerStop = (): unknown => log.push('door stop');
}
class Around extends MessageMiddleware {
  use = (_request: unknown, next: () => Promise<unknown>): Promise<unknown> => next();
  override onServerStart = (): unknown => log.push('around start');
  override onServerStop = (): unknown => log.push('around stop');
}

const listen = (server: RapServer): Promise<unknown> =>
  new Promise((resolve, reject) =>
    server.listen((error, address) => (error ? reject(error) : resolve(address))),
  );
const make = (processors: RapProcessor[], more: object = {}): RapServer => {
  const server = new RapServer({ host: '127.0.0.1', port: 0, events, processors, ...more });
  server.on('listening', () => log.push('listening'));
  server.on('close', () => log.push('closed'));
  return server;
};
const makeClient = (port: number, processors: RapProcessor[], more: object = {}): RapClient => {
  const client = new RapClient({ host: '127.0.0.1', port, events, processors, ...more });
  scope.defer(() => client.close());
  client.on('connect', () => log.push('connect'));
  client.on('disconnect', () => log.push('disconnect'));
  return client;
};

describe('a server', () => {
  it('starts its plugins in order before it listens, and stops them in reverse after it has closed', async () => {
    const server = make([noting('p1'), noting('p2')], { middleware: [new Door(), new Around()] });
    await listen(server);
    await server.close();
    expect(log).toEqual([
      'before start 1',
      'before start 2',
      'door start',
      'around start',
      'p1 start RapServer',
      'p2 start RapServer',
      'listening',
      'after start',
      'before stop',
      'closed',
      'p2 stop RapServer',
      'p1 stop RapServer',
      'around stop',
      'door stop',
      'after stop',
    ]);
    const once = [...log];
    await server.close();
    expect(log).toEqual(once);
    await listen(server);
    await server.close();
    expect(log).toEqual([...once, ...once]);
  });

  it('does not start if a plugin does not, and stops those that had', async () => {
    const server = make([noting('p1'), noting('p2', 'start'), noting('p3')]);
    expect(await rejection(listen(server))).toMatchObject({ message: 'p2 start failed' });
    expect(server.address()).toBeNull();
    expect(log.slice(2)).toEqual(['p1 start RapServer', 'p2 start RapServer', 'p1 stop RapServer']);
    await server.close();
    expect(log).not.toContain('after stop');
  });

  it('starts no plugin if beforeStart fails', async () => {
    const server = make([noting('p1')], { events: { beforeStart: () => Promise.reject(new Error('no')) } });
    expect(await rejection(listen(server))).toMatchObject({ message: 'no' });
    expect(log).toEqual([]);
  });

  it('stops its plugins if it cannot listen, and if afterStart fails', async () => {
    const other = await scope.serve([Things]);
    const taken = make([noting('p1')], { port: other.port });
    expect(await rejection(listen(taken))).toMatchObject({ code: 'EADDRINUSE' });
    expect(log.slice(2)).toEqual(['p1 start RapServer', 'p1 stop RapServer']);
    log.length = 0;
    const late = make([noting('p1')], { events: { afterStart: () => Promise.reject(new Error('no')) } });
    expect(await rejection(listen(late))).toMatchObject({ message: 'no' });
    expect(log).toEqual(['p1 start RapServer', 'listening', 'closed', 'p1 stop RapServer']);
  });

  it('stops every plugin, whatever becomes of one or of beforeStop', async () => {
    const server = make([noting('p1'), noting('p2', 'stop'), noting('p3')]);
    await listen(server);
    log.length = 0;
    expect(await rejection(server.close())).toMatchObject({ message: 'p2 stop failed' });
    expect(log).toEqual([
      'before stop',
      'closed',
      'p3 stop RapServer',
      'p2 stop RapServer',
      'p1 stop RapServer',
    ]);
    const other = make([noting('p1')], { events: { beforeStop: () => Promise.reject(new Error('no')) } });
    await listen(other);
    log.length = 0;
    expect(await rejection(other.close())).toMatchObject({ message: 'no' });
    expect(log).toEqual(['closed', 'p1 stop RapServer']);
  });
});

describe('a client', () => {
  const LIFE = [
    'before start 1',
    'before start 2',
    'p1 start RapClient',
    'p2 start RapClient',
    'connect',
    'after start',
    'before stop',
    'disconnect',
    'p2 stop RapClient',
    'p1 stop RapClient',
    'after stop',
  ];

  it('starts with its first connection and stops when it is closed, again and again', async () => {
    const test = await scope.serve([Things]);
    const client = makeClient(test.port, [noting('p1'), noting('p2')]);
    expect(log).toEqual([]);
    for (let i = 1; i <= 2; i++) {
      await client.connect();
      expect(await client.call('echo', 1)).toBe(1);
      const closing = client.close();
      expect(client.close()).toBe(closing);
      await closing;
      expect(log).toEqual(Array.from({ length: i }, () => LIFE).flat());
    }
    client.close();
    expect(log).toHaveLength(2 * LIFE.length);
  });

  it('starts once, however many calls wait for it, and not again when it comes back', async () => {
    const test = await scope.serve([Things]);
    const client = makeClient(test.port, [noting('p1'), noting('p2')]);
    expect(await Promise.all([1, 2, 3].map((it) => client.call('echo', it)))).toEqual([1, 2, 3]);
    client.unwrap<{ destroy(): void }>().destroy();
    await eventually('it is back', () => log.filter((line) => line === 'connect').length === 2);
    expect(await client.call('echo', 4)).toBe(4);
    await client.drain();
    expect(log.filter((line) => !line.includes('connect'))).toEqual(
      LIFE.filter((line) => !line.includes('connect')),
    );
  });

  it('ends its connection at once if nothing comes before the stop', async () => {
    const test = await scope.serve([Things]);
    const client = makeClient(test.port, [noting('p1')], { events: {} });
    await client.connect();
    const closing = client.close();
    expect(log.slice(1)).toEqual(['connect', 'disconnect']);
    await closing;
    expect(log.at(-1)).toBe('p1 stop RapClient');
  });

  it('that is closed before it ever connected has nothing to stop', () => {
    const client = makeClient(1, [noting('p1')]);
    expect(client.close()).toBeUndefined();
    expect(log).toEqual([]);
  });

  it('does not connect if it cannot start, says why, and tries again with the next call', async () => {
    const test = await scope.serve([Things]);
    let fails = true;
    const client = makeClient(test.port, [
      noting('p1'),
      {
        onClientStart: () => {
          if (fails) throw new Error('no key');
        },
      },
    ]);
    const error = await rejection(client.call('echo', 1));
    expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no', cause: { message: 'no key' } });
    expect(error.message).toContain('no key');
    expect(log.slice(2)).toEqual(['p1 start RapClient', 'p1 stop RapClient', 'disconnect']);
    fails = false;
    expect(await client.call('echo', 1)).toBe(1);
  });

  it('tells of an afterStart that fails, to those who connect', async () => {
    const test = await scope.serve([Things]);
    const client = makeClient(test.port, [], {
      events: { afterStart: () => Promise.reject(new Error('not so good')) },
    });
    expect(await rejection(client.connect())).toMatchObject({ message: 'not so good' });
    expect(await client.call('echo', 1)).toBe(1);
  });

  it('closes also if beforeStop or a processor fails, and harms nobody who does not wait for it', async () => {
    const test = await scope.serve([Things]);
    const client = makeClient(test.port, [noting('p1'), noting('p2', 'stop')], {
      events: { beforeStop: () => Promise.reject(new Error('no')) },
    });
    await client.connect();
    client.close();
    await eventually('it has stopped', () => log.includes('p1 stop RapClient'));
    await eventually('the server knows', () => test.server.stats().connections === 0);
  });
});
