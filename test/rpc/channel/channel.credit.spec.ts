import { LifeCycle } from '../../../lib/protocol/life-cycle.js';
import { ChannelLab } from '../../helpers/channel/fake-channel-host.js';
import { outcomeOf, settled } from '../../helpers/outcome.js';

/** Writes messages of these sizes and tells which were sent. */
function writeAll(lab: ChannelLab, ...sizes: number[]): unknown[] {
  for (const size of sizes) void lab.channel.write(size).catch(() => {});
  return lab.host.bodies(LifeCycle.Msg);
}

const credits = (lab: ChannelLab): unknown[] => lab.host.bodies(LifeCycle.Credit);

describe('what this side may send', () => {
  it('is the window of the peer, which one message may overshoot', () => {
    expect(writeAll(new ChannelLab({ sendWindow: 100 }), 60, 39, 500, 1, 1)).toEqual([60, 39, 500]);
    expect(writeAll(new ChannelLab({ sendWindow: 100 }), 60, 40, 500)).toEqual([60, 40]);
    expect(writeAll(new ChannelLab({ sendWindow: 1 }), 5000, 1)).toEqual([5000]);
  });

  it('waits until the credit is positive, not until it is zero', () => {
    const lab = new ChannelLab({ sendWindow: 100 });
    expect(writeAll(lab, 150, 7, 8)).toEqual([150]);
    lab.receive(LifeCycle.Credit, 49);
    expect(lab.host.bodies(LifeCycle.Msg)).toEqual([150]);
    lab.receive(LifeCycle.Credit, 1);
    expect(lab.host.bodies(LifeCycle.Msg)).toEqual([150]);
    lab.receive(LifeCycle.Credit, 1);
    expect(lab.host.bodies(LifeCycle.Msg)).toEqual([150, 7]);
    lab.receive(LifeCycle.Credit, 7);
    expect(lab.host.bodies(LifeCycle.Msg)).toEqual([150, 7, 8]);
  });

  it('goes out in the order of the writes, as many as the credit allows', async () => {
    const lab = new ChannelLab({ sendWindow: 10 });
    const writes = [10, 1, 2, 3, 4].map((size) => outcomeOf(lab.channel.write(size)));
    lab.receive(LifeCycle.Credit, 5);
    await settled();
    expect(lab.host.bodies(LifeCycle.Msg)).toEqual([10, 1, 2, 3]);
    expect(writes.map(({ state }) => state)).toEqual([
      'resolved',
      'resolved',
      'resolved',
      'resolved',
      'pending',
    ]);
  });

  it('is without bound where credits were not agreed', () => {
    expect(writeAll(new ChannelLab({ sendWindow: undefined }), 1e6, 1e6, 1e6)).toEqual([1e6, 1e6, 1e6]);
  });

  it('does not jump the queue: tryWrite is refused while a write waits', async () => {
    const lab = new ChannelLab({ sendWindow: 10 });
    writeAll(lab, 10, 1);
    expect(lab.channel.tryWrite(2)).toBe(false);
    lab.receive(LifeCycle.Credit, 20);
    expect(lab.channel.tryWrite(3)).toBe(true);
    await settled();
    expect(lab.host.bodies(LifeCycle.Msg)).toEqual([10, 1, 3]);
  });

  it('grows as well while this side writes nothing', () => {
    const lab = new ChannelLab({ sendWindow: 10 });
    lab.receive(LifeCycle.Credit, 90);
    expect(writeAll(lab, 99, 1, 1)).toEqual([99, 1]);
  });
});

describe('credit of the peer that makes no sense', () => {
  it.each([[0], [-1], [0.5], [NaN], [Infinity], [null], [undefined], ['9'], [[1]], [{}], [10n], [true]])(
    'refuses %p, and changes nothing',
    (credit) => {
      const lab = new ChannelLab({ sendWindow: 10 });
      expect(lab.channel.receive(LifeCycle.Credit, {}, credit, 1, 1)).toBe(
        'credit must be a positive integer',
      );
      expect(lab.channel.state).toBe('open');
      expect(writeAll(lab, 10, 1)).toEqual([10]);
    },
  );

  it('refuses more than any window makes sense of, at once or little by little', () => {
    const lab = new ChannelLab({ sendWindow: 100 });
    expect(lab.receive(LifeCycle.Credit, 2 ** 32)).toBe('too much credit');
    expect(lab.receive(LifeCycle.Credit, 2 ** 32 - 100)).toBeUndefined();
    expect(lab.receive(LifeCycle.Credit, 1)).toBe('too much credit');
    writeAll(lab, 10);
    expect(lab.receive(LifeCycle.Credit, 10)).toBeUndefined();
    expect(lab.receive(LifeCycle.Credit, Number.MAX_SAFE_INTEGER)).toBe('too much credit');
  });

  it('refuses any where credits were not agreed', () => {
    const lab = new ChannelLab({ sendWindow: undefined });
    expect(lab.receive(LifeCycle.Credit, 10)).toBe('credits were not agreed');
  });

  it('is welcome to the last write after this side has ended, and of no use after that', async () => {
    const lab = new ChannelLab({ sendWindow: 10 });
    writeAll(lab, 10, 1);
    const end = outcomeOf(lab.channel.end());
    await settled();
    expect(end.state).toBe('pending');
    expect(lab.receive(LifeCycle.Credit, 1)).toBeUndefined();
    await settled();
    expect(lab.host.sent).toEqual([
      [LifeCycle.Msg, 10],
      [LifeCycle.Msg, 1],
      [LifeCycle.End, null],
    ]);
    expect(end.state).toBe('resolved');
    expect(lab.receive(LifeCycle.Credit, 10)).toBeUndefined();
    expect(lab.host.sent).toHaveLength(3);
  });
});

