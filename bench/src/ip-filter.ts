import { BlockList } from 'node:net';
import { IpFilterMiddleware, type RapConnection } from 'nestjs-rap';
import { median } from './rows.js';
import { table } from './table.js';

/** Cost of a filter with N ranges. */
export interface IpFilterRow {
  family: string;
  ranges: number;
  /** CPU time that it adds to a connection, in microseconds. */
  connectionUs: number;
  /** The same look-up in Node's `net.BlockList`. */
  blockListUs: number;
}

const RANGES = [100, 10_000];
const REPETITIONS = 5;
const CONNECTIONS = 10_000;

export function measureIpFilter(): IpFilterRow[] {
  return [
    ...RANGES.map((ranges) =>
      measure(
        'IPv4',
        ranges,
        (i) => `10.${i >> 8}.${i & 255}.0/24`,
        (i) => `192.168.${i & 15}.${i & 255}`,
      ),
    ),
    ...RANGES.map((ranges) =>
      measure(
        'IPv6',
        ranges,
        (i) => `2001:${i.toString(16)}::/48`,
        (i) => `2a01:4f8::${(i & 255).toString(16)}`,
      ),
    ),
  ];
}

export function ipFilterReport(rows: readonly IpFilterRow[]): string {
  const headings = ['addresses', 'ranges', 'us a connection', 'net.BlockList, us'];
  return table(
    headings,
    rows.map(({ family, ranges, connectionUs, blockListUs }) => [
      family,
      String(ranges),
      connectionUs.toFixed(1),
      blockListUs.toFixed(1),
    ]),
  );
}

/** None of the addresses is on the list, so that all of it is searched. */
function measure(
  family: 'IPv4' | 'IPv6',
  count: number,
  rangeOf: (index: number) => string,
  addressOf: (index: number) => string,
): IpFilterRow {
  const block = Array.from({ length: count }, (_, index) => rangeOf(index));
  const filter = new IpFilterMiddleware({ block });
  const connections = Array.from({ length: 256 }, (_, index) => {
    const peer = { address: addressOf(index), port: 1, family };
    return { peer } as unknown as RapConnection;
  });
  const served = Promise.resolve();
  const connectionUs = usOf(CONNECTIONS, (index) => {
    void filter.use(connections[index & 255] as RapConnection, () => served);
  });

  const list = new BlockList();
  const type = family === 'IPv4' ? 'ipv4' : 'ipv6';
  for (const range of block) {
    const [address = '', prefix] = range.split('/');
    list.addSubnet(address, Number(prefix), type);
  }
  const blockListUs = usOf(CONNECTIONS / 10, (index) => void list.check(addressOf(index & 255), type));
  return { family, ranges: count, connectionUs, blockListUs };
}

function usOf(times: number, work: (index: number) => void): number {
  const runs = Array.from({ length: REPETITIONS + 1 }, () => {
    const before = process.cpuUsage();
    for (let index = 0; index < times; index++) work(index);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / times;
  });
  return median(runs.slice(1)); // the first one warms up
}
