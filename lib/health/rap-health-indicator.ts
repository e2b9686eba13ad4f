import { inspect } from 'node:util';
import { type HealthTarget, isClient, isServer, stateOf } from './target-state.js';

/** Options of `RapHealthIndicator.check`. */
export interface RapHealthIndicatorOptions {
  /**
   * What a server or client that works, but not well, is reported as. Terminus before 12 does not know `degraded`, and would leave
   * the indicator out: use `up` or `down` there. Default `degraded`.
   */
  degradedAs?: 'degraded' | 'up' | 'down' | undefined;
}

/** What Terminus takes as the result of an indicator. */
export type RapHealthIndicatorResult<Key extends string = string> = Record<
  Key,
  { readonly status: 'up' | 'degraded' | 'down' } & Record<string, unknown>
>;

/**
 * Tells Terminus the state of a server or a client. It asks those that exist, opens no connection, sends nothing, and answers at once.
 *
 *     constructor(private readonly health: HealthCheckService, private readonly rap: RapHealthIndicator) {}
 *
 *     @Get('health') @HealthCheck()
 *     check() {
 *       return this.health.check([() => this.rap.check('orders', this.orders), () => this.rap.check('rap', this.server)]);
 *     }
 */
export class RapHealthIndicator {
  /**
   * - a server is `up` while it listens, `degraded` while it refuses calls because of its limits, `down` when it drains
   * - a client is `up` if it is connected, `degraded` if calls wait to be sent or some of its servers do not take calls, else `down`
   *
   * @param key name of the result
   * @throws TypeError if it gets neither a server nor a client
   */
  check<const Key extends string>(
    key: Key,
    target: HealthTarget,
    { degradedAs = 'degraded' }: RapHealthIndicatorOptions = {},
  ): RapHealthIndicatorResult<Key> {
    if (!isServer(target) && !isClient(target))
      throw new TypeError(
        `RapHealthIndicator: ${inspect(key)} needs a RapServer or a RapClient, got ${inspect(target, { depth: 0 })}`,
      );
    const { status, message, data } = stateOf(target);
    const detail = {
      status: status === 'degraded' ? degradedAs : status,
      ...(message === undefined ? {} : { message }),
      ...data,
    };
    return { [key]: detail } as RapHealthIndicatorResult<Key>;
  }
}
