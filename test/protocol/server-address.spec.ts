import { addressText } from '../../lib/protocol/server-address.js';

it.each([
  [{}, 'localhost:9000'],
  [{ host: 'a', port: 1 }, 'a:1'],
  [{ host: '::1' }, '[::1]:9000'],
  [{ host: 'x', port: 1, path: '/run/rap' }, '/run/rap'],
])('%j as text is %s', (address, expected) => {
  expect(addressText(address)).toBe(expected);
});
