import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';

import {
  decodeInferTensors,
  decodeModelInferRequestHead,
  encodeModelInferResponse,
  isRaw,
  rawContentsAt,
} from '../../lib/codec/proto/index.js';
import { StatusError, type StatusName } from '../../lib/codec/status.js';
import type { DType, TypedArray } from '../../lib/tensor/dtypes.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import type { Message } from '../helpers/grpc.js';
import { inferRequest, inferResponse } from '../helpers/infer-messages.js';

const counts = () => ({ passed: 0, copied: 0 });

function decode(message: Message | Buffer): Tensor[] {
  const bytes = Buffer.isBuffer(message) ? message : inferRequest(message);
  return decodeInferTensors(decodeModelInferRequestHead(bytes), counts());
}

function expectStatus(action: () => unknown, status: StatusName, text: string | RegExp): void {
  let caught: unknown;
  try {
    action();
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(StatusError);
  expect((caught as StatusError).status).toBe(status);
  const { message } = caught as StatusError;
  if (typeof text === 'string') expect(message).toContain(text);
  else expect(message).toMatch(text);
}

const refused = (message: Message | Buffer, text: string | RegExp) =>
  expectStatus(() => decode(message), 'INVALID_ARGUMENT', text);

function input(datatype: string, shape: number[], contents?: Message): Message {
  return { inputs: [{ name: 'x', datatype, shape, ...(contents && { contents }) }] };
}

function raw(datatype: string, shape: number[], content: Uint8Array): Message {
  return { ...input(datatype, shape), raw_input_contents: [content] };
}

function bytesOf(data: TypedArray): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

function strings(...texts: string[]): Buffer {
  return Buffer.concat(
    texts.flatMap((text) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(Buffer.byteLength(text));
      return [length, Buffer.from(text)];
    }),
  );
}

interface Case {
  datatype: string;
  dtype: DType;
  data: TypedArray;
  field?: string;
  /** As protobufjs takes and gives them. */
  typed?: unknown[];
}

const cases: Case[] = [
  {
    datatype: 'BOOL',
    dtype: 'bool',
    data: Uint8Array.of(1, 0, 1),
    field: 'bool_contents',
    typed: [true, false, true],
  },
  {
    datatype: 'INT8',
    dtype: 'int8',
    data: Int8Array.of(-128, 127, 0),
    field: 'int_contents',
    typed: [-128, 127, 0],
  },
  {
    datatype: 'INT16',
    dtype: 'int16',
    data: Int16Array.of(-32768, 32767, -1),
    field: 'int_contents',
    typed: [-32768, 32767, -1],
  },
  {
    datatype: 'INT32',
    dtype: 'int32',
    data: Int32Array.of(-(2 ** 31), 2 ** 31 - 1, 7),
    field: 'int_contents',
    typed: [-(2 ** 31), 2 ** 31 - 1, 7],
  },
  {
    datatype: 'INT64',
    dtype: 'int64',
    data: BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n, -1n),
    field: 'int64_contents',
    typed: ['-9223372036854775808', '9223372036854775807', '-1'],
  },
  {
    datatype: 'UINT8',
    dtype: 'uint8',
    data: Uint8Array.of(0, 255, 128),
    field: 'uint_contents',
    typed: [0, 255, 128],
  },
  {
    datatype: 'UINT16',
    dtype: 'uint16',
    data: Uint16Array.of(0, 65535, 300),
    field: 'uint_contents',
    typed: [0, 65535, 300],
  },
  {
    datatype: 'UINT32',
    dtype: 'uint32',
    data: Uint32Array.of(0, 2 ** 32 - 1, 2 ** 31),
    field: 'uint_contents',
    typed: [0, 2 ** 32 - 1, 2 ** 31],
  },
  {
    datatype: 'UINT64',
    dtype: 'uint64',
    data: BigUint64Array.of(0n, 2n ** 64n - 1n, 5n),
    field: 'uint64_contents',
    typed: ['0', '18446744073709551615', '5'],
  },
  {
    datatype: 'FP32',
    dtype: 'float32',
    data: Float32Array.of(1.5, -Infinity, NaN),
    field: 'fp32_contents',
    typed: [1.5, -Infinity, NaN],
  },
  {
    datatype: 'FP64',
    dtype: 'float64',
    data: Float64Array.of(1e300, -0, 0.1),
    field: 'fp64_contents',
    typed: [1e300, -0, 0.1],
  },
  { datatype: 'FP16', dtype: 'float16', data: Uint16Array.of(0x3c00, 0x7e00, 0xc000) },
  { datatype: 'BF16', dtype: 'bfloat16', data: Uint16Array.of(0x3f80, 0x7fc0, 0xc000) },
];

