import { inspect } from 'node:util';
import { withDefaults } from '../rpc/limits.js';

/** How to reach etcd, and which service is meant. */
export interface EtcdOptions {
  /** URLs of the members, such as `http://10.0.0.5:2379`. If one does not answer, the next is asked. */
  readonly endpoints: readonly string[];
  /** Name of the service: anything without `/`. */
  readonly service: string;
  /** What the keys of all services begin with. Default `/rap/`. */
  readonly prefix?: string | undefined;
  /** For an etcd with authentication. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Time for an answer of one member, in milliseconds. Default 3,000. */
  readonly timeoutMs?: number | undefined;
  /** Default: that of Node. One of undici, with a dispatcher, can show client certificates and trust a CA of your own. */
  readonly fetch?: typeof fetch | undefined;
}

export interface EtcdSettings {
  readonly endpoints: readonly string[];
  readonly service: string;
  /** What all keys of the service, and no others, begin with. */
  readonly servicePrefix: string;
  readonly credentials: { readonly name: string; readonly password: string } | undefined;
  readonly timeoutMs: number;
  readonly fetch: typeof fetch;
}

const DEFAULT_PREFIX = '/rap/';
const DEFAULT_TIMEOUT_MS = 3_000;
// eslint-disable-next-line no-control-regex -- they would make keys that nobody can read
const BAD_IN_SERVICE = /[/\x00-\x1f\x7f]/;

/** @throws RangeError that names the option */
export function etcdSettings(what: string, options: EtcdOptions): EtcdSettings {
  const { endpoints, service, prefix = DEFAULT_PREFIX, username, password, timeoutMs } = options;
  if (typeof service !== 'string' || service === '' || service.length > 200 || BAD_IN_SERVICE.test(service))
    throw new RangeError(`${what}.service must be a name without "/", got ${inspect(service)}`);
  if (typeof prefix !== 'string') throw new RangeError(`${what}.prefix must be text, got ${inspect(prefix)}`);
  if ((username === undefined) !== (password === undefined))
    throw new RangeError(`${what}: username and password belong together`);
  for (const [name, value] of Object.entries({ username, password }))
    if (value !== undefined && typeof value !== 'string')
      throw new RangeError(
        `${what}.${name} must be text, got ${name === 'password' ? typeof value : inspect(value)}`,
      );
  if (options.fetch !== undefined && typeof options.fetch !== 'function')
    throw new RangeError(`${what}.fetch must be a function, got ${inspect(options.fetch)}`);
  const times = withDefaults(what, { timeoutMs }, { timeoutMs: DEFAULT_TIMEOUT_MS });
  if (times.timeoutMs < 1) throw new RangeError(`${what}.timeoutMs must be at least 1, got ${timeoutMs}`);
  return {
    endpoints: checkedEndpoints(`${what}.endpoints`, endpoints),
    service,
    servicePrefix: `${prefix}${service}/`,
    credentials: username === undefined || password === undefined ? undefined : { name: username, password },
    timeoutMs: times.timeoutMs,
    fetch: options.fetch ?? ((...args) => globalThis.fetch(...args)),
  };
}

/** Names of {@link EtcdOptions}. */
export const ETCD_OPTIONS: Readonly<Record<keyof Required<EtcdOptions>, true>> = {
  endpoints: true,
  service: true,
  prefix: true,
  username: true,
  password: true,
  timeoutMs: true,
  fetch: true,
};

function checkedEndpoints(what: string, given: unknown): readonly string[] {
  if (!Array.isArray(given) || given.length === 0)
    throw new RangeError(`${what} must be a list of URLs, got ${inspect(given)}`);
  return given.map((each: unknown, index) => {
    const url = typeof each === 'string' && URL.canParse(each) ? new URL(each) : undefined;
    if (!url || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '')
      throw new RangeError(
        `${what}[${index}] must be a URL such as http://10.0.0.5:2379, got ${inspect(each)}`,
      );
    if (url.username !== '' || url.password !== '')
      throw new RangeError(`${what}[${index}] holds credentials: use the options username and password`);
    return url.href.replace(/\/$/, '');
  });
}
