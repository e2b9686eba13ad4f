import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import {
  IncomingResponseDeserializer,
  MessagePattern,
  Payload,
  type Deserializer,
  type ReadPacket,
  type Serializer,
} from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { CallTimeoutError, RapClient, RapProcessor, RapServer, ServerError } from '../../lib/index.js';
import { eventually, rejection, testScope, within } from '../helpers/async.js';
import { EventPattern } from '../helpers/event-pattern.js';

const scope = testScope();
const events: unknown[] = [];
beforeEach(() => events.splice(0));

@Controller()
class EchoController {
  @MessagePattern('echo') echo(@Payload() data: unknown): unknown {
    return { got: data };
  }
  @MessagePattern({ cmd: 'echo' }) object(@Payload() data: unknown): unknown {
    return { got: data };
  }
  @MessagePattern('fail') fail(): never {
    throw new Error('x');
  }
  @EventPattern('created') created(@Payload() data: unknown): void {
    events.push(data);
  }
}

type Packet = Record<string, unknown>;
const wrap = (key: string, wrapper: string, seen: unknown[] = []) => {
  return (packet: Packet): Packet => {
    seen.push({ ...packet });
    return { ...packet, [key]: { [wrapper]: packet[key] } };
  };
};
const later =
  (work: (packet: Packet) => Packet) =>
  async (packet: Packet): Promise<Packet> => {
    await new Promise(setImmediate);
    return work(packet);
  };
const asSerializer = (serialize: (packet: Packet) => unknown): Serializer => ({ serialize }) as Serializer;
const asDeserializer = (deserialize: (packet: Packet) => unknown): Deserializer =>
  ({ deserialize }) as Deserializer;

describe.each([
  ['synchronous', (work: (packet: Packet) => Packet) => work],
  ['asynchronous', later],
])('%s', (_, how) => {
  it('the server: deserializer sees id, pattern, data; serializer the response', async () => {
    const read: unknown[] = [];
    const written: unknown[] = [];
    const { client } = await scope.serve([EchoController], {
      deserializer: asDeserializer(how(wrap('data', 'deserialized', read))),
      serializer: asSerializer(how(wrap('response', 'serialized', written))),
    });

    expect(await client().call({ cmd: 'echo' }, 1)).toEqual({ serialized: { got: { deserialized: 1 } } });
    expect(read).toEqual([{ id: expect.any(String), pattern: '{"cmd":"echo"}', data: 1 }]);
    expect(written).toEqual([
      { id: expect.any(String), response: { got: { deserialized: 1 } }, isDisposed: true },
    ]);
  });

  it('the server: an event goes through the deserializer', async () => {
    const { client } = await scope.serve([EchoController], {
      deserializer: asDeserializer(how(wrap('data', 'deserialized'))),
    });

    client().emit('created', 1);

    await eventually('the event', () => events.length);
    expect(events).toEqual([{ deserialized: 1 }]);
  });

  it('the client: serializer sees pattern and data; deserializer the response', async () => {
    const read: unknown[] = [];
    const written: unknown[] = [];
    const { client } = await scope.serve([EchoController]);
    const rap = client({
      serializer: asSerializer(how(wrap('data', 'serialized', written))),
      deserializer: asDeserializer(how(wrap('response', 'deserialized', read))),
    });

    expect(await rap.call('echo', 1)).toEqual({ deserialized: { got: { serialized: 1 } } });
    expect(await firstValueFrom(rap.send('echo', 2))).toEqual({ deserialized: { got: { serialized: 2 } } });
    await lastValueFrom(rap.emit('created', 3));
    await eventually('the event', () => events.length);

    expect(events).toEqual([{ serialized: 3 }]);
    expect(written).toMatchObject([
      { pattern: 'echo', data: 1 },
      { pattern: 'echo', data: 2 },
      { pattern: 'created', data: 3 },
    ]);
    expect(read).toMatchObject([
      { response: { got: { serialized: 1 } } },
      { response: { got: { serialized: 2 } } },
    ]);
  });

  it('a failing one of the server is masked and logged, and the next call comes through', async () => {
    const failing = how((packet) => {
      if (packet['data'] === 'bad' || packet['response'] === 'bad')
        throw new TypeError('secret of the codec');
      return packet;
    });
    @Controller()
    class PlainController {
      @MessagePattern('plain') plain(@Payload() data: unknown): unknown {
        return data === 'bad answer' ? 'bad' : data;
      }
    }
    for (const options of [
      { deserializer: asDeserializer(failing) },
      { serializer: asSerializer(failing) },
    ]) {
      // oxlint-disable-next-line no-await-in-loop
      await (async () => {
        const { client, log } = await scope.serve([PlainController], options);
        const rap = client();
        const error = await rejection(rap.call('plain', 'deserializer' in options ? 'bad' : 'bad answer'));

        expect(error).toBeInstanceOf(ServerError);
        expect(error).toMatchObject({ message: 'Internal server error' });
        expect(log.lines.join('\n')).toContain('secret of the codec');
        expect(await rap.call('plain', 'fine')).toBe('fine');
      })();
    }
  });

  it('a failing one of the client fails its call, and only that', async () => {
    const { client } = await scope.serve([EchoController]);
    const broken = how((packet) => {
      if (JSON.stringify(packet).includes('bad')) throw new TypeError('broken codec');
      return packet;
    });
    const writing = client({ serializer: asSerializer(broken) });
    const reading = client({ deserializer: asDeserializer(broken) });

    for (const rap of [writing, reading]) {
      // oxlint-disable-next-line no-await-in-loop
      await expect(rap.call('echo', 'bad')).rejects.toThrow('broken codec');
      // oxlint-disable-next-line no-await-in-loop
      await expect(firstValueFrom(rap.send('echo', 'bad'))).rejects.toThrow('broken codec');
      // oxlint-disable-next-line no-await-in-loop
      expect(await rap.call('echo', 'fine')).toEqual({ got: 'fine' });
      expect(rap.stats().inFlight).toBe(0);
    }
    await expect(lastValueFrom(writing.emit('created', 'bad'))).rejects.toThrow('broken codec');
  });
});

