import { Logger } from '@nestjs/common';
import { setImmediate } from '../../net/runtime.js';
import { textOf } from '../../protocol/values/unknown.js';
import { peerLog } from '../lifecycle/bounded-log.js';
import { toRapError } from './to-rap-error.js';
import { rejection } from './failed-call.js';

const logger = new Logger('Rap');

/** Characters of an error's text in the log. */
const MAX_LOGGED = 1024;

const told = new WeakSet<object>();

/**
 * A promise whose rejection does not end the process if it was never awaited: a peer could cause that at any time. A call of
 * `then`, which `await` makes as well, tells that it was awaited.
 */
class Forgettable<T> extends Promise<T> {
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  isAwaited = false;

  // oxlint-disable-next-line unicorn/no-thenable -- it is a promise
  override then<A = T, B = never>(
    onResolved?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.isAwaited = true;
    return super.then(onResolved, onRejected);
  }
}

/**
 * Resolves and rejects as `source` does, with an error of rap, for a caller that need not wait. If nothing awaits it, the
 * failure goes to the log, within its bounds and once for each `owner`, which is closed with the error.
 */
export function forgettable<T>(
  source: Promise<T>,
  what: string,
  owner?: { errorOf(fault: unknown): unknown; close(error: unknown): void },
): Promise<T> {
  const promise: Forgettable<T> = new Forgettable((resolve) => {
    source.then(resolve, (fault: unknown) => {
      const error = owner ? owner.errorOf(fault) : toRapError(fault);
      // a second listener would hide from V8 what waits
      if (!promise.isAwaited) void Promise.prototype.then.call(promise, undefined, () => {});
      resolve(rejection(error));
      // Node, too, checks after all pending microtasks
      setImmediate(() => {
        if (promise.isAwaited) return;
        if (!(owner && told.has(owner)))
          peerLog.write(
            (line) => logger.warn(line),
            () => `${what} failed, and nobody awaits it: ${textOf(error, MAX_LOGGED)}`,
          );
        if (!owner) return;
        told.add(owner);
        owner.close(error);
      });
    });
  });
  return promise;
}
