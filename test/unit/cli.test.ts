import { describe, expect, it } from 'vitest';

import { formatJson, parseJson } from '../../lib/cli/json.js';
import { columns, printable, styleOf } from '../../lib/cli/terminal.js';
import { feedFromJson, feedFromText, tensorText, valueLines } from '../../lib/cli/values.js';
import { type DType, Tensor, type TensorElements, type ValueSpec } from '../../lib/index.js';

function spec(dtype: DType, shape: (number | null)[] | null = [null]): ValueSpec {
  return { kind: 'tensor', name: 'x', dtype, shape };
}

function tensor(dtype: DType, values: unknown, shape?: number[]): Tensor {
  return new Tensor<DType>(dtype, values as TensorElements<DType>, shape);
}

describe('parseJson', () => {
  it('keeps integers that a number cannot hold', () => {
    expect(parseJson('[9223372036854775807, -9223372036854775808, 1, 9007199254740991]')).toEqual([
      9223372036854775807n,
      -9223372036854775808n,
      1,
      9007199254740991,
    ]);
  });

  it('reads the floats Python writes bare', () => {
    expect(parseJson('{"a": [NaN, Infinity, -Infinity]}')).toEqual({
      a: [NaN, Infinity, -Infinity],
    });
  });

  it('changes nothing inside strings, and no other number', () => {
    const text =
      '["12345678901234567890", "NaN", "a\\"NaN", 1.2345678901234567e3, 0.12345678901234567]';
    expect(parseJson(text)).toEqual(JSON.parse(text));
    expect(parseJson('["\\u00010", 12345678901234567890]')).toEqual([
      '\u00010',
      12345678901234567890n,
    ]);
  });

  it('refuses what is no JSON', () => {
    for (const text of ['', '[1,', 'nan', '1 2', '--1', '[NaNa]']) {
      expect(() => parseJson(text), text).toThrow(SyntaxError);
    }
  });
});

describe('formatJson', () => {
  it('writes what tensors hold, to be read again', () => {
    const value = {
      a: [1, -0.5, 2n ** 63n],
      b: NaN,
      c: new Map([[1n, 'x']]),
      d: null,
      e: undefined,
    };
    expect(formatJson(value)).toBe(
      '{\n  "a": [1, -0.5, 9223372036854775808],\n  "b": "NaN",\n  "c": {\n    "1": "x"\n  },\n  "d": null\n}',
    );
    expect(formatJson(new Uint8Array([0, 255]))).toBe('{"b64": "AP8="}');
  });
});

describe('feeds from text', () => {
  it('are JSON, or bare strings where strings are wanted', async () => {
    expect(await feedFromText('[1, 2]', spec('float32'))).toEqual([1, 2]);
    expect(await feedFromText('hello world', spec('string', []))).toBe('hello world');
    expect(await feedFromText('42', spec('string', []))).toBe('42');
    expect(await feedFromText('["a", "b"]', spec('string'))).toEqual(['a', 'b']);
    expect(await feedFromText('[unclosed', spec('string', []))).toBe('[unclosed');
    expect(await feedFromText('@@home', spec('string', []))).toBe('@home');
    await expect(feedFromText('one', spec('float32'))).rejects.toThrow('expected JSON or @file');
  });

  it('make one element a tensor of the rank declared', () => {
    expect(feedFromJson(3, spec('float32', [null, 1]))).toEqual([[3]]);
    expect(feedFromJson(3, spec('float32', []))).toBe(3);
    expect(feedFromJson(3, spec('float32', null))).toBe(3);
  });

  it('turn tagged strings into bytes and floats', () => {
    expect(feedFromJson([{ b64: 'AP8=' }], spec('string'))).toEqual([new Uint8Array([0, 255])]);
    expect(feedFromJson(['NaN', '-Infinity', 2n ** 60n], spec('float32'))).toEqual([
      NaN,
      -Infinity,
      2 ** 60,
    ]);
  });

  it('become sequences, Maps and null', () => {
    const element = spec('float32');
    expect(feedFromJson([[1], [2]], { kind: 'sequence', name: 'x', element })).toEqual([[1], [2]]);
    expect(feedFromJson(null, { kind: 'optional', name: 'x', element })).toBeNull();
    const map: ValueSpec = { kind: 'map', name: 'x', key: 'int64', value: element };
    expect(feedFromJson({ '-3': 0.5 }, map)).toEqual(new Map([[-3n, 0.5]]));
    expect(() => feedFromJson({ a: 1 }, map)).toThrow('integers as keys');
    expect(() => feedFromJson(3, { kind: 'sequence', name: 'x', element })).toThrow('an array');
  });
});

