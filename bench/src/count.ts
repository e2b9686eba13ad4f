/** The stream of the benchmarks, as every peer's handler makes it. */
export async function* countUp(n: number): AsyncGenerator<number> {
  for (let i = 0; i < n; i++) yield i;
}
