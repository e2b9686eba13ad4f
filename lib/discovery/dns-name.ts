import { domainToASCII } from 'node:url';
import { inspect } from 'node:util';

const LABEL = /^[\w-]{1,63}$/;
const OCTET = /^(0|[1-9]\d{0,2})$/;

/** Whether a text is an IP address, which needs no query. */
export function isIpAddress(text: string): boolean {
  if (text.includes(':')) return URL.canParse(`http://[${text.replace(/%\w+$/, '')}]`);
  const octets = text.split('.');
  return octets.length === 4 && octets.every((octet) => OCTET.test(octet) && Number(octet) <= 255);
}

/**
 * A name as DNS has it.
 *
 * @throws RangeError that says what is wrong with it
 */
export function dnsName(what: string, name: unknown): string {
  if (typeof name !== 'string' || name === '')
    throw new RangeError(`${what} must be a DNS name, got ${inspect(name)}`);
  // eslint-disable-next-line no-control-regex -- anything outside of ASCII
  const ascii = /^[\x00-\x7f]*$/.test(name) ? name : domainToASCII(name);
  const labels = ascii.replace(/\.$/, '').split('.');
  if (ascii.length <= 254 && labels.every((label) => LABEL.test(label))) return ascii;
  throw new RangeError(`${what} is not a DNS name: ${inspect(name.slice(0, 300))}`);
}
