import { readFileSync } from 'node:fs';

import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';

import { measureTensorProto } from '../../lib/codec/proto/encode-tensor.js';
import {
  decodeClassificationRequest,
  decodeGetModelMetadataRequest,
  decodeGetModelStatusRequest,
  decodeMultiInferenceRequest,
  decodePredictionLog,
  decodePredictRequest,
  decodePredictRequestHead,
  decodeRegressionRequest,
  decodeReloadConfigRequest,
  decodeTensors,
  type DecodeTensorsOptions,
  encodeClassificationResponse,
  encodeGetModelMetadataResponse,
  encodeGetModelStatusResponse,
  encodeMultiInferenceResponse,
  encodePredictResponse,
  encodeRegressionResponse,
  encodeReloadConfigResponse,
} from '../../lib/codec/proto/index.js';
import { ByteWriter, varintLength } from '../../lib/codec/proto/writer.js';
import { StatusError, type StatusName } from '../../lib/codec/status.js';
import { ModelSpec } from '../../lib/protobuf/tensorflow-serving.js';
import { type DType, dtypes } from '../../lib/tensor/dtypes.js';
import { Tensor, type TensorElements } from '../../lib/tensor/tensor.js';
import { fixture } from '../helpers/paths.js';

interface TensorCase {
  dtype: DType;
  shape: number[];
  values: string[];
  typed: string;
  content: string;
  one: string;
}
const references = JSON.parse(readFileSync(fixture('protobuf_messages.json'), 'utf8')) as {
  tensors: TensorCase[];
  messages: Record<string, string>;
  examples: string[];
  examplesWithContext: string[];
};

function base64(text: string | undefined): Uint8Array {
  if (text === undefined) throw new Error('no such reference');
  return new Uint8Array(Buffer.from(text, 'base64'));
}

const message = (name: string): Uint8Array => base64(references.messages[name]);

function decode(proto: Uint8Array, options?: DecodeTensorsOptions): Tensor {
  return decodeTensors(new Map([['x', proto]]), options)['x'] as Tensor;
}

function statusError(action: () => unknown): StatusError {
  try {
    action();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(StatusError);
    return thrown as StatusError;
  }
  throw new Error('expected an error');
}

function expectStatus(status: StatusName, text: string, action: () => unknown): void {
  const error = statusError(action);
  expect(error.message).toContain(text);
  expect(error.status).toBe(status);
}

/** The elements that a reference names, in the dtype's carrier. */
function expected({ dtype, shape, values }: TensorCase, repeatFirst = false): Tensor {
  if (dtype === 'string') {
    const strings = values.map((hex) => new Uint8Array(Buffer.from(hex, 'hex')));
    const chosen = repeatFirst ? strings.map(() => strings[0] as Uint8Array) : strings;
    return new Tensor('string', chosen, shape);
  }
  const { parts, bits, carrier } = dtypes[dtype];
  const numbers = values.map((text) =>
    text.length === 16 ? Buffer.from(text, 'hex').readDoubleLE() : BigInt(text),
  );
  const chosen = repeatFirst ? numbers.map((_, i) => numbers[i % parts]) : numbers;
  if (bits < 8) {
    return new Tensor(dtype, chosen.map(Number), shape);
  }
  const isBig = carrier === BigInt64Array || carrier === BigUint64Array;
  const from = carrier as unknown as { from(values: unknown[]): TensorElements<DType> };
  return new Tensor(dtype, from.from(isBig ? chosen : chosen.map(Number)), shape);
}

/** A TensorProto by another writer. */
function tensorProto(
  dataType: number,
  shape: readonly (number | bigint)[] | undefined,
  rest: (writer: BinaryWriter) => void = () => undefined,
): Uint8Array {
  const writer = new BinaryWriter().tag(1, WireType.Varint).int32(dataType);
  if (shape !== undefined) {
    writer.tag(2, WireType.LengthDelimited).fork();
    for (const size of shape) {
      writer
        .tag(2, WireType.LengthDelimited)
        .fork()
        .tag(1, WireType.Varint)
        .int64(size.toString())
        .join();
    }
    writer.join();
  }
  rest(writer);
  return writer.finish();
}

