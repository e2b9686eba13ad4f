import { turn } from '../helpers/fake-socket.js';
import { KIB, clock, many, open, range } from './fake-link.js';

describe('end', () => {
  it('writes what was sent, in order, and then the end', async () => {
    const { socket, link } = open();
    link.send(101, 3, null, 1);
    link.send(101, 5, null, Buffer.alloc(200 * KIB));
    link.end();
    await turn();
    expect(socket.finished).toBe(true);
    expect(socket.written.subarray(0, 5).toString('hex')).toBe('9465038001');
    expect(socket.written.length).toBeGreaterThan(200 * KIB);
  });

  it('hands on no frame any more, and reads on so that the peer is not reset', async () => {
    const { socket, link, receiver } = open();
    link.pause();
    await socket.arrive(many(3, 3));
    link.end();
    link.resume();
    await socket.arrive(many(9, 3));
    expect(receiver.frames).toEqual([]);
    expect(socket.isPaused()).toBe(false);
    expect(socket.readableLength).toBe(0);
  });

  it('gives a peer that does not close 100 ms', async () => {
    const { socket, link, receiver } = open();
    link.end();
    await turn();
    clock.advance(99);
    expect(socket.destroyed).toBe(false);
    clock.advance(1);
    await turn();
    expect(socket.destroyed).toBe(true);
    expect(receiver.log).toEqual(['close']);
  });

  it('gives unsent bytes the time of a stall', async () => {
    const { socket, link } = open({ writeStallTimeoutMs: 10_000 });
    socket.block();
    link.send(101, 3, null, Buffer.alloc(100 * KIB));
    link.end();
    await turn();
    clock.advance(9_000);
    expect(socket.destroyed).toBe(false);
    clock.advance(1_100);
    await turn();
    expect(socket.destroyed).toBe(true);
  });

  it('gives a peer that does not close 100 ms, too, if the last bytes are taken only now', async () => {
    const { socket, link } = open({ writeStallTimeoutMs: 10_000 });
    socket.block();
    link.send(101, 3, null, 1);
    await turn();
    link.end();
    socket.unblock();
    await turn();
    clock.advance(100);
    await turn();
    expect(socket.destroyed).toBe(true);
  });

  it('may be called twice, and before destroy', async () => {
    const { socket, link, receiver } = open();
    link.end();
    link.end();
    link.destroy();
    link.destroy();
    await turn();
    expect(socket.destroyed).toBe(true);
    expect(receiver.log).toEqual(['close']);
    expect(clock.pending).toBe(0);
  });
});

describe('the end', () => {
  it('of a stalled connection: destroyed, and the reason told', async () => {
    const { socket, link, receiver } = open({ writeStallTimeoutMs: 10_000 });
    socket.block();
    link.send(101, 3, null, 1);
    await turn();
    clock.advance(10_000);
    await turn();
    expect(receiver.log).toEqual(['close']);
    expect(receiver.error?.message).toContain('writeStallTimeoutMs');
  });

  it('by an error of the socket is told with it, once, and nothing after', async () => {
    const { socket, receiver } = open();
    socket.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
    await turn();
    expect(receiver.error).toMatchObject({ code: 'ECONNRESET' });
    expect(receiver.log).toEqual(['close']);
  });

  it('of the peer comes after the frames that it had sent', async () => {
    const { socket, receiver } = open();
    receiver.react = () => clock.advance(5);
    socket.once('end', () => socket.destroy()); // as a socket of Node that allows no half-open connection
    socket.push(many(3, 250));
    socket.push(null);
    while (receiver.log.at(-1) !== 'close') await turn();
    expect(receiver.ids).toEqual(range(3, 250));
  });

  it('of the peer comes after the frames that it had sent to a slow reader, too', async () => {
    const { socket, link, receiver } = open();
    receiver.react = ([, id]) => {
      if (id === 5) link.pause();
    };
    socket.push(many(3, 20));
    await turn();
    socket.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
    while (receiver.log.at(-1) !== 'close') await turn();
    expect(receiver.ids).toEqual(range(3, 20));
    expect(receiver.error).toMatchObject({ code: 'ECONNRESET' });
  });

  it('of the peer comes at once if this side ends the connection over one of these frames', async () => {
    const { socket, link, receiver } = open();
    receiver.react = ([, id]) => {
      clock.advance(5);
      if (id === 12) link.end();
    };
    socket.push(many(3, 20));
    socket.push(null);
    while (receiver.log.at(-1) !== 'close') await turn();
    expect(receiver.ids).toEqual(range(3, 10));
  });

  it('drops what waited to be sent', async () => {
    const { socket, link } = open();
    link.send(101, 3, null, 1);
    link.destroy();
    await turn();
    expect(socket.writes).toEqual([]);
  });
});