describe('printed tensors', () => {
  it.each<[string, Tensor, string]>([
    ['a scalar', tensor('float32', [0.1], []), '0.1'],
    ['a row', tensor('int32', [1, -20, 3]), '[  1 -20   3]'],
    ['a matrix', tensor('float64', [1, 2.5, 3, 4], [2, 2]), '[[  1 2.5]\n [  3   4]]'],
    ['a cube', tensor('uint8', [1, 2, 3, 4], [2, 1, 2]), '[[[1 2]]\n\n [[3 4]]]'],
    ['nothing', tensor('float32', [], [0, 3]), '[]'],
    ['booleans', tensor('bool', [true, false]), '[ true false]'],
    ['64-bit integers', tensor('int64', [2n ** 63n - 1n]), '[9223372036854775807]'],
    ['complex numbers', tensor('complex64', [1, -2, 0, 3], [2]), '[1-2i 0+3i]'],
    ['halves', tensor('float16', [0.5, -2]), '[0.5  -2]'],
    ['packed integers', tensor('int4', new Uint8Array([0x2f]), [2]), '[-1  2]'],
    ['strings', tensor('string', ['a', 'b"c']), '["a"    "b\\"c"]'],
    ['bytes', tensor('string', [new Uint8Array([255, 0])]), '[<ff00>]'],
  ])('%s', (_, value, text) => expect(tensorText(value)).toBe(text));

  it('show the edges of a large one', () => {
    const large = tensor(
      'int32',
      Int32Array.from({ length: 2000 }, (_, i) => i),
      [1000, 2],
    );
    expect(tensorText(large).split('\n')).toEqual([
      '[[   0    1]',
      ' [   2    3]',
      ' [   4    5]',
      ' ...',
      ' [1994 1995]',
      ' [1996 1997]',
      ' [1998 1999]]',
    ]);
    const row = tensor(
      'int32',
      Int32Array.from({ length: 1001 }, (_, i) => i),
    );
    expect(tensorText(row)).toBe('[   0    1    2 ...  998  999 1000]');
  });

  it('have a line with name, dtype and shape', () => {
    expect(valueLines('y', tensor('float32', [1, 2]))).toEqual(['y  float32 [2]', '[1 2]']);
    expect(valueLines('y', null)).toEqual(['y  none']);
    expect(valueLines('y', [tensor('int8', [1])])).toEqual([
      'y  sequence of 1',
      'y[0]  int8 [1]',
      '[1]',
    ]);
    expect(valueLines('y', new Map([[1n, 0.5]]))).toEqual(['y  map of 1', '  1: 0.5']);
  });
});

describe('text for terminals', () => {
  it('is aligned, wide characters and colours counted right', () => {
    const rows = [
      ['a', 'x', '1'],
      ['漢字', '\x1b[1mlonger\x1b[0m', '2'],
    ];
    expect(columns(rows)).toEqual(['a     x       1', '漢字  \x1b[1mlonger\x1b[0m  2']);
  });

  it('passes no escape sequence of a model on', () => {
    expect(printable('a\x1b[31mb\u202e\n')).toBe('a\\u{1b}[31mb\\u{202e}\\u{a}');
    expect(printable('grün 漢字 🙂')).toBe('grün 漢字 🙂');
  });

  it('has no colour in a pipe', () => {
    const pipe = { isTTY: false, hasColors: () => true } as unknown as NodeJS.WriteStream;
    expect(styleOf(pipe).bold('x')).toBe('x');
    const terminal = { isTTY: true, hasColors: () => true } as unknown as NodeJS.WriteStream;
    expect(styleOf(terminal).bold('x')).toBe('\x1b[1mx\x1b[0m');
    process.env['NO_COLOR'] = '1';
    try {
      expect(styleOf(terminal).bold('x')).toBe('x');
    } finally {
      delete process.env['NO_COLOR'];
    }
  });
});
