import { Attempt } from '../../../lib/nest/client/calls/client-attempt.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import { FakeClock } from '../../helpers/fake-clock.js';
import { ChannelLab } from '../../helpers/channel/fake-channel-host.js';

it('the time for one answer does not end a stream that has begun: it has its own, or none', () => {
  const rejected: unknown[] = [];
  const streams: Channel[] = [];
  const outcome = {
    resolve: () => {},
    reject: (error: unknown) => rejected.push(error),
    stream: (channel: Channel) => streams.push(channel),
  };
  const attempt = new Attempt(
    outcome,
    { route: { target: '/default/x' } as never, timeoutMs: 10, onHeader: undefined },
    'server:9000',
    new FakeClock(),
  );
  const { channel } = new ChannelLab();
  attempt.stream?.(channel);
  attempt.timeOut({ target: '/default/x', timeoutMs: 10 });

  expect([rejected, streams, channel.isClosed]).toEqual([[], [channel], false]);
});
