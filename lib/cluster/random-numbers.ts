/** Random numbers of a seed: xoshiro128**, on 32-bit integers only. Unlike those of `Math.random`, they cost no memory. */
export class RandomNumbers {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    let state = seed | 0;
    // splitmix32 spreads the bits of small seeds
    const word = (): number => {
      state = (state + 0x9e37_79b9) | 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97);
      return (mixed ^ (mixed >>> 15)) | 0;
    };
    this.#a = word();
    this.#b = word();
    this.#c = word();
    this.#d = word();
  }

  /** From 0 to 2^32 - 1. */
  bits(): number {
    const fivefold = Math.imul(this.#b, 5);
    const result = Math.imul((fivefold << 7) | (fivefold >>> 25), 9);
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result >>> 0;
  }

  /** From 0 to 1, 1 excluded. Bound, so that it can be given away. */
  readonly next = (): number => this.bits() / 0x1_0000_0000;

  /** A whole number from 0 to `count - 1`. */
  below(count: number): number {
    return Math.floor(this.next() * count);
  }
}
