import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { DEFAULT_LIMITS, resolveLimits, withDefaults, type RapLimits } from '../../lib/rpc/limits.js';

it('fills in what is not given, or undefined', () => {
  expect(resolveLimits(undefined)).toEqual(DEFAULT_LIMITS);
  expect(resolveLimits({ maxInFlight: undefined })).toEqual(DEFAULT_LIMITS);
  expect(resolveLimits({ maxInFlight: 5 })).toEqual({ ...DEFAULT_LIMITS, maxInFlight: 5 });
});

it('has the defaults that are documented', () => {
  expect(DEFAULT_LIMITS).toMatchObject({
    maxFrameBytes: 4_194_304,
    maxFrameBytesBeforeDeclare: 16_384,
    maxItemsBeforeDeclare: 1024,
    maxDepthBeforeDeclare: 16,
    maxConnections: 1024,
    maxConnectionsPerAddress: 128,
    maxInFlight: 256,
    maxInFlightTotal: 8192,
    sendBufferSoftBytes: 1_048_576,
    sendBufferHardBytes: 16_777_216,
    pingBurst: 60,
    pingsPerSecond: 10,
  });
});

it('keeps room for four frames below the hard send limit', () => {
  expect(resolveLimits({ maxFrameBytes: 10_000_000 }).sendBufferHardBytes).toBe(40_000_000);
  expect(resolveLimits({ sendBufferHardBytes: 1 }).sendBufferHardBytes).toBe(16_777_216);
});

it.each([[NaN], [-1], ['5'], [null], [{}], [5n]])('refuses %p, and names the option', (value: unknown) => {
  expect(() => resolveLimits({ maxInFlight: value } as never)).toThrow(RangeError);
  expect(() => resolveLimits({ maxInFlight: value } as never)).toThrow(/limits\.maxInFlight/);
});

it('refuses an option that is none', () => {
  for (const name of ['maxInflight', 'toString', 'constructor']) {
    expect(() => withDefaults('limits', { [name]: 5 }, DEFAULT_LIMITS)).toThrow(
      `limits.${name} is not an option`,
    );
  }
});

it.each(Object.keys(DEFAULT_LIMITS))('takes no limit %s that breaks the first connection', (name) => {
  for (const value of [Infinity, 1.5]) {
    let limits: RapLimits;
    try {
      limits = resolveLimits({ [name]: value });
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
      continue;
    }
    expect(() => new FrameDecoder(limits)).not.toThrow();
  }
});
