import type { RecordWithTtl, SrvRecord } from 'node:dns';
import type { ServerAddress } from '../cluster/server-address.js';
import { textOf } from '../protocol/values/unknown.js';
import type { FoundServer } from './seen-servers.js';
import { stableSubset } from './stable-subset.js';

/** The queries, as `promises.Resolver` of `node:dns` has them. */
export interface NameServers {
  resolve4(name: string, options: { ttl: true }): Promise<RecordWithTtl[]>;
  resolve6(name: string, options: { ttl: true }): Promise<RecordWithTtl[]>;
  resolveSrv(name: string): Promise<SrvRecord[]>;
  /** Fails what runs. */
  cancel(): void;
}

export interface DnsQuestion {
  readonly name: string;
  readonly types: readonly ('A' | 'AAAA')[];
  readonly isSrv: boolean;
  readonly port: number;
  readonly maxServers: number;
  readonly seed: number;
}

export interface DnsAnswer {
  readonly found: readonly FoundServer[];
  /** The shortest TTL, if there are records. */
  readonly ttlMs: number | undefined;
  /** Queries without an answer, and why, if others have one. */
  readonly failed: ReadonlyMap<string, Error>;
}

/** The name does not exist, or has no such record. */
const NEGATIVE = new Set(['ENOTFOUND', 'ENODATA']);

/** SRV targets that are looked up at the same time. */
const PARALLEL = 16;

/** Weight of a record whose own is 0, beside others: "a very small chance of being selected" (RFC 2782). */
const SMALL_WEIGHT = 0.01;

interface Records {
  readonly addresses: readonly RecordWithTtl[];
  readonly error: Error | undefined;
}

/**
 * Asks once, for everything that the list needs.
 *
 * @throws Error of `node:dns` if nothing has an answer. That there are no records is an answer
 */
export async function ask(
  servers: NameServers,
  question: DnsQuestion,
  signal: AbortSignal,
): Promise<DnsAnswer> {
  const answer = question.isSrv
    ? await askSrv(servers, question, signal)
    : await askAddresses(servers, question);
  const [error] = answer.failed.values();
  if (error && answer.found.length === 0) throw error;
  return answer;
}

async function askAddresses(servers: NameServers, { name, types, port }: DnsQuestion): Promise<DnsAnswer> {
  const answers = await Promise.all(types.map((type) => addressesOf(servers, name, type)));
  const failed = new Map<string, Error>();
  answers.forEach(({ error }, i) => error && failed.set(types[i] ?? '', error));
  const found = answers.flatMap(({ addresses }, i) =>
    addresses.map(({ address }) => ({
      source: types[i] ?? '',
      address: { host: address, port, serverName: serverName(name) },
    })),
  );
  return { found, failed, ttlMs: shortest(answers.flatMap(({ addresses }) => addresses)) };
}

async function addressesOf(servers: NameServers, name: string, type: 'A' | 'AAAA'): Promise<Records> {
  try {
    const query =
      type === 'A' ? servers.resolve4(name, { ttl: true }) : servers.resolve6(name, { ttl: true });
    return { addresses: await query, error: undefined };
  } catch (error) {
    return { addresses: [], error: isNegative(error) ? undefined : (error as Error) };
  }
}

/** The groups in order of their priority, until one has an address. */
async function askSrv(servers: NameServers, question: DnsQuestion, signal: AbortSignal): Promise<DnsAnswer> {
  const records = await srvRecords(servers, question.name);
  const failed = new Map<string, Error>();
  for (const priority of [...new Set(records.map((record) => record.priority))].toSorted((a, b) => a - b)) {
    const group = records.filter((record) => record.priority === priority);
    const targets = new Map<string, readonly RecordWithTtl[]>();
    await lookUpTargets(servers, { question, signal, targets, failed, group });
    const found = foundIn(group, targets);
    if (found.length > 0) return { found, failed, ttlMs: shortest([...targets.values()].flat()) };
  }
  return { found: [], failed, ttlMs: undefined };
}

async function srvRecords(servers: NameServers, name: string): Promise<SrvRecord[]> {
  try {
    const records = await servers.resolveSrv(name);
    return records.filter(({ name: target }) => target !== '' && target !== '.'); // "no such service" in RFC 2782
  } catch (error) {
    if (isNegative(error)) return [];
    throw error;
  }
}

interface TargetSearch {
  readonly question: DnsQuestion;
  readonly signal: AbortSignal;
  readonly group: readonly SrvRecord[];
  readonly targets: Map<string, readonly RecordWithTtl[]>;
  readonly failed: Map<string, Error>;
}

async function lookUpTargets(servers: NameServers, search: TargetSearch): Promise<void> {
  const { question, signal, group, targets, failed } = search;
  const names = [...new Set(group.map(({ name }) => name))];
  const waiting = [...stableSubset(names, question.maxServers, question.seed, (name) => name)];
  const work = async (): Promise<void> => {
    for (let name = waiting.pop(); name !== undefined && !signal.aborted; name = waiting.pop()) {
      const { addresses, error } = await targetAddresses(servers, name);
      if (error) failed.set(name, error);
      targets.set(name, addresses);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
}

/** IPv6 only without IPv4: both would be the same server twice. */
async function targetAddresses(servers: NameServers, name: string): Promise<Records> {
  const ipv4 = await addressesOf(servers, name, 'A');
  if (ipv4.addresses.length > 0) return ipv4;
  const ipv6 = await addressesOf(servers, name, 'AAAA');
  return ipv6.addresses.length > 0 ? ipv6 : { addresses: [], error: ipv4.error ?? ipv6.error };
}

function foundIn(
  group: readonly SrvRecord[],
  targets: ReadonlyMap<string, readonly RecordWithTtl[]>,
): FoundServer[] {
  const isWeighted = group.some(({ weight }) => weight > 0);
  return group.flatMap(({ name, port, weight }) => {
    const addresses = targets.get(name) ?? [];
    const whole = weight > 0 ? weight : isWeighted ? SMALL_WEIGHT : 1;
    return addresses.map(({ address }) => ({
      source: name,
      address: { host: address, port, serverName: serverName(name), weight: whole / addresses.length },
    }));
  });
}

function serverName(name: string): ServerAddress['serverName'] {
  return name.replace(/\.$/, ''); // certificates have no final dot
}

function shortest(records: readonly RecordWithTtl[]): number | undefined {
  if (records.length === 0) return undefined;
  return 1_000 * records.reduce((least, { ttl }) => Math.min(least, ttl), Infinity);
}

function isNegative(error: unknown): boolean {
  return NEGATIVE.has((error as NodeJS.ErrnoException).code ?? '');
}

/** Why a query failed, for a message. */
export function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  return code ?? textOf(error, 200);
}
