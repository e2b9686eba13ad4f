/** Places ratios on a logarithmic axis, so that half as fast is as far from 1 as twice as fast. */
export interface LogScale {
  ticks: number[];
  /** 0 at the lowest, 1 at the highest end. */
  position(value: number): number;
}

/** Space beyond the outermost values for their labels. */
const HEADROOM = 1.7;

/** A scale from one round number to another that holds 1 and all values. */
export function logScale(values: readonly number[]): LogScale {
  const low = roundNumberBelow(Math.min(1, ...values) / HEADROOM);
  const high = 1 / roundNumberBelow(1 / (Math.max(1, ...values) * HEADROOM));
  const span = Math.log(high / low);
  return {
    ticks: roundNumbers().filter((tick) => tick >= low * 0.999 && tick <= high * 1.001),
    position: (value) => Math.log(value / low) / span,
  };
}

/** 1, 2 and 5 times each power of ten, far below and far above all expected ratios. */
function roundNumbers(): number[] {
  const exponents = Array.from({ length: 13 }, (_, i) => i - 6);
  return exponents.flatMap((exponent) => [1, 2, 5].map((digit) => Number(`${digit}e${exponent}`)));
}

function roundNumberBelow(value: number): number {
  return roundNumbers().findLast((each) => each <= value * 1.001) ?? value;
}
