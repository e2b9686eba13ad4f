import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, InvokeError, RapChannel, RapClient } from '../../lib/index.js';
import { testScope, within } from '../helpers/async.js';
import { fence, fenceClient, lifeCycle } from '../helpers/channel/channel-frames.js';
import { answerDeclare, DECLARE, type RawFrame, RawSocket, scriptedServer } from '../helpers/raw-socket.js';
import { collect, idle } from '../helpers/streams.js';

interface Recorded {
  readonly from: 'client' | 'server';
  readonly hex: string;
  readonly frame?: RawFrame;
}

const vector = new URL('../fixtures/vectors/plain.json', import.meta.url);
const { frames: recorded } = JSON.parse(readFileSync(vector, 'utf8')) as { frames: Recorded[] };
/** The channel frames of a Python client and a Python server, in their order. */
const conversation = recorded.filter(({ frame }) => frame?.[0] === 102) as (Recorded & { frame: RawFrame })[];

/** The frames of one channel, from one side or both. */
function ofChannel(target: string, from?: 'client' | 'server'): (Recorded & { frame: RawFrame })[] {
  const opening = conversation.find(({ frame }) => frame[2]['target'] === `/default/${target}`);
  return conversation.filter((it) => it.frame[1] === opening?.frame[1] && (!from || it.from === from));
}

const CHANNELS = ['async_gen', 'gen_boom', 'echo_channel', 'three'];

@Controller()
class PythonFunctions {
  @MessagePattern('async_gen')
  async *asyncGen(@Payload() { a }: { a: number }): AsyncGenerator<number> {
    for (let i = 0; i < a; i++) yield await Promise.resolve(i);
  }

  @MessagePattern('gen_boom')
  *genBoom(@Payload() { a }: { a: number }): Generator<number> {
    for (let i = 0; i < a; i++) yield i;
    throw new InvokeError('gen boom', { remoteName: 'ValueError' });
  }

  @ChannelPattern('echo_channel')
  async echoChannel(@Payload() channel: RapChannel): Promise<void> {
    for await (const body of channel) await channel.write(body);
  }

  @ChannelPattern('three')
  async three(@Payload() channel: RapChannel): Promise<void> {
    for (let i = 0; i < 3; i++) await channel.write({ i });
  }
}

const scope = testScope();

it('the vector has all four channels', () => {
  expect(CHANNELS.map((target) => ofChannel(target).length)).toEqual([7, 6, 4, 6]);
  expect(conversation).toHaveLength(23);
});

/** A raw client after the handshake of the vector, and the bytes of every frame that came since. */
async function open(): Promise<{ raw: RawSocket; done: () => Promise<void> }> {
  const test = await scope.serve([PythonFunctions]);
  const raw = await RawSocket.open(test.port, DECLARE);
  return {
    raw,
    async done() {
      raw.socket.end();
      await raw.waitClosed();
      await idle(test);
    },
  };
}

function expected(target: string): RawFrame[] {
  return ofChannel(target, 'server').map(({ frame }) => {
    // Python ends with no word of the error; this project puts it on DROP, where Python looks for it as well
    if (target !== 'gen_boom' || lifeCycle(frame) !== 'DROP') return frame;
    const error = { name: 'InvokeError', code: 'ERR_RAP_INVOKE' };
    const [type, id] = frame;
    return [
      type,
      id,
      { channel_life_cycle: 'DROP', status_code: 301, error },
      ['ValueError', 'gen boom'],
    ] satisfies RawFrame;
  });
}

describe('our server hears the Python client', () => {
  it.each(CHANNELS)('%s, one frame after the other', async (target) => {
    const { raw, done } = await open();
    const answers = expected(target);
    for (const { from, hex, frame } of ofChannel(target)) {
      if (from === 'client') raw.bytes(hex);
      else expect(await raw.answer(frame[1])).toEqual(answers.shift());
    }
    expect(answers).toEqual([]);
    await fence(raw);
    expect(raw.frames).toEqual([]);
    await done();
  });

  it('all of them, its frames at once', async () => {
    const { raw, done } = await open();
    raw.bytes(conversation.map(({ from, hex }) => (from === 'client' ? hex : '')).join(''));
    for (const target of CHANNELS) {
      for (const answer of expected(target)) expect(await raw.answer(answer[1])).toEqual(answer);
    }
    await fence(raw);
    expect(raw.frames).toEqual([]);
    await done();
  });

  it('all of them, byte by byte', async () => {
    const { raw, done } = await open();
    const bytes = Buffer.from(
      conversation.map(({ from, hex }) => (from === 'client' ? hex : '')).join(''),
      'hex',
    );
    raw.socket.setNoDelay(true);
    for (const byte of bytes) raw.bytes(Buffer.from([byte]));
    for (const target of CHANNELS) {
      for (const answer of expected(target)) expect(await raw.answer(answer[1])).toEqual(answer);
    }
    await done();
  });
});

