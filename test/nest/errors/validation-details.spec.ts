import { validationDetails } from '../../../lib/nest/errors/validation-details.js';

it('reads no more of what a pipe says than will travel', () => {
  let read = 0;
  const message = {
    toString: () => {
      read += 1;
      return 'no';
    },
  };
  const errors = Array.from({ length: 1000 }, (_, i) => ({ property: `p${i}`, constraints: { message } }));

  const details = validationDetails(errors);

  expect(details?.length).toBe(32);
  expect(details?.[31]).toEqual({ path: 'p31', message: 'no' });
  expect(read).toBe(32);
});

it('looks for the path of a text at its beginning', () => {
  const text = `address.city must be ${'x'.repeat(100_000)}`;
  const [detail] = validationDetails([text]) ?? [];

  expect(detail?.path).toBe('address.city');
  expect(text.startsWith(detail?.message.slice(0, 200) ?? '?')).toBe(true);
  expect(validationDetails(['a.'.repeat(100_000) + 'b must be text'])).toEqual([
    { path: '', message: expect.stringMatching(/^a\.a\./) as string },
  ]);
});

it('knows nothing of a list with something else in it, wherever that stands', () => {
  const texts = Array.from({ length: 40 }, () => 'a must be text');
  expect(validationDetails([...texts, 5])).toBeUndefined();
});
