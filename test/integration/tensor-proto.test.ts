/** TensorProtos as Tenon decodes them and as TensorFlow itself does, which it has in its constants. */

import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';

import { decodeTensors } from '../../lib/codec/proto/index.js';
import { StatusError } from '../../lib/codec/status.js';
import { load, type Tensor } from '../../lib/index.js';
import { constantsGraph } from '../helpers/graph-def.js';
import { fixture } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();

interface Constant {
  name: string;
  dataType: number;
  proto: Uint8Array;
}

const float = 1;
const int32 = 3;
const uint8 = 4;
const int16 = 5;
const string = 7;
const complex64 = 8;
const int64 = 9;
const half = 19;

function constant(
  name: string,
  dataType: number,
  shape: readonly number[] | undefined,
  rest: (writer: BinaryWriter) => unknown = () => undefined,
): Constant {
  const writer = new BinaryWriter().tag(1, WireType.Varint).int32(dataType);
  if (shape !== undefined) {
    writer.tag(2, WireType.LengthDelimited).fork();
    for (const size of shape) {
      writer.tag(2, WireType.LengthDelimited).fork();
      writer.tag(1, WireType.Varint).int64(size).join();
    }
    writer.join();
  }
  rest(writer);
  return { name, dataType, proto: writer.finish() };
}

function floats(field: number, ...values: number[]) {
  return (writer: BinaryWriter): unknown => {
    writer.tag(field, WireType.LengthDelimited).fork();
    for (const value of values) writer.float(value);
    return writer.join();
  };
}

function integers(field: number, ...values: number[]) {
  return (writer: BinaryWriter): unknown => {
    writer.tag(field, WireType.LengthDelimited).fork();
    for (const value of values) writer.int64(value);
    return writer.join();
  };
}

function bytes(field: number, ...values: Uint8Array[]) {
  return (writer: BinaryWriter): unknown => {
    for (const value of values) writer.tag(field, WireType.LengthDelimited).bytes(value);
    return writer;
  };
}

const content = (...values: number[]) => bytes(4, Uint8Array.from(values));

async function byTensorFlow(constants: readonly Constant[]): Promise<Tensor[]> {
  const file = path.join(folder, 'constants.pb');
  writeFileSync(file, constantsGraph(constants));
  const outputs = constants.map((_, index) => `c${index}`);
  await using model = await load(file, { tensorflow: { inputs: [], outputs } });
  const results = await model.run({});
  return outputs.map((name) => results[name] as Tensor);
}

function byTenon({ proto }: Constant): Tensor {
  return decodeTensors(new Map([['x', proto]]))['x'] as Tensor;
}

const references = JSON.parse(readFileSync(fixture('protobuf_messages.json'), 'utf8')) as {
  tensors: { dtype: string; typed: string; content: string; one: string }[];
};

const fromPython = references.tensors.flatMap(({ dtype, ...forms }) =>
  (['typed', 'content', 'one'] as const).map((form): Constant => {
    const proto = Buffer.from(forms[form], 'base64');
    return { name: `${dtype}, ${form}`, dataType: proto[1] as number, proto };
  }),
);

const odd: Constant[] = [
  constant('no shape', float, undefined, floats(5, 2)),
  constant('no values', float, [3]),
  constant('fewer values', float, [4], floats(5, 1, 2)),
  constant('more values', float, [2], floats(5, 1, 2, 3)),
  constant('values in pieces', float, [3], (writer) =>
    floats(5, 2, 3)(floats(5, 1)(writer) as BinaryWriter),
  ),
  constant('values of another dtype', int32, [2], floats(5, 1, 2)),
  constant('half a complex number', complex64, [2], floats(9, 1, 2, 3)),
  constant('content before values', uint8, [2], (writer) =>
    content(7, 8)(integers(7, 1, 2)(writer) as BinaryWriter),
  ),
  constant('integers that wrap', uint8, [3], integers(7, 300, -1, 255)),
  constant('16 bits that wrap', int16, [2], integers(7, 40_000, -40_000)),
  constant('bits beyond 16 in half_val', half, [2], integers(13, 0x13c00, -1)),
  constant('64 bits in a field of 32', int32, [2], integers(7, 2 ** 40 + 5, -1)),
  constant('large integers', int64, [2], integers(10, Number.MAX_SAFE_INTEGER, -5)),
  constant('no elements', float, [2, 0], floats(5, 1)),
  constant('no elements but content', float, [0], content(1, 2, 3)),
  constant('strings that are filled', string, [3], bytes(8, Buffer.from('a'), Buffer.from('b'))),
  constant('no strings', string, [2]),
  constant('strings in content', string, [2], content(1, 2, 0x61, 0x62, 0x63)),
];

const refused: Constant[] = [
  constant('content too short', float, [2], content(0, 0, 0, 0)),
  constant('content too long', float, [1], content(0, 0, 0, 0, 0)),
  constant('content of no whole element', float, [1], content(0, 0, 0)),
  constant('strings cut short', string, [2], content(1, 2, 0x61)),
  constant('strings with more behind', string, [1], content(1, 0x61, 0x62)),
  constant('a negative dimension', float, [-1], floats(5, 1)),
];

describe('a TensorProto', () => {
  const known = [...fromPython, ...odd];

  it('is to TensorFlow what it is to Tenon', async () => {
    const results = await byTensorFlow(known);
    known.forEach((each, index) => {
      const theirs = results[index] as Tensor;
      const ours = byTenon(each);
      expect(ours.dtype, each.name).toBe(theirs.dtype);
      expect(ours.shape, each.name).toEqual(theirs.shape);
      const bytesOf = (tensor: Tensor): unknown =>
        tensor.dtype === 'string'
          ? (tensor.bytes as unknown as Uint8Array[]).map((each) => Buffer.from(each))
          : Buffer.from(tensor.bytes as Uint8Array);
      expect(bytesOf(ours), each.name).toEqual(bytesOf(theirs));
    });
  });

  it.each(refused)('with $name is refused by both', async (each) => {
    expect(() => byTenon(each)).toThrow(StatusError);
    await expect(byTensorFlow([each])).rejects.toThrow();
  });
});
