import { connectRaw, openRaw, until } from './fault-scope.js';
import type { TestApp } from './app.js';
import type { RawSocket } from './raw-socket.js';

/** rap's reasons for a connection that is not let in. */
export const EXCESS = 'Currently exceeding the maximum number of connections limit';
export const EXCESS_OF_ADDRESS = 'Currently exceeding the maximum number of ip conn limit';
export const NOT_ALLOWED = 'not allowed to access';

/** A connection is told why it is not let in, and is gone. */
export async function isRefused(app: TestApp, reason = EXCESS, localAddress?: string): Promise<void> {
  const raw = await connectRaw(app, localAddress);
  expect(await raw.closeReason()).toBe(reason);
  await raw.waitClosed(); // though it does not close by itself
}

/** Connects until one is refused for this reason. */
export async function refusesInTheEnd(app: TestApp, reason = EXCESS): Promise<void> {
  await untilOne('a connection is refused', async () => {
    const raw = await connectRaw(app);
    return (await raw.closeReason(500)) === reason || undefined;
  });
}

/** Connects until it is let in. */
export function letIn(app: TestApp): Promise<RawSocket> {
  return untilOne('a connection is let in', () => openRaw(app));
}

/** Tries one after the other until one succeeds. */
async function untilOne<T>(what: string, attempt: () => Promise<T | undefined>): Promise<T> {
  let result: T | undefined;
  let trying = false;
  await until(() => {
    if (result === undefined && !trying) {
      trying = true;
      attempt()
        .then((value) => (result = value))
        .catch(() => {})
        .finally(() => (trying = false));
    }
    return result !== undefined;
  }, what);
  return result as T;
}
