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
 * A promise whose failure ends no process where nobody has awaited it: a peer could cause one at will. Whether somebody
 * has is known by its `then`, which `await` calls as well.
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
 * What `source` resolves to, or rejects with as an error of rap, for somebody who need not wait for it. Where nobody does,
 * the failure goes to the log, in bounds and once for each `owner`, which is closed with it.
 */
export function forgettable<T>(
  source: Promise<T>,
  what: string,
  owner?: { errorOf(fault: unknown): unknown; close(error: unknown): void },
): Promise<T> {
  const promise: Forgettable<T> = new Forgettable((resolve) => {
    source.then(resolve, (fault: unknown) => {
      const error = owner ? owner.errorOf(fault) : toRapError(fault);
      // a second one who listens would hide from V8 who waits
      if (!promise.isAwaited) void Promise.prototype.then.call(promise, undefined, () => {});
      resolve(rejection(error));
      // Node, too, looks after all that is due first
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
