import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { MessageMiddleware, type RapRequest } from '../../lib/index.js';
import { testScope } from '../helpers/async.js';
import { declare, lifeCycle, msg, openWith, untilDrop } from '../helpers/channel/channel-frames.js';
import type { RawSocket } from '../helpers/raw-socket.js';

const scope = testScope();
let ran: unknown[] = [];
beforeEach(() => {
  ran = [];
});

@Controller()
class PlainController {
  @MessagePattern('unary', { kind: 'unary' })
  unary(@Payload() body: unknown): unknown {
    ran.push(body);
    return body;
  }

  @MessagePattern('value')
  value(@Payload() body: unknown): unknown {
    ran.push(body);
    return body;
  }

  @MessagePattern('items')
  *items(@Payload() body: unknown): Generator {
    ran.push(body);
    yield body;
  }

  @MessagePattern('hangs')
  hangs(): Promise<unknown> {
    return new Promise(() => {});
  }
}

class Barrier extends MessageMiddleware {
  override use(request: RapRequest, next: () => Promise<unknown>): Promise<unknown> {
    if (request.body === 'forbidden') throw new Error('no');
    request.body = `${String(request.body)}, let through`;
    return next();
  }
}

async function connect(options: Parameters<typeof scope.serve>[1] = {}): Promise<RawSocket> {
  const test = await scope.serve([PlainController], options);
  const raw = await openWith(test.port, {});
  scope.defer(() => raw.destroy());
  return raw;
}

async function outcome(raw: RawSocket, target: string, body: unknown): Promise<string[]> {
  raw.send(declare(5, target), msg(5, body));
  return (await untilDrop(raw, 5)).map(lifeCycle);
}

it('refuses a function that is known to be unary before it runs', async () => {
  expect(await outcome(await connect(), 'unary', 'x')).toEqual(['DROP 1008']);
  expect(ran).toEqual([]);
});

it('runs message middleware before the handler, which may refuse it', async () => {
  const raw = await connect({ middleware: [new Barrier()] });
  expect(await outcome(raw, 'value', 'forbidden')).toEqual(['DECLARE', 'DROP 500']);
  expect(ran).toEqual([]);
});

it('gives a stream what middleware and the deserializer have made of its parameters', async () => {
  const deserializer = {
    deserialize: ({ data, pattern }: { data: unknown; pattern: string }) => ({ pattern, data: [data] }),
  };
  const raw = await connect({ middleware: [new Barrier()], deserializer });
  expect(await outcome(raw, 'items', 'x')).toEqual(['DECLARE', 'MSG', 'DROP']);
  expect(ran).toEqual([['x, let through']]);
});

it('gives the handler the time of a call until it has given a stream', async () => {
  const time = scope.stopTime();
  const raw = await connect({ runTimeoutMs: 500 });
  raw.send(declare(5, 'hangs'), msg(5, null), declare(7, 'items'), msg(7, null));
  await untilDrop(raw, 7);
  time.pass(500);
  expect((await untilDrop(raw, 5)).map(lifeCycle)).toEqual(['DECLARE', 'DROP 1005']);
});
