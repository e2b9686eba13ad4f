/** An IPv4 address that came as IPv6. */
const MAPPED = /^::ffff:(?=\d+\.)/i;

/**
 * What connections of one origin are counted under: an IPv4 address as itself, however it came, an IPv6 address by its
 * /64, which is what one host or household is given.
 */
export function addressKey(address: string): string {
  const ipv4 = address.replace(MAPPED, '');
  return ipv4.includes(':') ? `${network(ipv4)}::/64` : ipv4;
}

/** The first four of the eight groups. */
function network(address: string): string {
  const [head = '', tail = ''] = address.replace(/%.*$/s, '').split('::');
  const before = groupsOf(head);
  const behind = groupsOf(tail);
  const left = Math.max(0, 8 - before.length - behind.length);
  return [...before, ...Array<string>(left).fill('0'), ...behind].slice(0, 4).join(':');
}

/** Groups without leading zeros; an IPv4 address at the end stands for two, which are not read. */
function groupsOf(part: string): string[] {
  if (part === '') return [];
  return part.split(':').flatMap((group) => {
    if (group.includes('.')) return ['0', '0'];
    return group.toLowerCase().replace(/^0+(?=.)/, '');
  });
}