describe('a request', () => {
  it('has a head, whatever order its fields come in', () => {
    const message = {
      model_name: 'm',
      model_version: '2',
      id: 'größe',
      parameters: {
        priority: { uint64_param: '18446744073709551615' },
        timeout: { int64_param: '-5' },
        on: { bool_param: false },
        signature_name: { string_param: 's' },
        weight: { double_param: 0.5 },
        nothing: {},
      },
      inputs: [
        {
          name: 'x',
          datatype: 'FP32',
          shape: ['2', '9223372036854775807', '-1'],
          parameters: { a: { string_param: 'b' } },
        },
      ],
      outputs: [{ name: 'y', parameters: { classification: { int64_param: '3' } } }, { name: 'z' }],
    };
    const head = decodeModelInferRequestHead(inferRequest(message));
    expect(head).toEqual({
      modelName: 'm',
      modelVersion: '2',
      id: 'größe',
      parameters: new Map<string, unknown>([
        ['priority', 2n ** 64n - 1n],
        ['timeout', -5n],
        ['on', false],
        ['signature_name', 's'],
        ['weight', 0.5],
      ]),
      inputs: [
        {
          name: 'x',
          datatype: 'FP32',
          shape: [2, 2n ** 63n - 1n, -1],
          parameters: new Map([['a', 'b']]),
          contents: undefined,
        },
      ],
      outputs: [
        { name: 'y', parameters: new Map([['classification', 3n]]) },
        { name: 'z', parameters: new Map() },
      ],
      rawInputContents: [],
    });
    expect(isRaw(head)).toBe(false);
  });

  it.each(cases)(
    'of $datatype has its elements raw, aligned or not',
    ({ datatype, dtype, data }) => {
      const bytes = inferRequest(raw(datatype, [1, 3], bytesOf(data)));
      for (let offset = 0; offset < 8; offset++) {
        const moved = Buffer.alloc(bytes.byteLength + offset)
          .fill(bytes, offset)
          .subarray(offset);
        const [tensor] = decode(moved);
        expect(tensor).toMatchObject({ dtype, shape: [1, 3], data });
      }
    },
  );

  const typed = cases.filter(({ field }) => field !== undefined);

  it.each(typed)('of $datatype has its elements in $field, packed or not', (each) => {
    const { datatype, dtype, data, field = '', typed: values = [] } = each;
    const [tensor] = decode(input(datatype, [3], { [field]: values }));
    expect(tensor).toMatchObject({ dtype, shape: [3], data });
    // Contents that come in two messages are one, and so are their fields.
    const whole = decodeModelInferRequestHead(
      inferRequest(input(datatype, [3], { [field]: values })),
    );
    const twice = (part: unknown[]) =>
      decodeModelInferRequestHead(inferRequest(input(datatype, [0], { [field]: part }))).inputs[0]
        ?.contents as Uint8Array;
    const contents = Buffer.concat([twice(values.slice(0, 1)), twice(values.slice(1))]);
    const inputs = whole.inputs.map((one) => ({ ...one, contents }));
    expect(decodeInferTensors({ ...whole, inputs }, counts())[0]).toMatchObject({ data });
  });

  it('has elements that come one by one', () => {
    const contents = new BinaryWriter();
    for (const value of [1, 2, 3]) contents.tag(6, WireType.Bit32).float(value);
    for (const value of [4])
      contents.tag(6, WireType.LengthDelimited).bytes(bytesOf(Float32Array.of(value)));
    const x = new BinaryWriter()
      .tag(1, WireType.LengthDelimited)
      .string('x')
      .tag(2, WireType.LengthDelimited)
      .string('FP32')
      .tag(3, WireType.Varint)
      .int64(2)
      .tag(3, WireType.Varint)
      .int64(2)
      .tag(5, WireType.LengthDelimited)
      .bytes(contents.finish());
    const request = new BinaryWriter().tag(5, WireType.LengthDelimited).bytes(x.finish()).finish();
    expect(decode(Buffer.from(request))[0]).toMatchObject({
      shape: [2, 2],
      data: Float32Array.of(1, 2, 3, 4),
    });
  });

  it('has strings raw and typed', () => {
    const texts = ['', 'ü', 'abc'];
    const bytes = texts.map((text) => new Uint8Array(Buffer.from(text)));
    for (const message of [
      raw('BYTES', [3, 1], strings(...texts)),
      input('BYTES', [3, 1], { bytes_contents: bytes }),
    ]) {
      const [tensor] = decode(message);
      expect(tensor).toMatchObject({ dtype: 'string', shape: [3, 1] });
      const found = tensor?.bytes as unknown as Uint8Array[];
      expect(found.map((one) => Buffer.from(one).toString())).toEqual(texts);
    }
  });

  it('has tensors of no elements and of no dimensions', () => {
    for (const { datatype, dtype } of cases) {
      expect(decode(raw(datatype, [0, 4], Buffer.alloc(0)))[0]).toMatchObject({
        dtype,
        shape: [0, 4],
        size: 0,
      });
    }
    for (const { datatype, dtype } of typed) {
      expect(decode(input(datatype, [4, 0]))[0]).toMatchObject({ dtype, shape: [4, 0], size: 0 });
    }
    expect(decode(input('FP32', [], { fp32_contents: [4] }))[0]).toMatchObject({
      shape: [],
      data: Float32Array.of(4),
    });
  });

  it('shows by its first bytes where raw contents begin', () => {
    const content = bytesOf(Float64Array.of(1, 2));
    const bytes = inferRequest({ model_name: 'm', ...raw('FP64', [2], content) });
    const at = bytes.indexOf(content);
    expect(rawContentsAt(bytes)).toBe(at);
    expect(rawContentsAt(bytes.subarray(0, at))).toBe(at);
    expect(rawContentsAt(bytes.subarray(0, at - 1))).toBeUndefined();
    expect(rawContentsAt(inferRequest(input('FP32', [1], { fp32_contents: [1] })))).toBeUndefined();
    expect(rawContentsAt(Buffer.of(0xff, 0xff))).toBeUndefined();
  });

  it('counts what became a tensor as it is, and what was copied', () => {
    const bytes = inferRequest(raw('FP64', [2], bytesOf(Float64Array.of(1, 2))));
    const total = { passed: 0, copied: 0 };
    for (let offset = 0; offset < 8; offset++) {
      const room = new Uint8Array(bytes.byteLength + 8);
      const moved = room.subarray(offset, offset + bytes.byteLength);
      moved.set(bytes);
      decodeInferTensors(decodeModelInferRequestHead(moved), total);
    }
    expect(total).toEqual({ passed: 16, copied: 7 * 16 });
  });

  it('reads a bool of any other number as true', () => {
    expect(decode(raw('BOOL', [3], Buffer.of(0, 2, 255)))[0]?.data).toEqual(Uint8Array.of(0, 1, 1));
  });
});

