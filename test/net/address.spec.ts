import { isLocal, nodeAddress } from '../../lib/net/address.js';

it("takes rap's own defaults", () => {
  expect(nodeAddress({})).toEqual({ host: 'localhost', port: 9000 });
  expect(nodeAddress({ host: '10.0.0.1', port: 0 })).toEqual({ host: '10.0.0.1', port: 0 });
});

it('takes a path instead of host and port', () => {
  expect(nodeAddress({ host: 'x', port: 1, path: '/run/rap' })).toEqual({ path: '/run/rap' });
});

it.each([
  ['127.0.0.1', 'IPv4', true],
  ['127.8.9.10', 'IPv4', true],
  ['::1', 'IPv6', true],
  ['::ffff:127.0.0.1', 'IPv6', true],
  ['::FFFF:127.0.0.1', 'IPv6', true],
  ['/run/rap', 'unix', true],
  ['', 'unix', true],
  ['10.0.0.1', 'IPv4', false],
  ['128.0.0.1', 'IPv4', false],
  ['12.7.0.1', 'IPv4', false],
  ['::ffff:10.0.0.1', 'IPv6', false],
  ['::', 'IPv6', false],
  ['fe80::1', 'IPv6', false],
  ['1::1', 'IPv6', false],
] as const)('knows whether %s (%s) is on this machine', (address, family, expected) => {
  expect(isLocal({ address, port: 1, family })).toBe(expected);
});