it('a deserializer of the server that fails for a stream is masked and logged', async () => {
  @Controller()
  class StreamController {
    @MessagePattern('items') *items(): Iterable<number> {
      yield 1;
    }
  }
  const { client, log } = await scope.serve([StreamController], {
    deserializer: asDeserializer(() => {
      throw new TypeError('secret of the codec');
    }),
  });

  const error = await rejection(client().stream('items')[Symbol.asyncIterator]().next());

  expect(error).toBeInstanceOf(ServerError);
  expect(error).toMatchObject({ message: 'Internal server error' });
  expect(log.lines.join('\n')).toContain('secret of the codec');
});

it('errors come through with serializers on both sides', async () => {
  const { client } = await scope.serve([EchoController], {
    serializer: asSerializer((packet) => packet),
    deserializer: asDeserializer((packet) => packet),
  });
  const rap = client({
    serializer: asSerializer((packet) => packet),
    deserializer: new IncomingResponseDeserializer() as Deserializer,
  });

  expect(await rejection(rap.call('fail'))).toBeInstanceOf(ServerError);
});

it('the value that the deserializer gives is what serializeResponse sees', async () => {
  const { port } = await scope.serve([EchoController]);
  class Stamped extends RapClient {
    protected override serializeResponse(response: unknown): unknown {
      return { stamped: response };
    }
  }
  const rap = new Stamped({
    host: '127.0.0.1',
    port,
    deserializer: asDeserializer(wrap('response', 'deserialized')),
  });
  scope.defer(() => rap.close());

  expect(await rap.call('echo', 1)).toEqual({ stamped: { deserialized: { got: 1 } } });
});

it('a serializer that hangs does not outlive the time of its call', async () => {
  const { client } = await scope.serve([EchoController]);
  const rap = client({ serializer: asSerializer(() => new Promise(() => {})) });
  await rap.connect();

  const error = await within('the timeout', rejection(rap.call('echo', 1, { timeoutMs: 50 })));

  expect(error).toBeInstanceOf(CallTimeoutError);
});

it('a call whose time runs out while a processor holds it was not sent', async () => {
  class Stuck extends RapProcessor {
    override processRequest(): Promise<void> {
      return new Promise(() => {});
    }
  }
  const { client } = await scope.serve([EchoController]);
  const rap = client({ serializer: asSerializer((packet) => packet), processors: [new Stuck()] });
  await rap.connect();

  const error = await within('the timeout', rejection(rap.call('echo', 1, { timeoutMs: 50 })));

  expect(error).toMatchObject({ code: 'ERR_RAP_CALL_TIMEOUT', phase: 'queue' });
});

it('a subclass may set serializer and deserializer by the hooks of Nest', async () => {
  class Wrapping extends RapServer {
    protected override initializeSerializer(): void {
      this.serializer = asSerializer(wrap('response', 'by the subclass'));
    }
    constructor() {
      super({ host: '127.0.0.1', port: 0, serializer: asSerializer((packet) => packet) });
    }
  }
  const server = new Wrapping();
  server.addHandler('echo', (data: ReadPacket) => Promise.resolve(data));
  await new Promise((resolve) => server.listen(resolve));
  scope.defer(() => server.close());
  const { port } = server.address() as { port: number };
  const rap = new RapClient({ host: '127.0.0.1', port });
  scope.defer(() => rap.close());

  expect(await rap.call('echo', 1)).toEqual({ 'by the subclass': 1 });
});

it('a subclass may change serializer and deserializer while it serves', async () => {
  class Changing extends RapServer {
    change(): void {
      this.serializer = asSerializer(wrap('response', 'changed'));
      this.deserializer = asDeserializer(wrap('data', 'read'));
    }
  }
  const server = new Changing({ host: '127.0.0.1', port: 0, serializer: asSerializer((packet) => packet) });
  server.addHandler('echo', (data: ReadPacket) => Promise.resolve(data));
  await new Promise((resolve) => server.listen(resolve));
  scope.defer(() => server.close());
  const { port } = server.address() as { port: number };
  const rap = new RapClient({ host: '127.0.0.1', port });
  scope.defer(() => rap.close());

  expect(await rap.call('echo', 1)).toBe(1);
  server.change();
  expect(await rap.call('echo', 1)).toEqual({ changed: { read: 1 } });
});