const nothing = new Uint8Array(0);
const float = 1;
const int32 = 3;
const string = 7;
const complex64 = 8;
const int64 = 9;
const bool = 10;

function packed(field: number, write: (writer: BinaryWriter) => void) {
  return (writer: BinaryWriter): void => {
    writer.tag(field, WireType.LengthDelimited).fork();
    write(writer);
    writer.join();
  };
}

function floats(...values: number[]) {
  return packed(5, (writer) => values.forEach((value) => writer.float(value)));
}

describe('a TensorProto', () => {
  for (const reference of references.tensors) {
    it(`of ${reference.dtype} is read from typed values and from tensor_content`, () => {
      const tensor = expected(reference);
      for (const proto of [reference.typed, reference.content]) {
        const decoded = decode(base64(proto));
        expect(decoded.dtype).toBe(reference.dtype);
        expect(decoded.shape).toEqual(reference.shape);
        expect(decoded.bytes).toEqual(tensor.bytes);
      }
    });

    it(`of ${reference.dtype} is written as Python writes it`, () => {
      const tensor = expected(reference);
      for (const [tensorContent, bytes] of [
        [false, reference.typed],
        [true, reference.content],
      ] as const) {
        const measured = measureTensorProto(tensor, tensorContent);
        const writer = new ByteWriter(measured.byteLength);
        measured.write(writer);
        expect(writer.position).toBe(measured.byteLength);
        expect(new Uint8Array(writer.bytes)).toEqual(base64(bytes));
      }
    });

    it(`of ${reference.dtype} with one value is filled with it`, () => {
      expect(decode(base64(reference.one)).bytes).toEqual(expected(reference, true).bytes);
    });

    it(`of ${reference.dtype} without values is zeros`, () => {
      const proto = decode(base64(reference.one));
      const dataType = base64(reference.one)[1] as number;
      const { bytes } = decode(tensorProto(dataType, [5]));
      if (proto.dtype === 'string') expect(bytes).toEqual(Array(5).fill(new Uint8Array(0)));
      else expect((bytes as Uint8Array).every((byte) => byte === 0)).toBe(true);
    });
  }

  it('without a shape is a scalar', () => {
    const { shape, data } = decode(tensorProto(float, undefined, floats(2, 3)));
    expect(shape).toEqual([]);
    expect(data).toEqual(Float32Array.of(2));
    expect(decode(tensorProto(float, [], floats(2))).shape).toEqual([]);
  });

  it('is filled with its last value, and loses what is too much', () => {
    expect(decode(tensorProto(float, [4], floats(1, 2))).data).toEqual(Float32Array.of(1, 2, 2, 2));
    expect(decode(tensorProto(float, [2], floats(1, 2, 3, 4))).data).toEqual(Float32Array.of(1, 2));
    const ints = packed(7, (writer) =>
      writer
        .int32(-1)
        .int32(1 << 30)
        .int32(5),
    );
    expect(decode(tensorProto(int32, [2], ints)).data).toEqual(Int32Array.of(-1, 1 << 30));
  });

  it('may have its values in several pieces, packed or one by one', () => {
    const proto = tensorProto(float, [5], (writer) => {
      floats(1)(writer);
      writer.tag(5, WireType.Bit32).float(2);
      floats(3, 4)(writer);
    });
    expect(decode(proto).data).toEqual(Float32Array.of(1, 2, 3, 4, 4));
    const ints = tensorProto(int64, [3], (writer) => {
      writer.tag(10, WireType.Varint).int64('-1');
      packed(10, (inner) => inner.int64('9007199254740993').int64('7'))(writer);
    });
    expect(decode(ints).data).toEqual(BigInt64Array.of(-1n, 9007199254740993n, 7n));
  });

  it('with values in another field than its dtype is zeros', () => {
    expect(decode(tensorProto(int32, [2], floats(1, 2))).data).toEqual(Int32Array.of(0, 0));
  });

  it('of complex numbers is filled with the last whole one', () => {
    const parts = packed(9, (writer) => writer.float(1).float(2).float(3).float(4).float(5));
    expect(decode(tensorProto(complex64, [3], parts)).data).toEqual(
      Float32Array.of(1, 2, 3, 4, 3, 4),
    );
    const half = packed(9, (writer) => writer.float(1));
    expect(decode(tensorProto(complex64, [2], half)).data).toEqual(new Float32Array(4));
  });

  it('of bytes in one field has the last of many, read once', () => {
    const proto = tensorProto(24, [60 << 20], (writer) => {
      for (let i = 0; i < 20_000; i++) writer.tag(18, WireType.LengthDelimited).bytes(nothing);
      writer.tag(18, WireType.LengthDelimited).bytes(Uint8Array.of(1, 2));
    });
    const { bytes } = decode(proto);
    expect((bytes as Uint8Array).subarray(0, 3)).toEqual(Uint8Array.of(1, 2, 2));
  });

  it('wraps integers that are too large for 8 or 16 bits', () => {
    const ints = packed(7, (writer) => writer.int32(300).int32(-1));
    expect(decode(tensorProto(4, [2], ints)).data).toEqual(Uint8Array.of(44, 255));
  });

  it('has bools of 0 and 1, whatever it is made of', () => {
    const values = packed(11, (writer) => writer.uint64('4294967296').int32(7).bool(false));
    expect(decode(tensorProto(bool, [3], values)).data).toEqual(Uint8Array.of(1, 1, 0));
    const content = (writer: BinaryWriter): unknown =>
      writer.tag(4, WireType.LengthDelimited).bytes(Uint8Array.of(2, 0, 255));
    expect(decode(tensorProto(bool, [3], content)).data).toEqual(Uint8Array.of(1, 0, 1));
  });

  it('prefers tensor_content, unless that is empty', () => {
    const both = (writer: BinaryWriter): void => {
      floats(9)(writer);
      writer.tag(4, WireType.LengthDelimited).bytes(new Uint8Array(Float32Array.of(7).buffer));
    };
    expect(decode(tensorProto(float, [1], both)).data).toEqual(Float32Array.of(7));
    const empty = (writer: BinaryWriter): void => {
      writer.tag(4, WireType.LengthDelimited).bytes(new Uint8Array(0));
      floats(9)(writer);
    };
    expect(decode(tensorProto(float, [1], empty)).data).toEqual(Float32Array.of(9));
  });

  it('without elements is empty, whatever it has besides', () => {
    expect(decode(tensorProto(float, [2, 0], floats(1))).size).toBe(0);
    expect(decode(tensorProto(string, [0])).shape).toEqual([0]);
    const content = (writer: BinaryWriter): unknown =>
      writer.tag(4, WireType.LengthDelimited).bytes(Uint8Array.of(1));
    expect(decode(tensorProto(float, [0], content)).size).toBe(0);
  });

  it('is a view of the request where it is small and aligned, else a copy', () => {
    const proto = tensorProto(float, [2], floats(1, 2));
    for (let offset = 0; offset < 4; offset++) {
      const request = new Uint8Array(64);
      request.set(proto, offset);
      const tensor = decode(request.subarray(offset, offset + proto.length));
      expect(tensor.data).toEqual(Float32Array.of(1, 2));
      const isAligned = (offset + proto.length - 8) % 4 === 0;
      expect((tensor.data as Float32Array).buffer === request.buffer).toBe(isAligned);
    }
  });

  it('is copied into memory of Tenon’s own where it is large', () => {
    const values = Float32Array.from({ length: 10_000 }, (_, i) => i);
    const content = (writer: BinaryWriter): unknown =>
      writer.tag(4, WireType.LengthDelimited).bytes(new Uint8Array(values.buffer));
    const { data } = decode(tensorProto(float, [100, 100], content));
    expect(data).toEqual(values);
    expect(Tensor.isOwned(data as Float32Array)).toBe(true);
  });

  it.each([
    ['of no dtype', tensorProto(0, [1])],
    ['of a resource', tensorProto(20, [1])],
    ['of a variant', tensorProto(21, [1])],
    ['of a reference', tensorProto(101, [1])],
    ['of an unknown dtype', tensorProto(999, [1])],
    ['of a negative dimension', tensorProto(float, [-1])],
    ['of more dimensions than TensorFlow has', tensorProto(float, Array(255).fill(1) as number[])],
    ['of dimensions that overflow', tensorProto(float, [2 ** 40, 2 ** 40])],
    ['of dimensions that overflow beside a 0', tensorProto(float, [2 ** 40, 0, 2 ** 40])],
    ['of a dimension beyond 53 bits', tensorProto(float, [2n ** 62n])],
    [
      'of unknown rank',
      tensorProto(float, undefined, (writer) =>
        writer.tag(2, WireType.LengthDelimited).fork().tag(3, WireType.Varint).bool(true).join(),
      ),
    ],
    [
      'with too little tensor_content',
      tensorProto(float, [2], (writer) =>
        writer.tag(4, WireType.LengthDelimited).bytes(new Uint8Array(4)),
      ),
    ],
    [
      'with too much tensor_content',
      tensorProto(float, [2], (writer) =>
        writer.tag(4, WireType.LengthDelimited).bytes(new Uint8Array(9)),
      ),
    ],
    [
      'with strings longer than its tensor_content',
      tensorProto(string, [1], (writer) =>
        writer.tag(4, WireType.LengthDelimited).bytes(Uint8Array.of(9, 1)),
      ),
    ],
    [
      'with fewer string lengths than strings',
      tensorProto(string, [2], (writer) =>
        writer.tag(4, WireType.LengthDelimited).bytes(Uint8Array.of(1, 0x80)),
      ),
    ],
  ])('%s is refused', (_, proto) => {
    expectStatus('INVALID_ARGUMENT', 'tensor parsing error: x', () => decode(proto));
  });

  it.each([
    ['one value of 2^40', tensorProto(float, [2 ** 40], floats(1))],
    ['no value of 2^53 - 1', tensorProto(int64, [2 ** 53 - 1])],
    ['2^40 strings', tensorProto(string, [2 ** 40])],
    [
      'a long string many times',
      tensorProto(string, [100_000], (writer) =>
        writer.tag(8, WireType.LengthDelimited).bytes(new Uint8Array(10_000)),
      ),
    ],
    ['4-bit integers', tensorProto(29, [2 ** 40])],
  ])('that asks for memory its bytes are not worth is refused: %s', (_, proto) => {
    expectStatus('INVALID_ARGUMENT', 'tensor parsing error: x: shape [', () => decode(proto));
  });

  it('has no more strings than a request may, with those of the other tensors', () => {
    const half = tensorProto(string, [2 ** 19], (writer) =>
      writer.tag(4, WireType.LengthDelimited).bytes(new Uint8Array(2 ** 19)),
    );
    const one = tensorProto(string, [1]);
    const text = 'The request has more than 1048576 strings';
    const tensors = new Map([
      ['a', half],
      ['b', half],
    ]);
    expect(decodeTensors(tensors)['b']?.size).toBe(2 ** 19);
    expectStatus('RESOURCE_EXHAUSTED', text, () => decodeTensors(tensors.set('c', one)));
    expectStatus('RESOURCE_EXHAUSTED', text, () => decode(tensorProto(string, [2 ** 20 + 1])));
  });

  it('may fill what the request’s budget has left', () => {
    const proto = tensorProto(float, [250], floats(1));
    const two = new Map([
      ['a', proto],
      ['b', proto],
    ]);
    expect(decodeTensors(two, { maxFillBytes: 2000 })['b']?.size).toBe(250);
    expectStatus('INVALID_ARGUMENT', 'tensor parsing error: b: shape [250] takes 1000 bytes', () =>
      decodeTensors(two, { maxFillBytes: 1500 }),
    );
  });
});

