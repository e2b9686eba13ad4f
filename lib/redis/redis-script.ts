import { createHash } from 'node:crypto';

/**
 * What the stores need of a Redis client: `call` of ioredis, on a `Redis` or a `Cluster`. The client stays yours: connect it,
 * listen to its errors, and quit it when the application has closed.
 */
export interface RedisClient {
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
}

/** A Lua script, sent in full only if Redis does not have it yet. Redis runs it as one step. */
export class RedisScript {
  readonly #sha: string;

  constructor(private readonly source: string) {
    this.#sha = createHash('sha1').update(source).digest('hex');
  }

  async run(
    redis: RedisClient,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown> {
    try {
      return await redis.call('evalsha', this.#sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
      return await redis.call('eval', this.source, keys.length, ...keys, ...args);
    }
  }
}
