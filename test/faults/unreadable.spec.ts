import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, type RapChannel } from '../../lib/index.js';
import { type TestApp } from '../helpers/app.js';
import { DECLARE, pack, type RawFrame, type RawSocket } from '../helpers/raw-socket.js';
import {
  call,
  expectAnswers,
  Handlers,
  openRaw,
  release,
  seen,
  startApp,
  until,
} from '../helpers/fault-scope.js';

/** A dict of Python with a key that is a number: sound msgpack, and no value here. */
const UNREADABLE = Buffer.from('8101a161', 'hex');
const CL = 'channel_life_cycle';
const PARSE = { status_code: 1002 };
const TEXT = 'the body cannot be read: a map key is not a string';

const ends: string[] = [];

@Controller()
class Peers {
  @EventPattern('happened')
  happened(@Payload() _body: unknown): void {
    ends.push('event');
  }

  @ChannelPattern('chat')
  async chat(@Payload() channel: RapChannel): Promise<void> {
    try {
      for await (const message of channel) {
        if (message === 'leave') return;
        await channel.write(message);
      }
      ends.push('in order');
    } catch (error) {
      ends.push((error as Error).message);
    }
  }
}

let app: TestApp;

async function open(extensions: Record<string, object> = {}): Promise<RawSocket> {
  app = await startApp({}, [Handlers, Peers]);
  const [type, id, header, body] = DECLARE;
  return openRaw(app, [type, id, header, { ...(body as object), extensions }]);
}

/** A frame whose body cannot be read. */
function unreadable(type: number, id: number, header: RawFrame[2]): Buffer {
  return Buffer.concat([Buffer.from([0x94]), pack(type), pack(id), pack(header), UNREADABLE]);
}

/** What has come by the time that everything sent so far was answered. */
async function received(raw: RawSocket): Promise<RawFrame[]> {
  await expectAnswers(raw);
  return raw.frames.splice(0);
}

/** Opens a channel to `chat`. */
async function chat(raw: RawSocket, id: number): Promise<void> {
  raw.send([102, id, { [CL]: 'DECLARE', target: '/default/chat' }, {}]);
  await raw.answer(id);
}

beforeEach(() => void (ends.length = 0));

describe('a body that cannot be read', () => {
  const oneWay = { target: '/default/happened', one_way: true };

  it.each([
    ['that answers events', { one_way: {}, event_answer: {} }, 1],
    ['that knows events without an answer', { one_way: {} }, 0],
    ['to which it is a call', {}, 1],
  ])('refuses an event at a server %s', async (_what, extensions, answers) => {
    const raw = await open(extensions);
    raw.bytes(unreadable(101, 5, oneWay));
    const error = [101, 5, expect.objectContaining(PARSE), TEXT];
    expect(await received(raw)).toEqual(answers ? [error] : []);
    expect(ends).toEqual([]);
  });

  it.each([
    ['a call', unreadable(101, 5, { target: '/default/echo' })],
    ['a channel', unreadable(102, 5, { [CL]: 'DECLARE', target: '/default/chat' })],
  ])('of %s under an id that is in use ends the connection as any other', async (_what, bytes) => {
    const raw = await open();
    raw.send(call(5, 'hold', 1));
    await until(() => seen.started === 1, 'the call to run');
    raw.bytes(bytes);
    expect(await raw.closeReason()).toBe('correlation id 5 is in use');
    expect(raw.frames).toEqual([]);
    release();
  });

  it.each([
    ['a call', unreadable(101, 5, { target: '/default/echo', status_code: 500 })],
    ['a channel', unreadable(102, 5, { [CL]: 'DECLARE', target: '/default/chat', status_code: 500 })],
    ['a message for no channel', unreadable(102, 5, { [CL]: 'MSG', status_code: 1008 })],
  ])('is not answered if the frame carries an error: %s', async (_what, bytes) => {
    const raw = await open();
    raw.bytes(bytes);
    expect(await received(raw)).toEqual([]);
  });

  it.each([
    ['DROP', { [CL]: 'DROP' }, 'in order'],
    ['an error', { [CL]: 'DROP', status_code: 429 }, 'status 429'],
  ])('does not keep %s from ending its channel, unanswered', async (_what, header, end) => {
    const raw = await open();
    await chat(raw, 5);
    raw.bytes(unreadable(102, 5, header));
    expect(await received(raw)).toEqual([]);
    expect(ends).toEqual([end]);
  });

  it('ends the channel of a message', async () => {
    const raw = await open();
    await chat(raw, 5);
    raw.bytes(unreadable(102, 5, { [CL]: 'MSG' }));
    expect(await received(raw)).toEqual([
      [102, 5, expect.objectContaining({ [CL]: 'DROP', ...PARSE }), TEXT],
    ]);
    expect(ends).toEqual([TEXT]);
  });

  it('is ignored in a message for a channel that the server has ended', async () => {
    const raw = await open();
    await chat(raw, 5);
    raw.send([102, 5, { [CL]: 'MSG' }, 'leave']);
    expect(await raw.answer(5)).toEqual([102, 5, { [CL]: 'DROP' }, null]);
    raw.bytes(unreadable(102, 5, { [CL]: 'MSG' }));
    expect(await received(raw)).toEqual([]);
  });

  it('says nothing new in a message for no channel', async () => {
    const raw = await open();
    raw.bytes(unreadable(102, 5, { [CL]: 'MSG' }));
    expect(await received(raw)).toEqual([[102, 5, { status_code: 1008 }, 'channel not create']]);
  });

  it('is answered in a ping, by an empty one', async () => {
    const raw = await open();
    raw.bytes(unreadable(103, 5, { target: '/_event/ping' }));
    expect(await received(raw)).toEqual([[103, 5, {}, {}]]);
  });
});