describe('a request is refused', () => {
  const four = bytesOf(Float32Array.of(1, 2, 3, 4));

  it('with contents both raw and typed', () => {
    const message = raw('FP32', [4], four);
    const [x] = message['inputs'] as Message[];
    refused(
      { ...message, inputs: [{ ...x, contents: { fp32_contents: [1, 2, 3, 4] } }] },
      'expected either raw_input_contents or typed contents, received both, those of input "x"',
    );
  });

  it('with raw contents for fewer or more inputs than there are', () => {
    const message = raw('FP32', [4], four);
    const expected = /^expected raw_input_contents for each of 1 inputs, received 2$/;
    refused({ ...message, raw_input_contents: [four, four] }, expected);
    const [x] = message['inputs'] as Message[];
    refused(
      { ...message, inputs: [x, { ...x, name: 'y' }] },
      'expected raw_input_contents for each of 2 inputs, received 1',
    );
  });

  it('with an unknown datatype', () => {
    for (const datatype of ['', 'fp32', 'FP8', 'STRING', 'constructor']) {
      refused(raw(datatype, [4], four), 'as the datatype of input "x"');
      refused(input(datatype, [4]), 'as the datatype of input "x"');
    }
  });

  it('with a shape that is negative, overflows or has too many sizes', () => {
    refused(raw('FP32', [-1, 4], four), /shape of input "x", received -1$/);
    refused(raw('FP32', [2 ** 31, 2 ** 31], four), '2^53 - 1 elements in the shape of input "x"');
    refused(raw('FP32', ['9223372036854775807' as unknown as number], four), /9223372036854775807/);
    refused(input('FP32', [2 ** 52], { fp32_contents: [1] }), /expected 4503599627370496 elements/);
    refused(raw('FP32', new Array<number>(300).fill(1), four), 'shape of input "x"');
  });

  it('with fewer or more bytes than its shape needs', () => {
    for (const length of [0, 4, 15, 17, 32]) {
      refused(
        raw('FP32', [4], Buffer.alloc(length)),
        new RegExp(`expected 16 bytes for input "x".*, received ${length}$`),
      );
    }
  });

  it('with fewer or more elements than its shape needs', () => {
    for (const { datatype, field = '', typed = [] } of cases) {
      if (field === '') continue;
      for (const size of [2, 4, 1000]) {
        refused(
          input(datatype, [size], { [field]: typed }),
          `expected ${size} elements in ${field} of input "x", which is of shape [${size}], received 3`,
        );
      }
      refused(input(datatype, [3]), 'received 0');
    }
    refused(input('BYTES', [2], { bytes_contents: [Buffer.of(1)] }), /bytes_contents.*received 1$/);
  });

  it('with contents of another type', () => {
    refused(
      input('INT64', [1], { int_contents: [1] }),
      'expected int64_contents for input "x" of INT64, received int_contents',
    );
    refused(
      input('FP32', [1], { fp32_contents: [1], fp64_contents: [1] }),
      'received fp64_contents',
    );
  });

  it('with FP16 or BF16 that are not raw', () => {
    for (const datatype of ['FP16', 'BF16']) {
      refused(
        input(datatype, [1], { fp32_contents: [1] }),
        `expected raw_input_contents for input "x", whose datatype ${datatype} has no typed contents`,
      );
    }
  });

  it('with numbers that do not fit their datatype', () => {
    refused(input('INT8', [2], { int_contents: [1, 128] }), /fit INT8 .* received 128$/);
    refused(input('UINT8', [1], { uint_contents: [2 ** 32 - 1] }), /received 4294967295$/);
    refused(input('INT16', [1], { int_contents: [-32769] }), /received -32769$/);
    refused(input('UINT16', [1], { uint_contents: [65536] }), /received 65536$/);
  });

  it('with strings whose lengths lie', () => {
    const good = strings('ab', 'c');
    const long = Buffer.from(good);
    long.writeUInt32LE(0xffffffff);
    for (const bytes of [
      good.subarray(0, 3),
      good.subarray(0, 10),
      long,
      Buffer.concat([good, Buffer.of(1)]),
    ]) {
      refused(raw('BYTES', [2], bytes), 'input "x"');
    }
    refused(raw('BYTES', [3], good), 'input "x"');
    refused(raw('BYTES', [1], good), 'input "x"');
  });

  it('with more strings than a request may have', () => {
    const count = 2 ** 20 + 1;
    const text = 'expected at most 1048576 elements of BYTES';
    const rawStrings = raw('BYTES', [count], Buffer.alloc(4 * count));
    expectStatus(() => decode(rawStrings), 'RESOURCE_EXHAUSTED', text);
    expectStatus(() => decode(input('BYTES', [count])), 'RESOURCE_EXHAUSTED', text);
  });

  it('where it is no message', () => {
    const bytes = inferRequest({
      model_name: 'model',
      ...input('FP32', [4], { fp32_contents: [1] }),
    });
    for (let length = 1; length < bytes.byteLength; length++) {
      const cut = bytes.subarray(0, length);
      try {
        decode(cut);
      } catch (error) {
        expect(error).toBeInstanceOf(StatusError);
      }
    }
    expectStatus(() => decode(Buffer.of(0xff, 0xff)), 'INTERNAL', 'inference.ModelInferRequest');
    expectStatus(
      () => decode(Buffer.from('0a02ffff', 'hex')),
      'INTERNAL',
      'a string that is not UTF-8',
    );
  });

  it('with more parts than are worth their memory', () => {
    const empty = Buffer.alloc(2 * (2 ** 20 + 1));
    for (let i = 0; i < empty.length; i += 2) empty[i] = (7 << 3) | 2;
    expectStatus(() => decode(empty), 'INTERNAL', 'more elements than are accepted');
  });
});

