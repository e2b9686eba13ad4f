import { Fault } from '../../../lib/protocol/fault.js';
import { LifeCycle } from '../../../lib/protocol/life-cycle.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import { ChannelLab } from '../../helpers/channel/fake-channel-host.js';

const fault = new Fault({ status: 429, message: 'too many', sent: 'no' });

/** What the channel looked like at each callback. */
function watch(channel: Channel, on: 'whenDeclared' | 'whenReadable'): unknown[] {
  const seen: unknown[] = [];
  channel[on](() => seen.push(channel.fault ?? channel.state));
  return seen;
}

describe('whenDeclared', () => {
  it('calls back once, with the answer to DECLARE', () => {
    const lab = new ChannelLab({ state: 'declaring' });
    const seen = watch(lab.channel, 'whenDeclared');
    expect(seen).toEqual([]);
    lab.receive(LifeCycle.Declare);
    lab.channel.peerFailed(fault, {}, null, 1);
    expect(seen).toEqual(['open']);
  });

  it('calls back when the channel is closed before, by either side', () => {
    const ends: ((channel: Channel) => void)[] = [
      (channel) => channel.peerFailed(fault, {}, null, 1),
      (channel) => channel.lost(fault),
      (channel) => channel.cancel(fault),
    ];
    for (const end of ends) {
      const { channel } = new ChannelLab({ state: 'declaring' });
      const seen = watch(channel, 'whenDeclared');
      end(channel);
      expect(seen).toEqual([fault]);
    }
  });

  it('calls back at once if it is answered already, or closed', () => {
    const { channel } = new ChannelLab();
    expect(watch(channel, 'whenDeclared')).toEqual(['open']);
    channel.close();
    expect(watch(channel, 'whenDeclared')).toEqual(['closed']);
  });
});

describe('whenReadable', () => {
  it('calls back once, with the first message, which stays to be read', () => {
    const lab = new ChannelLab();
    const seen = watch(lab.channel, 'whenReadable');
    lab.message(1);
    lab.message(2);
    expect(seen).toEqual(['open']);
    expect([lab.channel.poll()?.body, lab.channel.poll()?.body]).toEqual([1, 2]);
  });

  it('calls back when none can come any more', () => {
    const ends: [(lab: ChannelLab) => void, unknown][] = [
      [(lab) => lab.receive(LifeCycle.End), 'peerEnded'],
      [(lab) => lab.receive(LifeCycle.Drop), 'closed'],
      [({ channel }) => channel.peerFailed(fault, {}, null, 1), fault],
      [({ channel }) => channel.cancel(), 'closed'],
    ];
    for (const [end, expected] of ends) {
      const lab = new ChannelLab();
      const seen = watch(lab.channel, 'whenReadable');
      end(lab);
      expect(seen).toEqual([expected]);
    }
  });

  it('calls back at once if a message waits, or none can come', () => {
    const lab = new ChannelLab();
    lab.message(1);
    expect(watch(lab.channel, 'whenReadable')).toEqual(['open']);
    lab.channel.close();
    expect(watch(lab.channel, 'whenReadable')).toEqual(['closed']);
  });

  it('does not call back for a message that a reader takes', () => {
    const lab = new ChannelLab();
    const seen = watch(lab.channel, 'whenReadable');
    void lab.channel.read();
    lab.message(1);
    expect(seen).toEqual([]);
    lab.message(2);
    expect(seen).toEqual(['open']);
    lab.channel.close();
  });
});
