import { describe, expect, it } from 'vitest';

import { tokenCheck } from '../../lib/server/token.js';

describe('a bearer token', () => {
  const check = tokenCheck('s3cret');

  it.each(['Bearer s3cret', 'bearer s3cret', 'Bearer  s3cret '])('%j is right', (header) => {
    expect(check(header)).toBe(true);
  });

  it.each([
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Bearer s3cre',
    'Bearer s3cret2',
    'Bearer S3cret',
    'Basic s3cret',
    's3cret',
    'Bearer s3cret s3cret',
  ])('%j is wrong', (header) => {
    expect(check(header)).toBe(false);
  });
});
