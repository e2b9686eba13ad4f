const KEY = Symbol.for('nestjs-rap.copies');
const shared = globalThis as { [KEY]?: { count: number; isTold: boolean } };
const copies = (shared[KEY] ??= { count: 0, isTold: false });
copies.count += 1;

/** Warns once for each process that has loaded this package more than once, as a monorepo may. */
export function warnOfCopies(warn: (message: string) => void): void {
  if (copies.count < 2 || copies.isTold) return;
  copies.isTold = true;
  warn(
    `nestjs-rap is loaded ${copies.count} times in this process: errors are known across copies, classes of registerError, ` +
      'contexts and sessions are not. See "npm ls nestjs-rap", and make it a peer dependency of shared packages',
  );
}
