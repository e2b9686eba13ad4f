import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { timers } from '../../../lib/rpc/time/system-clock.js';
import { testScope } from '../../helpers/async.js';
import { RawSocket, type RawFrame } from '../../helpers/raw-socket.js';

const scope = testScope();
const CALLS = 64;

@Controller()
class Echo {
  @MessagePattern('echo') echo(body: unknown): unknown {
    return body;
  }
}

it('a call costs a server one look at the clock, and not one for each thing that needs the time', async () => {
  const { port } = await scope.serve([Echo]);
  const raw = await RawSocket.open(port);
  scope.defer(() => raw.socket.destroy());
  const calls = Array.from({ length: CALLS }, (_, i): RawFrame => [
    101,
    5 + 2 * i,
    { target: '/default/echo' },
    i,
  ]);
  const { now, setTimeout } = timers;
  let looks = 0;
  let isTimer = false;
  // time stands still: no turn ends early because the machine is slow, and the looks of a turn count once
  const stopped = now();
  timers.now = () => {
    if (!isTimer) looks += 1;
    return stopped;
  };
  // timers look at the clock as often as time passes, and not as often as calls come
  timers.setTimeout = ((work: () => void, ms: number) =>
    setTimeout(() => {
      isTimer = true;
      work();
      isTimer = false;
    }, ms)) as typeof setTimeout;
  try {
    raw.send(...calls);
    for (const [, id, , body] of calls) expect((await raw.next((frame) => frame[1] === id))[3]).toBe(body);
  } finally {
    Object.assign(timers, { now, setTimeout });
  }
  // beside those of chunks and turns
  expect(looks).toBeGreaterThanOrEqual(CALLS);
  expect(looks).toBeLessThan(CALLS * 1.75);
});