describe('what this side gives back', () => {
  it('is nothing before half of the window was read, then all of that', () => {
    const lab = new ChannelLab({ receiveWindow: 100 });
    for (const size of [20, 29, 1, 49]) lab.message(size);
    expect(credits(lab)).toEqual([]);
    lab.channel.poll();
    lab.channel.poll();
    expect(credits(lab)).toEqual([]);
    lab.channel.poll();
    expect(credits(lab)).toEqual([50]);
    lab.channel.poll();
    expect(credits(lab)).toEqual([50]);
    lab.message(1);
    lab.channel.poll();
    expect(credits(lab)).toEqual([50, 50]);
  });

  it('is the same whether messages wait for the reader or the reader for messages', async () => {
    const lab = new ChannelLab({ receiveWindow: 100 });
    for (let i = 0; i < 10; i++) {
      const read = lab.channel.read();
      lab.message(25);
      await read;
    }
    expect(credits(lab)).toEqual([50, 50, 50, 50, 50]);
  });

  it('costs far fewer frames than there are messages, and loses no byte', () => {
    const lab = new ChannelLab({ receiveWindow: 256 * 1024 });
    let sent = 0;
    for (let i = 0; i < 20_000; i++) {
      const size = 1 + ((i * 7919) % 500);
      sent += size;
      lab.message(size);
      lab.channel.poll();
    }
    expect(lab.channel.state).toBe('open');
    const given = credits(lab) as number[];
    expect(given.length).toBeLessThanOrEqual(Math.ceil(sent / (128 * 1024)));
    expect(given.every((credit) => credit >= 128 * 1024)).toBe(true);
    const missing = sent - given.reduce((sum, credit) => sum + credit, 0);
    expect(missing).toBeGreaterThanOrEqual(0);
    expect(missing).toBeLessThan(128 * 1024);
  });

  it('comes at once for a message larger than the window', async () => {
    const lab = new ChannelLab({ receiveWindow: 100 });
    lab.message(5000);
    await lab.channel.read();
    expect(credits(lab)).toEqual([5000]);
  });

  it('never pauses the reading of the connection', () => {
    const lab = new ChannelLab({ receiveWindow: 100_000 });
    for (let i = 0; i < 5000; i++) lab.message(1);
    expect(lab.host.pausedTimes).toBe(0);
  });

  it.each([
    ['the peer has ended', (lab: ChannelLab) => void lab.receive(LifeCycle.End)],
    ['the peer has dropped', (lab: ChannelLab) => void lab.receive(LifeCycle.Drop)],
    ['the connection is gone', (lab: ChannelLab) => lab.channel.peerGone(undefined)],
  ])('is nothing any more once %s', (_, end) => {
    const lab = new ChannelLab({ receiveWindow: 100 });
    for (let i = 0; i < 10; i++) lab.message(10);
    end(lab);
    const before = lab.host.sent.length;
    for (let i = 0; i < 10; i++) expect(lab.channel.poll()?.body).toBe(10);
    expect(lab.host.sent).toHaveLength(before);
  });

  it('goes on while only this side has ended', async () => {
    const lab = new ChannelLab({ receiveWindow: 100 });
    await lab.channel.end();
    lab.message(60);
    lab.channel.poll();
    expect(credits(lab)).toEqual([60]);
  });
});

describe('a peer that sends more than it may', () => {
  const tooMuch = 'more bytes than it had credit for';

  it('is refused beyond the window, where one message overshot it already', () => {
    const lab = new ChannelLab({ receiveWindow: 100 });
    expect([lab.message(99), lab.message(500), lab.message(1)]).toEqual([undefined, undefined, tooMuch]);
  });

  it('is refused when what it sent ahead was read, and not given back', () => {
    const lab = new ChannelLab({ receiveWindow: 100 });
    lab.message(49);
    lab.channel.poll();
    lab.message(52);
    expect(lab.message(1)).toBe(tooMuch);
  });

  it('is not refused what it was given back', () => {
    const lab = new ChannelLab({ receiveWindow: 100 });
    for (let i = 0; i < 1000; i++) {
      expect(lab.message(150)).toBeUndefined();
      lab.channel.poll();
    }
  });

  it('may send what it likes where credits were not agreed', () => {
    const lab = new ChannelLab({ receiveWindow: 100, sendWindow: undefined });
    for (let i = 0; i < 10; i++) expect(lab.message(90)).toBeUndefined();
    expect(credits(lab)).toEqual([]);
  });

  it('is refused to the byte: an empty window takes no message', () => {
    const lab = new ChannelLab({ receiveWindow: 100 });
    expect([lab.message(100), lab.message(1)]).toEqual([undefined, tooMuch]);
  });
});
