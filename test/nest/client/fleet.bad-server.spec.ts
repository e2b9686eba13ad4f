import { setTimeout as later } from 'node:timers/promises';
import { type RapClient, RapError } from '../../../lib/index.js';
import { TestFleet } from './test-fleet.js';

const CALLS = 600;

let fleet: TestFleet;
beforeEach(async () => {
  fleet = await TestFleet.start(3);
});
afterEach(() => fleet.close());

/** Makes many calls, ten at a time. Returns how many have failed. */
async function load(client: RapClient, idempotent: boolean): Promise<number> {
  let failed = 0;
  let left = CALLS;
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      try {
        await client.call('name', undefined, { idempotent });
      } catch {
        failed += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: 10 }, worker));
  return failed;
}

/** Calls that were sent to each server. */
function picks(client: RapClient): number[] {
  return client.stats().endpoints?.map((each) => each.picks) ?? [];
}

function isBroken(): never {
  throw new RapError('broken', { status: 500 });
}

describe.each([false, true])('of three servers; calls idempotent: %j', (idempotent) => {
  it('one that answers only errors gets few calls, and the others the rest', async () => {
    const [work] = fleet.works;
    if (work) work.fault = isBroken;
    const client = await fleet.ready();
    const failed = await load(client, idempotent);
    const [bad = NaN, ...others] = picks(client);
    expect(bad).toBeGreaterThan(0);
    expect(bad).toBeLessThan(CALLS / 6);
    for (const each of others) expect(each).toBeGreaterThan(CALLS / 10);
    expect(failed).toBe(idempotent ? 0 : bad);
    expect(client.stats().endpoints?.map(({ failures }) => failures)).toEqual([bad, 0, 0]);
  });

  it('one that gets slower and slower gets few calls, and the others the rest', async () => {
    const [work] = fleet.works;
    let ms = 0;
    if (work) work.fault = () => later((ms += 5), 's0');
    const client = await fleet.ready();
    const failed = await load(client, idempotent);
    const [bad = NaN, ...others] = picks(client);
    expect(failed).toBe(0);
    expect(bad).toBeGreaterThan(0);
    expect(bad).toBeLessThan(CALLS / 6);
    for (const each of others) expect(each).toBeGreaterThan(CALLS / 10);
  });
});