describe('hostile bytes', () => {
  const request = message('predictRequest');

  it.each([
    ['a packed float cut short', packed(5, (writer) => writer.raw(Uint8Array.of(1, 2, 3)))],
    ['a varint that does not end', packed(5, (writer) => writer.raw(Uint8Array.of(0x80)))],
  ])('in a tensor are an error: %s', (name, values) => {
    const isVarint = name.includes('varint');
    const proto = tensorProto(
      isVarint ? int32 : float,
      [2],
      isVarint ? packed(7, (writer) => writer.raw(Uint8Array.of(0x80))) : values,
    );
    expectStatus('INTERNAL', 'expected a protobuf tensorflow.TensorProto', () => decode(proto));
  });

  it.each([
    [int32, 7],
    [int64, 10],
    [bool, 11],
  ])('with a varint of eleven bytes for dtype %i are an error', (dataType, field) => {
    const long = new Uint8Array(11).fill(0xff);
    long[10] = 1;
    const proto = tensorProto(
      dataType,
      [1],
      packed(field, (writer) => writer.raw(long)),
    );
    expectStatus('INTERNAL', 'a number that does not end', () => decode(proto));
  });

  it('cut short or changed anywhere are a status or a request, and nothing else', () => {
    const tries: Uint8Array[] = [];
    for (let at = 0; at < request.length; at++) {
      tries.push(request.subarray(0, at));
      for (const bits of [0x01, 0x04, 0x80, 0xff]) {
        const changed = request.slice();
        changed[at] = (changed[at] as number) ^ bits;
        tries.push(changed);
      }
    }
    let refused = 0;
    for (const bytes of tries) {
      try {
        decodePredictRequest(bytes);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(StatusError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(100);
    expect(refused).toBeLessThan(tries.length);
  });

  it('that are a million empty filters or examples do not fill memory', () => {
    const empty = (field: number): Uint8Array => {
      const bytes = new Uint8Array(2 * (2 ** 20 + 1));
      for (let i = 0; i < bytes.length; i += 2) bytes[i] = (field << 3) | 2;
      return bytes;
    };
    expectStatus('INTERNAL', 'more elements than are accepted', () =>
      decodePredictRequestHead(empty(3)),
    );
    const examples = new BinaryWriter().tag(2, WireType.LengthDelimited).fork();
    examples.tag(1, WireType.LengthDelimited).bytes(empty(1));
    const request = examples.join().finish();
    expectStatus('INTERNAL', 'more elements than are accepted', () =>
      decodeClassificationRequest(request),
    );
  });

  it('that are no UTF-8 in a name are an error', () => {
    const bytes = new BinaryWriter()
      .tag(3, WireType.LengthDelimited)
      .bytes(Uint8Array.of(0xff))
      .finish();
    expectStatus('INTERNAL', 'not UTF-8', () => decodePredictRequest(bytes));
  });
});

describe('a PredictRequest', () => {
  it('of Python comes as it was', () => {
    const { modelSpec, inputs, outputFilter } = decodePredictRequest(message('predictRequest'));
    expect(modelSpec).toEqual({
      name: 'm',
      version: 2n ** 62n,
      label: undefined,
      signatureName: 's',
    });
    expect(Object.keys(inputs).sort()).toEqual(['x', 'ü']);
    expect(inputs['x']?.data).toEqual(Float32Array.of(1, 2));
    expect(inputs['ü']?.data).toEqual(BigInt64Array.of(-7n));
    expect(inputs['ü']?.shape).toEqual([]);
    expect(outputFilter).toEqual(['y', 'z']);
  });

  it('with nothing in it has no model', () => {
    expect(decodePredictRequest(new Uint8Array(0))).toEqual({
      modelSpec: undefined,
      inputs: {},
      outputFilter: [],
    });
  });

  it('keeps the last input of a name, and any name', () => {
    const writer = new BinaryWriter();
    for (const [name, value] of [
      ['__proto__', 1],
      ['a', 2],
      ['a', 3],
    ] as const) {
      writer.tag(2, WireType.LengthDelimited).fork();
      writer.tag(1, WireType.LengthDelimited).string(name);
      writer.tag(2, WireType.LengthDelimited).bytes(tensorProto(float, undefined, floats(value)));
      writer.join();
    }
    const { inputs } = decodePredictRequest(writer.finish());
    expect(Object.keys(inputs)).toEqual(['__proto__', 'a']);
    expect(inputs['a']?.data).toEqual(Float32Array.of(3));
  });

  it('with an input that has no value is refused', () => {
    const writer = new BinaryWriter().tag(2, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string('a').join();
    expectStatus('INVALID_ARGUMENT', 'tensor parsing error: a', () =>
      decodePredictRequest(writer.finish()),
    );
  });

  it('merges a spec that comes twice', () => {
    const part = (field: number, text: string): Uint8Array =>
      new BinaryWriter().tag(field, WireType.LengthDelimited).string(text).finish();
    const bytes = new BinaryWriter()
      .tag(1, WireType.LengthDelimited)
      .bytes(part(1, 'm'))
      .tag(1, WireType.LengthDelimited)
      .bytes(part(3, 's'))
      .finish();
    expect(decodePredictRequest(bytes).modelSpec).toMatchObject({ name: 'm', signatureName: 's' });
  });

  it('merges what comes a hundred thousand times in one go', () => {
    const long = 'm'.repeat(1 << 20);
    const name = new BinaryWriter().tag(1, WireType.LengthDelimited).string(long).finish();
    const value = tensorProto(float, undefined, floats(1));
    const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(name);
    for (let i = 0; i < 100_000; i++) writer.tag(1, WireType.LengthDelimited).bytes(nothing);
    writer.tag(2, WireType.LengthDelimited).fork();
    writer.tag(2, WireType.LengthDelimited).bytes(value);
    for (let i = 0; i < 100_000; i++) writer.tag(2, WireType.LengthDelimited).bytes(nothing);
    const { modelSpec, inputs } = decodePredictRequest(writer.join().finish());
    expect(modelSpec?.name).toBe(long);
    expect(inputs['']?.data).toEqual(Float32Array.of(1));
  });
});

describe('responses', () => {
  const spec = (version: bigint, signatureName = 's') => ({ name: 'm', version, signatureName });

  it('of Predict are Python’s bytes', () => {
    const outputs = [
      { name: 'a', tensor: Tensor.alloc('float32', [2, 0]) as Tensor },
      { name: 'b', tensor: new Tensor('int64', BigInt64Array.of(-7n), []) as Tensor },
    ];
    const bytes = encodePredictResponse({ modelSpec: spec(3n), outputs });
    expect(new Uint8Array(bytes)).toEqual(message('predictResponse'));
  });

  it('of Predict name their own model and signature, whatever characters are in them', () => {
    for (const [name, signatureName] of [
      ['c', 'a/b'],
      ['b/c', 'a'],
      ['b', 'a/c'],
    ] as const) {
      const bytes = encodePredictResponse({
        modelSpec: { name, version: 1n, signatureName },
        outputs: [],
      });
      const reader = new BinaryReader(bytes);
      expect(reader.tag()[0]).toBe(2);
      expect(ModelSpec.decode(reader.bytes())).toMatchObject({ name, signatureName });
    }
  });

  it('of Predict are whole for large tensors and names of any kind', () => {
    const data = Int32Array.from({ length: 100_000 }, (_, i) => (i % 2 === 0 ? i * 20_000 : -i));
    const bytes = encodePredictResponse({
      modelSpec: spec(3n),
      outputs: [{ name: 'größe', tensor: new Tensor('int32', data) }],
    });
    const reader = new BinaryReader(bytes);
    expect(reader.tag()).toEqual([1, WireType.LengthDelimited]);
    const entry = new BinaryReader(reader.bytes());
    expect(entry.tag()[0]).toBe(1);
    expect(entry.string()).toBe('größe');
    expect(entry.tag()[0]).toBe(2);
    expect(decode(entry.bytes()).data).toEqual(data);
  });

  it('of Predict for a dtype that TensorFlow lacks are an error', () => {
    const tensor = Tensor.alloc('float8e8m0', [1]);
    expectStatus('UNIMPLEMENTED', 'float8e8m0', () =>
      encodePredictResponse({ modelSpec: spec(1n), outputs: [{ name: 'y', tensor }] }),
    );
  });

  it('of the others are Python’s bytes', () => {
    const classifications = [
      [
        { label: 'a', score: 0.5 },
        { label: '', score: 0 },
      ],
      [],
    ];
    expect(encodeClassificationResponse({ modelSpec: spec(1n), classifications })).toEqual(
      message('classificationResponse'),
    );
    expect(encodeRegressionResponse({ modelSpec: spec(1n), values: [1.5, 0] })).toEqual(
      message('regressionResponse'),
    );
    expect(
      encodeMultiInferenceResponse([
        { modelSpec: spec(1n, 'c'), classifications: [[{ label: 'a', score: 0.5 }]] },
        { modelSpec: spec(1n, 'r'), values: [1.5] },
      ]),
    ).toEqual(message('multiInferenceResponse'));
    expect(
      encodeGetModelMetadataResponse({
        modelSpec: { name: 'm', version: 7n },
        signatureDefs: {
          serving_default: {
            inputs: { x: { name: 'serving_default_x:0', dtype: 'DT_FLOAT', shape: [-1, 3] } },
            outputs: { y: { name: 'y:0', dtype: 'DT_STRING', shape: undefined } },
            methodName: 'tensorflow/serving/predict',
          },
        },
      }),
    ).toEqual(message('getModelMetadataResponse'));
    expect(
      encodeGetModelStatusResponse([
        { version: 9n, state: 'AVAILABLE', error: { status: 'OK', message: '' } },
        { version: 8n, state: 'END', error: { status: 'INVALID_ARGUMENT', message: 'no graph' } },
      ]),
    ).toEqual(message('getModelStatusResponse'));
    expect(encodeReloadConfigResponse()).toEqual(message('reloadConfigResponse'));
  });
});

describe('requests of Python', () => {
  const spec = (rest: object) => ({
    name: 'm',
    version: undefined,
    label: undefined,
    signatureName: 's',
    ...rest,
  });
  const bytesOf = (list: Uint8Array[]): Uint8Array[] => list.map((bytes) => new Uint8Array(bytes));

  it('hold examples, a context in front of each', () => {
    const classify = decodeClassificationRequest(message('classificationRequest'));
    expect(classify.modelSpec).toEqual(spec({ label: 'stable' }));
    expect(bytesOf(classify.examples)).toEqual(references.examples.map(base64));
    const regress = decodeRegressionRequest(message('regressionRequest'));
    expect(regress.modelSpec).toEqual(spec({ version: 0n }));
    expect(bytesOf(regress.examples)).toEqual(references.examplesWithContext.map(base64));
    expect(decodeRegressionRequest(new Uint8Array(0))).toEqual({
      modelSpec: undefined,
      examples: [],
    });
  });

  it('with a context that is repeated too often are refused', () => {
    const request = new BinaryWriter().tag(2, WireType.LengthDelimited).fork();
    request.tag(2, WireType.LengthDelimited).fork();
    for (let i = 0; i < 65; i++) request.tag(1, WireType.LengthDelimited).bytes(nothing);
    request.tag(2, WireType.LengthDelimited).bytes(new Uint8Array(1 << 20));
    const bytes = request.join().join().finish();
    for (const decodeRequest of [decodeClassificationRequest, decodeMultiInferenceRequest]) {
      expectStatus(
        'RESOURCE_EXHAUSTED',
        'The examples with their context take more than 67108864 bytes',
        () => decodeRequest(bytes),
      );
    }
  });

  it('of several inferences, of metadata and status', () => {
    const { tasks, examples } = decodeMultiInferenceRequest(message('multiInferenceRequest'));
    expect(tasks).toEqual([
      {
        modelSpec: spec({ label: 'stable', signatureName: 'c' }),
        methodName: 'tensorflow/serving/classify',
      },
      {
        modelSpec: spec({ label: 'stable', signatureName: 'r' }),
        methodName: 'tensorflow/serving/regress',
      },
    ]);
    expect(bytesOf(examples)).toEqual(references.examples.map(base64));
    expect(decodeGetModelMetadataRequest(message('getModelMetadataRequest'))).toEqual({
      modelSpec: spec({ signatureName: '' }),
      metadataFields: ['signature_def'],
    });
    expect(decodeGetModelStatusRequest(message('getModelStatusRequest'))).toEqual({
      modelSpec: spec({ version: 5n, signatureName: '' }),
    });
  });

  it('of a reload', () => {
    const { config } = decodeReloadConfigRequest(message('reloadConfigRequest'));
    expect(config?.config).toMatchObject({
      case: 'modelConfigList',
      value: {
        config: [
          {
            name: 'm',
            basePath: '/models/m',
            modelPlatform: 'tensorflow',
            modelVersionPolicy: {
              policyChoice: { case: 'specific', value: { versions: [1n, 2n] } },
            },
            versionLabels: new Map([['stable', 1n]]),
          },
        ],
      },
    });
    expect(decodeReloadConfigRequest(new Uint8Array(0)).config).toBeUndefined();
  });

  it('are found again in the logs of requests', () => {
    const predict = decodePredictionLog(message('predictLog'));
    if (predict.kind !== 'predict') throw new Error('expected a predict request');
    expect(predict.request.inputs['x']?.data).toEqual(Float32Array.of(1, 2));
    expect(decodePredictionLog(message('classifyLog'))).toEqual({
      kind: 'classify',
      request: decodeClassificationRequest(message('classificationRequest')),
    });
    expect(decodePredictionLog(message('regressLog'))).toEqual({
      kind: 'regress',
      request: decodeRegressionRequest(message('regressionRequest')),
    });
    expect(decodePredictionLog(message('multiInferenceLog'))).toEqual({
      kind: 'multiInference',
      request: decodeMultiInferenceRequest(message('multiInferenceRequest')),
    });
    expect(decodePredictionLog(new Uint8Array(0))).toEqual({ kind: 'none' });
  });
});

describe('varints', () => {
  it('are as long as they are said to be', () => {
    for (let bits = 0; bits <= 53; bits++) {
      for (const value of [2 ** bits - 1, 2 ** bits]) {
        if (!Number.isSafeInteger(value)) continue;
        const writer = new ByteWriter(10);
        writer.varint(value);
        expect(writer.position).toBe(varintLength(value));
        expect(new BinaryReader(writer.bytes).uint64()).toBe(BigInt(value));
      }
    }
  });

  it('of 64-bit integers are those of another writer', () => {
    const values: bigint[] = [];
    for (let bits = 0n; bits < 64n; bits++)
      values.push(1n << bits, (1n << bits) - 1n, -(1n << bits));
    const data = BigInt64Array.from(values);
    const measured = measureTensorProto(new Tensor('int64', data), false);
    const writer = new ByteWriter(measured.byteLength);
    measured.write(writer);
    expect(writer.position).toBe(measured.byteLength);
    const proto = tensorProto(
      int64,
      [data.length],
      packed(10, (inner) => data.forEach((value) => inner.int64(value))),
    );
    expect(new Uint8Array(writer.bytes)).toEqual(proto);
    expect(decode(proto).data).toEqual(data);
  });
});