describe('a response', () => {
  const head = { modelName: 'm', modelVersion: '3', id: 'one' };

  it.each(cases)('has $datatype raw', ({ datatype, dtype, data }) => {
    const tensor = new Tensor(dtype, data as never, [3, 1]);
    const message = inferResponse(
      encodeModelInferResponse({ ...head, outputs: [{ name: 'y', tensor }] }, true),
    );
    expect(message).toMatchObject({ model_name: 'm', model_version: '3', id: 'one' });
    expect(message['outputs']).toEqual([{ name: 'y', datatype, shape: ['3', '1'] }]);
    expect(message['raw_output_contents']).toEqual([bytesOf(data)]);
  });

  it.each(cases.filter(({ field }) => field !== undefined))(
    'has $datatype in $field',
    ({ datatype, dtype, data, field = '', typed = [] }) => {
      const tensor = new Tensor(dtype, data as never, [3]);
      const message = inferResponse(
        encodeModelInferResponse({ ...head, outputs: [{ name: 'y', tensor }] }, false),
      );
      expect(message['outputs']).toEqual([
        { name: 'y', datatype, shape: ['3'], contents: { [field]: typed } },
      ]);
      expect(message).not.toHaveProperty('raw_output_contents');
    },
  );

  it('has strings raw and typed', () => {
    const texts = ['ab', '', 'ü'];
    const tensor = new Tensor('string', texts, [3]);
    const outputs = [{ name: 'y', tensor }];
    const rawMessage = inferResponse(encodeModelInferResponse({ ...head, outputs }, true));
    expect(rawMessage['raw_output_contents']).toEqual([strings(...texts)]);
    const message = inferResponse(encodeModelInferResponse({ ...head, outputs }, false));
    expect(message['outputs']).toMatchObject([
      { datatype: 'BYTES', contents: { bytes_contents: texts.map((text) => Buffer.from(text)) } },
    ]);
  });

  it('is raw where one of its outputs has no typed contents', () => {
    const outputs = [
      { name: 'a', tensor: new Tensor('float32', Float32Array.of(1), [1]) },
      { name: 'b', tensor: new Tensor('float16', Uint16Array.of(0x3c00), []) },
      { name: 'c', tensor: new Tensor('int64', new BigInt64Array(0), [0]) },
    ];
    const message = inferResponse(encodeModelInferResponse({ ...head, outputs }, false));
    expect(message['outputs']).toEqual([
      { name: 'a', datatype: 'FP32', shape: ['1'] },
      { name: 'b', datatype: 'FP16' },
      { name: 'c', datatype: 'INT64', shape: ['0'] },
    ]);
    expect(message['raw_output_contents']).toEqual([
      Buffer.from('0000803f', 'hex'),
      Buffer.from('003c', 'hex'),
      Buffer.alloc(0),
    ]);
  });

  it('has parameters of every type', () => {
    const parameters = new Map<string, string | number | bigint | boolean>([
      ['text', 'größe'],
      ['yes', true],
      ['whole', -3],
      ['part', 0.5],
      ['big', 2n ** 62n],
    ]);
    const tensor = new Tensor('float32', Float32Array.of(1), [1]);
    const message = inferResponse(
      encodeModelInferResponse(
        { ...head, parameters, outputs: [{ name: 'y', tensor, parameters }] },
        true,
      ),
    );
    const expected = {
      text: { parameter_choice: 'string_param', string_param: 'größe' },
      yes: { parameter_choice: 'bool_param', bool_param: true },
      whole: { parameter_choice: 'int64_param', int64_param: '-3' },
      part: { parameter_choice: 'double_param', double_param: 0.5 },
      big: { parameter_choice: 'int64_param', int64_param: '4611686018427387904' },
    };
    expect(message['parameters']).toEqual(expected);
    expect(message['outputs']).toMatchObject([{ parameters: expected }]);
  });

  it('cannot have elements that the protocol does not', () => {
    const tensor = new Tensor('complex64', Float32Array.of(1, 2), [1]);
    expectStatus(
      () => encodeModelInferResponse({ ...head, outputs: [{ name: 'y', tensor }] }, true),
      'UNIMPLEMENTED',
      'output "y" of complex64',
    );
  });
});