/** A client of a server that plays the frames of the vector. The vector's ids are put in place of the client's. */
async function play(): Promise<{ client: RapClient; sent: RawFrame[]; peer: () => RawSocket }> {
  const sent: RawFrame[] = [];
  const peers: RawSocket[] = [];
  const scripted = await scriptedServer(async (peer) => {
    peers.push(peer);
    await answerDeclare(peer);
    /** What is still to be played, by the id that the client chose. */
    const scripts = new Map<number, (Recorded & { frame: RawFrame })[]>();
    for (;;) {
      const frame = await peer.next((it) => it[0] === 102, 60_000);
      sent.push(frame);
      const [, id, header] = frame;
      if (lifeCycle(frame) === 'DECLARE') {
        scripts.set(id, ofChannel(String(header['target']).replace('/default/', '')));
      }
      const script = scripts.get(id);
      // past the end of the script, it says more than Python did
      if (script?.shift()?.from !== 'client') continue;
      const clientsTurn = script.findIndex(({ from }) => from === 'client');
      for (const next of script.splice(0, clientsTurn < 0 ? script.length : clientsTurn)) {
        const [, , recordedHeader, body] = next.frame;
        peer.send([102, id, recordedHeader, body]);
      }
    }
  });
  scope.defer(() => scripted.close());
  const client = new RapClient({ host: '127.0.0.1', port: scripted.port });
  scope.defer(() => client.close());
  return { client, sent, peer: () => peers[0] as RawSocket };
}

/** What the Python client sent on a channel, without the id. */
function said(target: string): unknown[] {
  return ofChannel(target, 'client').map(({ frame: [, , header, body] }) => [header, body]);
}

const withoutId = (frames: RawFrame[]): unknown[] => frames.map(([, , header, body]) => [header, body]);

describe('our client hears the Python server', () => {
  it('async_gen: the items, then the end', async () => {
    const { client, sent } = await play();
    expect(await collect(client.stream('async_gen', { a: 3 }))).toEqual([0, 1, 2]);
    expect(withoutId(sent)).toEqual(said('async_gen'));
  });

  it('gen_boom: the items, then the end, for Python does not tell of the error', async () => {
    const { client, sent } = await play();
    expect(await collect(client.stream('gen_boom', { a: 2 }))).toEqual([0, 1]);
    expect(withoutId(sent)).toEqual(said('gen_boom'));
  });

  it('echo_channel: each body comes back; leaving it says DROP, which Python does not', async () => {
    const { client, sent, peer } = await play();
    const channel = await client.channel<string, string>('echo_channel', { metadata: { room: 'lobby' } });
    await channel.write('hi');
    expect(await within('the echo', channel.read())).toBe('hi');
    expect(withoutId(sent)).toEqual(said('echo_channel'));
    channel.close();
    await fenceClient(peer());
    expect(sent.map(lifeCycle)).toEqual(['DECLARE', 'MSG', 'DROP']);
  });

  it('three: the messages, then the end', async () => {
    const { client, sent } = await play();
    const channel = await client.channel<{ i: number }>('three');
    expect(await collect(channel)).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }]);
    await channel.closed;
    expect(withoutId(sent)).toEqual(said('three'));
  });

  it('all of them at once', async () => {
    const { client } = await play();
    const echo = await client.channel<string, string>('echo_channel');
    const three = await client.channel<{ i: number }>('three');
    await echo.write('hi');
    expect(
      await Promise.all([
        collect(client.stream('async_gen', { a: 3 })),
        collect(client.stream('gen_boom', { a: 2 })),
        collect(three),
        echo.read(),
      ]),
    ).toEqual([[0, 1, 2], [0, 1], [{ i: 0 }, { i: 1 }, { i: 2 }], 'hi']);
    echo.close();
  });
});
