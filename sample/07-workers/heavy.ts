/** Keeps a core busy for this time, like a password hash, an image or a report. */
export function burn({ ms }: { ms: number }): number {
  const until = performance.now() + ms;
  let primes = 0;
  for (let n = 2; performance.now() < until; n++) if (isPrime(n)) primes += 1;
  return primes;
}

function isPrime(n: number): boolean {
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false;
  return true;
}
