import { readFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { TenonError } from '../../lib/index.js';
import { describe as describeValue, errorCodes, invalidArgument } from '../../lib/errors.js';
import { root } from '../helpers/paths.js';

function matches(file: string, pattern: RegExp): string[] {
  return [...readFileSync(path.join(root, file), 'utf8').matchAll(pattern)].map(
    ([, code]) => code as string,
  );
}

describe('error codes', () => {
  const documented = matches('docs/errors.md', /^#+ `?(ERR_TENON_[A-Z0-9_]+)`?\s*$/gm);

  it('are each documented under a heading of their own', () => {
    expect(errorCodes.filter((code) => !documented.includes(code))).toEqual([]);
  });

  it('are the only ones that are documented', () => {
    expect(documented.filter((code) => !errorCodes.includes(code as never))).toEqual([]);
  });

  it('are documented once', () => {
    expect(documented.filter((code, index) => documented.indexOf(code) !== index)).toEqual([]);
  });

  it('include every one the addon raises', () => {
    const raised = matches('native/core/status.cc', /"(ERR_TENON_[A-Z0-9_]+)"/g);
    expect(raised.length).toBeGreaterThan(20);
    expect(raised.filter((code) => !errorCodes.includes(code as never))).toEqual([]);
  });
});

describe('TenonError', () => {
  it('is an Error with a name, a code, a cause and the engine’s number', () => {
    const cause = new Error('why');
    const error = new TenonError('ERR_TENON_RUN', 'what', { cause, engineCode: 3 });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'TenonError', code: 'ERR_TENON_RUN', engineCode: 3 });
    expect(error.cause).toBe(cause);
    expect(String(error)).toBe('TenonError: what');
  });

  it('has no cause where none is given', () => {
    expect('cause' in new TenonError('ERR_TENON_RUN', 'what')).toBe(false);
  });

  it('is recognised across builds of the package, and nothing else is', () => {
    const brand = Symbol.for('tenon.TenonError');
    expect({ [brand]: true }).toBeInstanceOf(TenonError);
    expect(new Error('other')).not.toBeInstanceOf(TenonError);
    expect(null).not.toBeInstanceOf(TenonError);
  });
});

describe('values in messages', () => {
  it.each([
    [null, 'null'],
    [undefined, 'undefined'],
    [1.5, '1.5'],
    [-0, '0'],
    [10n, '10n'],
    [true, 'true'],
    ['text', '"text"'],
    ['line\nbreak', '"line\\nbreak"'],
    [[1, 2], 'an array of 2'],
    [{}, 'an object'],
    [Object.create(null), 'an object'],
    [new Map(), 'an instance of Map'],
    [() => 1, 'a function'],
    [Symbol('x'), 'a symbol'],
  ])('%o is called %s', (value: unknown, words) => {
    expect(describeValue(value)).toBe(words);
  });

  it('are cut where they are long', () => {
    expect(describeValue('x'.repeat(1000)).length).toBeLessThan(80);
  });

  it('stand beside what was expected of which argument', () => {
    expect(invalidArgument('lanes', 'an integer', 'x').message).toBe(
      'expected an integer for "lanes", received "x"',
    );
  });
});
