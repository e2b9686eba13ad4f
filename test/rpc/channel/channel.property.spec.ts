import * as fc from 'fast-check';
import { STEPS, type Step } from '../../helpers/channel/channel-end.js';
import { ChannelScenario, type Setup } from '../../helpers/channel/channel-scenario.js';

const RUNS = Number(process.env['CHANNEL_RUNS'] ?? 1300);

/** How often a step comes, in proportion. Most of a scenario is messages and their delivery. */
const WEIGHTS: Readonly<Record<Step[0], number>> = {
  write: 30,
  tryWrite: 5,
  unsendable: 2,
  read: 15,
  leave: 3,
  poll: 10,
  end: 2,
  close: 1,
  fail: 1,
  cancel: 1,
  accept: 8,
  abandon: 1,
  deliver: 30,
  cut: 0.3,
};

const kind = fc.oneof(
  ...STEPS.map((step) => ({ arbitrary: fc.constant(step), weight: Math.ceil(WEIGHTS[step] * 10) })),
);
/** Sizes around what a window, and the mark of the connection, make a difference to. */
const amount = fc.constantFrom(0, 1, 2, 7, 30, 90, 250, 600);
const step: fc.Arbitrary<Step> = fc.tuple(kind, fc.nat(2), fc.boolean(), amount);

function setups(without: readonly string[]): fc.Arbitrary<Setup> {
  return fc.record({
    without: fc.constant(without),
    window: fc.constantFrom(1, 60, 250, 1000, 100_000),
    talks: fc.array(fc.constantFrom('channel', 'channel', 'reply'), { minLength: 1, maxLength: 3 }),
    steps: fc.array(step, { maxLength: 60, size: 'max' }),
    endings: fc.array(fc.nat(11), { minLength: 3, maxLength: 3 }),
  });
}

const EXTENSIONS = ['credit', 'half_close', 'fast_open'] as const;
const SUBSETS = Array.from({ length: 8 }, (_, bits) => EXTENSIONS.filter((_name, i) => (bits >> i) & 1));

describe('channels between two peers, whatever happens', () => {
  it.each(SUBSETS.map((without) => [without.join(', ') || 'nothing', without] as const))(
    'lose, double and reorder nothing, and leave nobody waiting, without %s',
    async (_, without) => {
      await fc.assert(
        fc.asyncProperty(setups(without), (setup) => new ChannelScenario(setup).run()),
        { numRuns: RUNS },
      );
    },
    60_000,
  );
});
