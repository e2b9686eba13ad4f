/** An IP address as a number. An IPv4 address that came as IPv6 (`::ffff:1.2.3.4`) is an IPv4 address. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly value: bigint;
}

/** Consecutive addresses, both ends included. */
export interface IpRange {
  readonly family: 4 | 6;
  readonly first: bigint;
  readonly last: bigint;
}

const BITS = { 4: 32, 6: 128 } as const;
/** The 96 bits before an IPv4 address within IPv6. */
const MAPPED = 0xffffn;
const MAPPED_BITS = 96;

/** Reads an address; `undefined` if the text is not one. A zone (`fe80::1%eth0`) is left out. */
export function parseAddress(text: string): IpAddress | undefined {
  const parsed = parseLiteral(text.replace(/%.*$/s, ''));
  if (parsed?.family === 6 && parsed.value >> 32n === MAPPED) {
    return { family: 4, value: parsed.value & 0xffff_ffffn };
  }
  return parsed;
}

/** The same text for all forms of an address; a text that is not an address stays as it is. */
export function normalAddress(text: string): string {
  const parsed = parseAddress(text);
  return parsed ? addressText(parsed) : text;
}

/** The same text for all forms of a range. @throws RangeError as {@link parseRange} */
export function normalRange(text: string): string {
  const { family, first, last } = parseRange(text);
  const address = addressText({ family, value: first });
  const hostBits = (last - first + 1n).toString(2).length - 1;
  return hostBits === 0 ? address : `${address}/${BITS[family] - hostBits}`;
}

function addressText({ family, value }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
  const groups = value
    .toString(16)
    .padStart(32, '0')
    .replaceAll(/.{4}(?!$)/g, '$&:');
  return new URL(`http://[${groups}]`).hostname.slice(1, -1); // the shortest form
}

/**
 * Reads an address or a CIDR range, such as `10.0.0.7`, `192.168.0.0/31` or `2001:db8::/32`.
 *
 * @throws RangeError that says what is wrong with the text.
 */
export function parseRange(text: unknown): IpRange {
  if (typeof text !== 'string') throw new RangeError(`${typeof text} is not an address or CIDR range`);
  const shown = JSON.stringify(text.slice(0, 64));
  const [address = '', prefixText, ...rest] = text.split('/');
  const parsed = parseLiteral(address);
  if (!parsed || rest.length > 0) throw new RangeError(`${shown} is not an IP address or CIDR range`);
  const bits = BITS[parsed.family];
  if (prefixText !== undefined && !(/^(0|[1-9]\d{0,2})$/.test(prefixText) && Number(prefixText) <= bits)) {
    throw new RangeError(`${shown}: the prefix must be a number from 0 to ${bits}`);
  }
  const prefix = prefixText === undefined ? bits : Number(prefixText);
  const hostMask = (1n << BigInt(bits - prefix)) - 1n;
  if ((parsed.value & hostMask) !== 0n) {
    throw new RangeError(`${shown} has address bits after its prefix of ${prefix}`);
  }
  return unmapped({ family: parsed.family, first: parsed.value, last: parsed.value | hostMask }, prefix);
}

/** A range of IPv4 addresses that was written as IPv6. */
function unmapped(range: IpRange, prefix: number): IpRange {
  if (range.family === 4 || prefix < MAPPED_BITS || range.first >> 32n !== MAPPED) return range;
  return { family: 4, first: range.first & 0xffff_ffffn, last: range.last & 0xffff_ffffn };
}

/** As written: a mapped address stays IPv6. */
function parseLiteral(text: string): IpAddress | undefined {
  if (text.includes(':')) {
    const value = parseIPv6(text);
    return value === undefined ? undefined : { family: 6, value };
  }
  const value = parseIPv4(text);
  return value === undefined ? undefined : { family: 4, value: BigInt(value) };
}

function parseIPv4(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    // no leading zeros: some parsers read them as octal
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = value * 256 + Number(part);
  }
  return value;
}

function parseIPv6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, index) =>
    half === '' ? [] : groupsOf(half, index === halves.length - 1),
  );
  if (!head || (halves.length === 2 && !tail)) return undefined;
  const missing = 8 - head.length - (tail?.length ?? 0);
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array<number>(missing).fill(0), ...(tail ?? [])];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

/** The 16-bit groups of a part of an IPv6 address; an IPv4 address at the very end counts as two. */
function groupsOf(text: string, atEnd: boolean): number[] | undefined {
  const parts = text.split(':');
  const groups: number[] = [];
  for (const [index, part] of parts.entries()) {
    if (atEnd && part.includes('.') && index === parts.length - 1) {
      const value = parseIPv4(part);
      if (value === undefined) return undefined;
      groups.push(value >>> 16, value & 0xffff);
    } else if (/^[\da-f]{1,4}$/i.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
}
