import { normalAddress, normalRange, parseAddress, parseRange } from '../../lib/plugins/ip-range.js';

describe('an address', () => {
  it.each([
    ['0.0.0.0', 4, 0n],
    ['255.255.255.255', 4, 0xffff_ffffn],
    ['192.168.0.1', 4, 0xc0a8_0001n],
    ['::', 6, 0n],
    ['::1', 6, 1n],
    ['1::', 6, 1n << 112n],
    ['2001:db8::8:800:200c:417a', 6, 0x2001_0db8_0000_0000_0008_0800_200c_417an],
    ['2001:DB8:0:0:8:800:200C:417A', 6, 0x2001_0db8_0000_0000_0008_0800_200c_417an],
    ['fe80::1%eth0', 6, 0xfe80_0000_0000_0000_0000_0000_0000_0001n],
    ['64:ff9b::192.0.2.33', 6, 0x0064_ff9b_0000_0000_0000_0000_c000_0221n],
    // IPv4, as a socket that speaks both shows it
    ['::ffff:192.168.0.1', 4, 0xc0a8_0001n],
    ['::FFFF:c0a8:1', 4, 0xc0a8_0001n],
    ['0:0:0:0:0:ffff:192.168.0.1', 4, 0xc0a8_0001n],
  ])('%s', (text, family, value) => expect(parseAddress(text)).toEqual({ family, value }));

  const noAddresses = [
    '',
    ' ',
    '1',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '01.2.3.4',
    '1.2.3.4 ',
    '1.2.3.-4',
    '1e1.2.3.4',
  ];
  const noIPv6 = [
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8:9',
    '12345::',
    'g::',
    '::1.2.3',
  ];
  const others = [
    '1.2.3.4::',
    '::1.2.3.4:5',
    ':1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:',
    'localhost',
    '/tmp/a.sock',
    '１.2.3.4',
  ];
  it.each([...noAddresses, ...noIPv6, ...others])('%j is none', (text) =>
    expect(parseAddress(text)).toBeUndefined(),
  );

  it('has one text, however it came', () => {
    const texts = ['::ffff:10.0.0.7', '::ffff:a00:7', '10.0.0.7'];
    expect(texts.map(normalAddress)).toEqual(['10.0.0.7', '10.0.0.7', '10.0.0.7']);
    expect(normalAddress('2001:DB8:0:0::1')).toBe('2001:db8::1');
    expect(normalAddress('fe80::1%eth0')).toBe('fe80::1');
    expect(normalAddress('no address')).toBe('no address');
  });
});

describe('a range', () => {
  it.each([
    ['10.0.0.7', 4, 0x0a00_0007n, 0x0a00_0007n],
    ['10.0.0.7/32', 4, 0x0a00_0007n, 0x0a00_0007n],
    ['192.168.0.0/31', 4, 0xc0a8_0000n, 0xc0a8_0001n],
    ['0.0.0.0/0', 4, 0n, 0xffff_ffffn],
    ['::/0', 6, 0n, (1n << 128n) - 1n],
    ['2001:db8::/127', 6, 0x2001_0db8n << 96n, (0x2001_0db8n << 96n) + 1n],
    ['::ffff:10.0.0.0/104', 4, 0x0a00_0000n, 0x0aff_ffffn],
    ['::ffff:0:0/96', 4, 0n, 0xffff_ffffn],
    ['::ffff:10.0.0.7', 4, 0x0a00_0007n, 0x0a00_0007n],
    // more than the mapped addresses: IPv6
    ['::fffe:0:0/95', 6, 0xfffen << 32n, (0xffffn << 32n) + 0xffff_ffffn],
  ])('%s', (text, family, first, last) => expect(parseRange(text)).toEqual({ family, first, last }));

  it.each([
    ['', '"" is not an IP address or CIDR range'],
    ['10.0.0.0/', 'the prefix must be a number from 0 to 32'],
    ['10.0.0.0/33', '"10.0.0.0/33": the prefix must be a number from 0 to 32'],
    ['10.0.0.0/-1', 'the prefix must be a number from 0 to 32'],
    ['10.0.0.0/08', 'the prefix must be a number from 0 to 32'],
    ['10.0.0.0/8.0', 'the prefix must be a number from 0 to 32'],
    ['10.0.0.0/ 8', 'the prefix must be a number from 0 to 32'],
    ['10.0.0.0/255.0.0.0', 'the prefix must be a number from 0 to 32'],
    ['::/129', 'the prefix must be a number from 0 to 128'],
    ['10.0.0.0/8/8', 'is not an IP address or CIDR range'],
    ['10.0.0.1/8', '"10.0.0.1/8" has address bits after its prefix of 8'],
    ['2001:db8::1/64', 'has address bits after its prefix of 64'],
    ['10.0.0.*', 'is not an IP address or CIDR range'],
    ['fe80::1%eth0', 'is not an IP address or CIDR range'],
    ['example.com', '"example.com" is not an IP address or CIDR range'],
    [undefined, 'undefined is not an address or CIDR range'],
    [7, 'number is not an address or CIDR range'],
  ])('%j is refused', (text, message) => {
    expect(() => parseRange(text)).toThrow(RangeError);
    expect(() => parseRange(text)).toThrow(message);
  });

  it('bounds the text of its error', () => {
    expect(() => parseRange('x'.repeat(10_000))).toThrow(
      new RangeError(`"${'x'.repeat(64)}" is not an IP address or CIDR range`),
    );
  });

  it.each([
    ['10.0.0.7/32', '10.0.0.7'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8:0::/48', '2001:db8::/48'],
    ['::1/128', '::1'],
    ['::/0', '::/0'],
  ])('%s is written %s', (text, normal) => expect(normalRange(text)).toBe(normal));
});
