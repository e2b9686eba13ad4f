import { Resolver as NameServerCheck } from 'node:dns';
import { inspect } from 'node:util';
import { portOf } from '../cluster/static-resolver.js';
import { assertOptionsOf } from '../protocol/values/option-names.js';
import { DEFAULT_PORT } from '../protocol/server-address.js';
import { withDefaults } from '../rpc/limits.js';
import { dnsName, isIpAddress } from './dns-name.js';

/** Options of `dnsResolver`. */
export interface DnsResolverOptions {
  /**
   * The name to look up: of a Kubernetes headless service, of an SRV record such as `_rap._tcp.math.example.com`, ... The search
   * list of `/etc/resolv.conf` and `/etc/hosts` are not used: write the full name. `localhost` and IP addresses need no query.
   */
  readonly name: string;
  /** Records to ask for. Default: `A` and `AAAA`, both. `SRV` has ports and weights as well. */
  readonly type?: 'A' | 'AAAA' | 'SRV' | undefined;
  /** Port of each server. Default 9000, as Python's rap. Not for `SRV`, which has them. */
  readonly port?: number | undefined;
  /** Addresses of the name servers, with or without a port (`10.0.0.2:8600`). Default: those of the system. */
  readonly nameServers?: readonly string[] | undefined;
  /** How long a server stays in the list after answers lack it, in milliseconds. Default 60,000. */
  readonly keepMs?: number | undefined;
  /** Shortest time between queries, whatever the TTL, in milliseconds. Default 5,000; at least 1,000. */
  readonly minTtlMs?: number | undefined;
  /** Longest time between queries, whatever the TTL, in milliseconds. Default 30,000. */
  readonly maxTtlMs?: number | undefined;
  /** Time for a list, all its queries included, in milliseconds. Default 5,000, as `resolv.conf`. */
  readonly timeoutMs?: number | undefined;
  /** Most servers of the list. Default 1,000. Of more, each process takes a part of its own, and keeps to it. */
  readonly maxServers?: number | undefined;
}

export interface DnsSettings {
  readonly name: string;
  readonly types: readonly ('A' | 'AAAA')[];
  readonly isSrv: boolean;
  readonly port: number;
  readonly nameServers: readonly string[] | undefined;
  /** The name is the host: no query is needed. */
  readonly isHost: boolean;
  readonly keepMs: number;
  readonly minTtlMs: number;
  readonly maxTtlMs: number;
  readonly timeoutMs: number;
  readonly maxServers: number;
}

const NUMBERS = { keepMs: 60_000, minTtlMs: 5_000, maxTtlMs: 30_000, timeoutMs: 5_000, maxServers: 1_000 };
const OPTIONS: Readonly<Record<keyof DnsResolverOptions, unknown>> = {
  ...NUMBERS,
  name: true,
  type: true,
  port: true,
  nameServers: true,
};

/** @throws RangeError that names the option */
export function dnsSettings(options: DnsResolverOptions): DnsSettings {
  assertOptionsOf('dnsResolver', options, OPTIONS);
  const { name, type, port, nameServers, ...given } = options;
  const numbers = withDefaults('dnsResolver', given, NUMBERS);
  assertNumbers(numbers);
  if (type !== undefined && type !== 'A' && type !== 'AAAA' && type !== 'SRV')
    throw new RangeError(`dnsResolver.type must be 'A', 'AAAA' or 'SRV', got ${inspect(type)}`);
  const isSrv = type === 'SRV';
  if (isSrv && port !== undefined)
    throw new RangeError('dnsResolver.port is not for SRV records, which have ports');
  const isHost = isHostName(name);
  if (isSrv && isHost) throw new RangeError(`dnsResolver.name: ${name} cannot have SRV records`);
  return {
    ...numbers,
    name: isHost ? name : dnsName('dnsResolver.name', name),
    types: type === 'A' || type === 'AAAA' ? [type] : ['A', 'AAAA'],
    isSrv,
    isHost,
    port: port === undefined ? DEFAULT_PORT : portOf('dnsResolver.port', port),
    nameServers: checkedNameServers(nameServers),
  };
}

function isHostName(name: unknown): boolean {
  return typeof name === 'string' && (/^localhost\.?$/i.test(name) || isIpAddress(name));
}

function assertNumbers({ minTtlMs, maxTtlMs, timeoutMs, maxServers }: typeof NUMBERS): void {
  if (minTtlMs < 1_000) throw new RangeError(`dnsResolver.minTtlMs must be at least 1000, got ${minTtlMs}`);
  if (maxTtlMs < minTtlMs)
    throw new RangeError(`dnsResolver.maxTtlMs must be at least minTtlMs (${minTtlMs}), got ${maxTtlMs}`);
  if (timeoutMs < 1) throw new RangeError(`dnsResolver.timeoutMs must be at least 1, got ${timeoutMs}`);
  if (maxServers < 1) throw new RangeError(`dnsResolver.maxServers must be at least 1, got ${maxServers}`);
}

function checkedNameServers(given: unknown): readonly string[] | undefined {
  if (given === undefined) return undefined;
  if (!Array.isArray(given) || given.length === 0)
    throw new RangeError(`dnsResolver.nameServers must be a list of addresses, got ${inspect(given)}`);
  return given.map((each: unknown, index) => {
    try {
      new NameServerCheck().setServers([each as string]);
    } catch {
      throw new RangeError(
        `dnsResolver.nameServers[${index}] must be an IP address, with or without a port, got ${inspect(each)}`,
      );
    }
    return each as string;
  });
}
