import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { of, throwError } from 'rxjs';
import { ChannelPattern, RapError, type RapChannel, RapProcessor } from '../../lib/index.js';
import { NAME_BY_STATUS, Status } from '../../lib/protocol/status.js';
import { testScope } from '../helpers/async.js';
import { DECLARE, RawSocket, type RawFrame } from '../helpers/raw-socket.js';

const scope = testScope();

@Controller()
class Handlers {
  @MessagePattern('items') async *items(): AsyncGenerator<number> {
    yield 1;
    yield 2;
  }

  @MessagePattern('unary') unary(): number {
    return 1;
  }

  @MessagePattern('large') large(): Buffer {
    return Buffer.alloc(5 * 1024 * 1024);
  }

  @MessagePattern('largeItem') async *largeItem(): AsyncGenerator<Buffer> {
    yield Buffer.alloc(8);
    yield Buffer.alloc(5 * 1024 * 1024);
  }

  /** Beyond what a source that cannot be paused may have waiting. */
  @MessagePattern('flood') flood(): unknown {
    return of(...Array.from({ length: 40 }, () => Buffer.alloc(1024 * 1024)));
  }

  @MessagePattern('failing') failing(): unknown {
    return throwError(() => new RapError('as it is', { status: 1004 }));
  }

  @ChannelPattern('chat') async chat(channel: RapChannel): Promise<void> {
    for await (const message of channel) await channel.write(message);
  }
}

const channelOf = (id: number, name: string, extra: object = {}): RawFrame => [
  102,
  id,
  { target: `/default/${name}`, channel_life_cycle: 'DECLARE', ...extra },
  null,
];
const call = (id: number, name: string, header: object = {}): RawFrame => [
  101,
  id,
  { target: `/default/${name}`, ...header },
  null,
];
const message = (id: number, body: unknown = {}): RawFrame => [102, id, { channel_life_cycle: 'MSG' }, body];
const extensions = { stream_reply: {}, accept_stream: {}, credit: { window: 256 * 1024 }, half_close: {} };

/** Frames that make the server say an error under id 5. */
const ERRORS: readonly [what: string, frames: RawFrame[], agrees: boolean][] = [
  ['a stream for a caller that cannot take one', [call(5, 'items')], false],
  ['a call of a channel', [call(5, 'chat')], true],
  ['a unary function opened as a channel', [channelOf(5, 'unary'), message(5)], true],
  ['messages behind the parameters', [channelOf(5, 'items'), message(5), message(5), message(5)], true],
  ['a second DECLARE', [channelOf(5, 'chat'), channelOf(5, 'chat')], true],
  ['an answer that is too large', [call(5, 'large')], true],
  ['an item that is too large', [call(5, 'largeItem', { accept_stream: true })], true],
  ['a source that outruns its reader', [call(5, 'flood', { accept_stream: true })], true],
  ['a message that cannot be read', [channelOf(5, 'chat'), message(5, new Map([[1, 2]]))], true],
  ['a function that does not exist', [call(5, 'nothing')], true],
  ['an error of the handler', [call(5, 'failing')], true],
];

class Passing extends RapProcessor {
  override processRequest(): void {}
}

it.each(
  [[], [new Passing()]].flatMap((processors) =>
    ERRORS.map((row) => [`${row[0]}, ${processors.length} processors`, ...row.slice(1), processors] as const),
  ),
)('the name of an error is that of its status: %s', async (_what, frames, agrees, processors) => {
  const { port } = await scope.serve([Handlers], { processors: processors as RapProcessor[] });
  const [type, id, header, body] = DECLARE;
  const declare: RawFrame = agrees ? [type, id, header, { ...(body as object), extensions }] : DECLARE;
  const raw = await RawSocket.open(port, declare);
  scope.defer(() => raw.destroy());
  raw.send(...(frames as RawFrame[]));
  const last = await raw.next(([, of5, { status_code: status }]) => of5 === 5 && status !== undefined);
  const { status_code: status, error } = last[2] as { status_code: number; error: { name: string } };
  expect(error.name).toBe(NAME_BY_STATUS[status]);
});

it('every status has a name', () => {
  const errors = Object.values(Status).filter((status) => status !== Status.Ok);
  expect(errors.filter((status) => NAME_BY_STATUS[status] === undefined)).toEqual([]);
});
