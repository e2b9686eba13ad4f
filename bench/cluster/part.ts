/** A section of the report: text only. */
export interface Section {
  readonly name: string;
  readonly title: string;
  readonly shows: string;
  readonly headings: readonly string[];
  readonly lines: readonly (readonly string[])[];
  readonly bounds: readonly CheckedBound[];
  /** An SVG. */
  readonly picture?: string | undefined;
}

/** What makes a section. */
export interface Part {
  readonly name: string;
  /** Takes too long for each run of the tests. */
  readonly isLarge: boolean;
  /** Takes too long for the report: runs only if it is asked for by name. */
  readonly isLong?: boolean;
  run(): Section;
}

/** What must hold for a value. */
export interface Limit {
  /** In the words of the report. */
  readonly what: string;
  readonly digits: number;
  readonly atMost?: number;
  readonly atLeast?: number;
  /** Why it is not kept yet; the report says it. */
  readonly missedBecause?: string;
}

/** The cells of a bound in the report. */
export interface CheckedBound {
  readonly what: string;
  readonly measured: string;
  readonly limit: string;
  readonly isKept: boolean;
  readonly missedBecause: string | undefined;
}

export function checked(bound: Limit, value: number): CheckedBound {
  const { what, digits, atMost = Infinity, atLeast = -Infinity, missedBecause } = bound;
  return {
    what,
    measured: value.toFixed(digits),
    limit: atMost === Infinity ? `>= ${atLeast}` : `<= ${atMost}`,
    isKept: value <= atMost && value >= atLeast,
    missedBecause,
  };
}

/** Kept, or missed for a reason that the report gives; a reason for a bound that is kept is out of date. */
export function isAsSaid({ isKept, missedBecause }: CheckedBound): boolean {
  return isKept === (missedBecause === undefined);
}
