import * as fc from 'fast-check';
import { STEPS, type Step } from '../../helpers/channel/channel-end.js';
import type { Processing } from '../../helpers/channel/channel-processors.js';
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
  process: 30,
  cut: 0.3,
};

/** Sizes around what a window, and the mark of the connection, make a difference to. */
const amount = fc.constantFrom(0, 1, 2, 7, 30, 90, 250, 600);

function stepsOf(processing: Processing): fc.Arbitrary<Step> {
  const kinds = STEPS.filter((kind) => kind !== 'process' || processing === 'later');
  const weighted = kinds.map((kind) => ({
    arbitrary: fc.constant(kind),
    weight: Math.ceil(WEIGHTS[kind] * 10),
  }));
  return fc.tuple(fc.oneof(...weighted), fc.nat(2), fc.boolean(), amount);
}

function setups(processing: Processing, without: readonly string[]): fc.Arbitrary<Setup> {
  return fc.record({
    without: fc.constant(without),
    window: fc.constantFrom(1, 60, 250, 1000, 100_000),
    processing: fc.constant(processing),
    talks: fc.array(fc.constantFrom('channel', 'channel', 'reply'), { minLength: 1, maxLength: 3 }),
    steps: fc.array(stepsOf(processing), { maxLength: 60, size: 'max' }),
    endings: fc.array(fc.nat(11), { minLength: 3, maxLength: 3 }),
  });
}

const EXTENSIONS = ['credit', 'half_close', 'fast_open'] as const;
const SUBSETS = Array.from({ length: 8 }, (_, bits) => EXTENSIONS.filter((_name, i) => (bits >> i) & 1));

describe.each([
  ['without processors', 'none', RUNS],
  ['with processors that answer at once', 'at once', Math.ceil(RUNS / 4)],
  ['with processors that answer later', 'later', Math.ceil(RUNS / 4)],
] as const)('channels between two peers, whatever happens, %s', (_how, processing, numRuns) => {
  it.each(SUBSETS.map((without) => [without.join(', ') || 'nothing', without] as const))(
    'lose, double and reorder nothing, and leave nobody waiting, without %s',
    async (_, without) => {
      await fc.assert(
        fc.asyncProperty(setups(processing, without), (setup) => new ChannelScenario(setup).run()),
        { numRuns },
      );
    },
    60_000,
  );
});
