/** Bodies of the Open Inference Protocol: JSON and binary tensors, and what is wrong with them. */

import { describe, expect, it } from 'vitest';

import { decodeInferRequest, type InferRequestBody } from '../../lib/codec/oip/infer-request.js';
import { encodeInferResponse } from '../../lib/codec/oip/infer-response.js';
import type { RawCounts } from '../../lib/codec/oip/raw.js';
import { type DType, Tensor } from '../../lib/index.js';

const decode = async (
  request: unknown,
  binary?: Uint8Array,
  counts: RawCounts = { passed: 0, copied: 0 },
): Promise<InferRequestBody> => {
  const header = Buffer.from(typeof request === 'string' ? request : JSON.stringify(request));
  return binary === undefined
    ? decodeInferRequest(header, undefined, counts)
    : decodeInferRequest(Buffer.concat([header, binary]), header.length, counts);
};

const input = (datatype: string, shape: unknown, data: unknown): object => ({
  inputs: [{ name: 'x', datatype, shape, data }],
});

async function feed(request: unknown, binary?: Uint8Array): Promise<Tensor> {
  const { feeds } = await decode(request, binary);
  return feeds['x'] as Tensor;
}

describe('elements in JSON', () => {
  it.each<[string, DType, string, unknown[]]>([
    ['BOOL', 'bool', '[true, false]', [true, false]],
    ['UINT8', 'uint8', '[0, 255]', [0, 255]],
    ['UINT16', 'uint16', '[0, 65535]', [0, 65535]],
    ['UINT32', 'uint32', '[0, 4294967295]', [0, 4294967295]],
    ['UINT64', 'uint64', '[0, 18446744073709551615]', [0n, 18446744073709551615n]],
    ['INT8', 'int8', '[-128, 127]', [-128, 127]],
    ['INT16', 'int16', '[-32768, 32767]', [-32768, 32767]],
    ['INT32', 'int32', '[-2147483648, 2147483647]', [-2147483648, 2147483647]],
    [
      'INT64',
      'int64',
      '[-9223372036854775808, 9007199254740993]',
      [-9223372036854775808n, 9007199254740993n],
    ],
    ['FP32', 'float32', '[1, 0.1]', [1, Math.fround(0.1)]],
    ['FP64', 'float64', '[0.1, 1e300]', [0.1, 1e300]],
    ['BYTES', 'string', '["\\u00e4", ""]', ['ä', '']],
  ])('%s', async (datatype, dtype, data, elements) => {
    const text = `{"inputs":[{"name":"x","datatype":"${datatype}","shape":[2],"data":${data}}]}`;
    const tensor = await feed(text);
    expect(tensor).toMatchObject({ dtype, shape: [2] });
    expect(tensor.toArray()).toEqual(elements);
  });

  it('takes lists flat or nested, and the datatype behind the data', async () => {
    const nested = await feed(input('INT32', [2, 2], [[1, 2], [3, 4]])); // prettier-ignore
    expect(nested.toArray()).toEqual([
      [1, 2],
      [3, 4],
    ]);
    const text = '{"inputs":[{"data":[ [1 ] , [2\n]],"shape":[2,1],"datatype":"FP32","name":"x"}]}';
    expect((await feed(text)).toArray()).toEqual([[1], [2]]);
    expect((await feed(input('FP32', [2, 0], []))).toArray()).toEqual([[], []]);
    expect((await feed(input('FP32', [], [7]))).toArray()).toBe(7);
  });

  it('reads a long body on another thread', async () => {
    const data = Array.from({ length: 20_000 }, (_, i) => i / 7);
    const body = { id: 'a', parameters: { timeout: 5 }, ...input('FP64', [100, 200], data) };
    const decoding = decode(body);
    const { id, parameters, feeds } = await decoding;
    expect([id, [...parameters]]).toEqual(['a', [['timeout', 5]]]);
    expect([...(feeds['x'] as Tensor<'float64'>).data]).toEqual(data);
  });

  it('passes over what nobody knows', async () => {
    const { feeds, outputs } = await decode({
      model_name: 'm',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1], data: [1], more: { data: [2] } }],
      outputs: [{ name: 'y', parameters: { classification: 2 }, more: [] }],
      inputs2: [{ datatype: 'FP32', data: ['a'] }],
    });
    expect(Object.keys(feeds)).toEqual(['x']);
    expect(outputs).toEqual([{ name: 'y', parameters: new Map([['classification', 2]]) }]);
  });
});

describe('binary data', () => {
  const announced = (datatype: string, shape: number[], size: number): object => ({
    inputs: [{ name: 'x', datatype, shape, parameters: { binary_data_size: size } }],
  });

  it('is a view of the body where it is aligned, and one copy where it is not', async () => {
    const values = new Uint8Array(new Float32Array([1, 2, 3]).buffer);
    const header = JSON.stringify(announced('FP32', [3], 12));
    for (const shift of [0, 1, 2, 3]) {
      const memory = new ArrayBuffer(256);
      const body = Buffer.from(memory, shift, header.length + 12);
      body.write(header);
      body.set(values, header.length);
      const counts = { passed: 0, copied: 0 };
      const { feeds } = await decodeInferRequest(body, header.length, counts);
      const tensor = feeds['x'] as Tensor<'float32'>;
      expect([...tensor.data]).toEqual([1, 2, 3]);
      const isAligned = (shift + header.length) % 4 === 0;
      expect(counts).toEqual(isAligned ? { passed: 12, copied: 0 } : { passed: 0, copied: 12 });
      expect(tensor.data.buffer === memory).toBe(isAligned);
    }
  });

  it('is read for every datatype, halves included', async () => {
    const half = await feed(announced('FP16', [2], 4), Uint8Array.from([0, 0x3c, 0, 0xc0]));
    expect(half.toArray()).toEqual([1, -2]);
    const brain = await feed(announced('BF16', [1], 2), Uint8Array.from([0x80, 0x3f]));
    expect(brain.toArray()).toEqual([1]);
    const flags = await feed(announced('BOOL', [3], 3), Uint8Array.from([0, 1, 7]));
    expect([...(flags.bytes as Uint8Array)]).toEqual([0, 1, 1]);
    const texts = await feed(
      announced('BYTES', [2], 11),
      Buffer.from('\x03\0\0\0abc\0\0\0\0', 'latin1'),
    );
    expect(texts.toArray()).toEqual(['abc', '']);
  });

  it('may stand beside JSON', async () => {
    const { feeds } = await decode(
      {
        inputs: [
          { name: 'a', datatype: 'INT8', shape: [1], parameters: { binary_data_size: 1 } },
          { name: 'b', datatype: 'INT8', shape: [2], data: [5, 6] },
          { name: 'c', datatype: 'INT8', shape: [1], parameters: { binary_data_size: 1 } },
        ],
      },
      Uint8Array.from([1, 9]),
    );
    expect(Object.values(feeds).map((tensor) => tensor.toArray())).toEqual([[1], [5, 6], [9]]);
  });

  const sized = (size: unknown, more: object = {}): object => ({
    inputs: [
      { name: 'x', datatype: 'INT8', shape: [2], parameters: { binary_data_size: size }, ...more },
    ],
  });
  const two = new Uint8Array(2);

  it.each<[string, unknown, Uint8Array | undefined, string]>([
    [
      'more than there is',
      sized(3),
      two,
      'expected 3 bytes of binary data for input "x", received 2',
    ],
    ['less than there is', sized(2), new Uint8Array(5), 'received 3 more'],
    [
      'another size than the shape’s',
      sized(1),
      new Uint8Array(1),
      'expected 2 bytes for input "x"',
    ],
    ['a size that is none', sized(-1), two, 'expected an integer of 0 or more for the parameter'],
    ['a size that is text', sized('2'), two, 'expected an integer of 0 or more for the parameter'],
    ['a size nobody has', sized(2 ** 60), two, 'bytes of binary data for input "x", received 2'],
    ['data in both forms', sized(2, { data: [1, 2] }), two, 'expected "data" or binary data'],
    ['no header', sized(2), undefined, 'expected the header Inference-Header-Content-Length'],
    [
      'strings that are cut off',
      announced('BYTES', [1], 5),
      Uint8Array.from([200, 0, 0, 0, 1]),
      'expected a length and as many bytes for element 0 of input "x"',
    ],
    [
      'too few strings',
      announced('BYTES', [2], 4),
      Uint8Array.from([0, 0, 0, 0]),
      'expected 2 elements of BYTES for input "x", received 1',
    ],
    [
      'too many strings',
      announced('BYTES', [1], 8),
      new Uint8Array(8),
      'expected 1 elements of BYTES for input "x", received 4 bytes more',
    ],
  ])('refuses %s', async (_, request, binary, message) => {
    await expect(decode(request, binary)).rejects.toMatchObject({
      status: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message) as string,
    });
  });

  it('refuses a header that is longer than the body', () => {
    expect(() => decodeInferRequest(Buffer.from('{}'), 3, { passed: 0, copied: 0 })).toThrow(
      'expected 3 bytes of JSON, as Inference-Header-Content-Length has it, received a body of 2',
    );
  });
});

describe('refusals', () => {
  it.each<[string, unknown, string]>([
    ['no JSON', '{"inputs":', 'JSON Parse error: '],
    ['an empty body', '', 'JSON Parse error: The document is empty'],
    ['something behind the request', '{"inputs":[]} x', 'expected a JSON object and nothing else'],
    [
      'a number that JSON does not have',
      '{"inputs":[],"id":NaN}',
      'expected a JSON object and nothing else',
    ],
    ['a list', '[]', 'expected a JSON object and nothing else'],
    ['no inputs', '{}', 'expected an array as the "inputs" of the request, received none'],
    ['an id that is no text', { id: 7, inputs: [] }, 'expected a string as the "id"'],
    ['inputs without a name', { inputs: [{}] }, 'expected a string as the "name" of each input'],
    ['inputs that are none', { inputs: [7] }, 'expected an object for each input, received 7'],
    ['outputs that are none', { inputs: [], outputs: {} }, 'expected an array as the "outputs"'],
    [
      'parameters that are none',
      { inputs: [], parameters: { a: [] } },
      'for the parameter "a" of the request, received []',
    ],
    ['an unknown datatype', input('FP8', [1], [1]), 'as the datatype of input "x", received "FP8"'],
    ['no datatype', { inputs: [{ name: 'x', shape: [1], data: [1] }] }, 'received none'],
    ['a datatype of the prototype', input('toString', [1], [1]), 'received "toString"'],
    ['halves', input('FP16', [1], [1]), 'expected binary data for input "x", which is FP16'],
    ['no shape', input('FP32', undefined, [1]), 'as the shape of input "x", received none'],
    ['a negative size', input('FP32', [-1], [1]), 'expected integers of 0 or more in the shape'],
    ['a size with a fraction', input('FP32', [1.5], [1]), 'received 1.5'],
    [
      'a shape larger than memory',
      input('FP32', [2 ** 30, 2 ** 30], [1]),
      'expected at most 2^53 - 1 elements in the shape of input "x"',
    ],
    ['a huge rank', input('FP32', new Array(300).fill(1), [1]), 'received 300 of them'],
    ['too few elements', input('FP32', [2], [1]), 'expected 2 elements for input "x" of shape [2]'],
    ['no data', input('FP32', [1], undefined), 'as the "data" of input "x", received none'],
    ['data that is no list', input('FP32', [1], 1), 'as the "data" of input "x", received 1'],
    ['null', input('FP32', [1], [null]), 'received null'],
    ['text among numbers', input('FP32', [2], [1, 'a"b']), 'received "a\\"b"'],
    ['numbers among texts', input('BYTES', [1], [1]), 'received 1'],
    ['a fraction', input('INT32', [1], [1.5]), 'received 1.5'],
    ['an integer that does not fit', input('INT8', [1], [128]), 'received 128'],
    ['a negative one', input('UINT16', [1], [-1]), 'received -1'],
    ['one of 64 bits that does not fit', '{"inputs":[{"name":"x","datatype":"INT64","shape":[1],"data":[9223372036854775808]}]}', 'received 9223372036854775808'], // prettier-ignore
    ['numbers as truth', input('BOOL', [1], [1]), 'received 1'],
    [
      'two datatypes',
      '{"inputs":[{"name":"x","datatype":"INT8","data":[1],"datatype":"FP32","shape":[1]}]}',
      'expected a list of FP32 elements as the "data" of input "x"',
    ],
    [
      'an input that is there twice',
      { inputs: [0, 1].map(() => ({ name: 'x', datatype: 'FP32', shape: [1], data: [1] })) },
      'expected input "x" once, received it twice',
    ],
  ])('%s', async (_, request, message) => {
    await expect(decode(request)).rejects.toMatchObject({
      status: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message) as string,
    });
  });

  it('lists that are nested without an end', async () => {
    const deep = '['.repeat(1_000_000);
    await expect(
      decode(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":${deep}`),
    ).rejects.toMatchObject({ status: 'INVALID_ARGUMENT' });
    const closed = `${deep}1${']'.repeat(1_000_000)}`;
    await expect(
      decode(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":${closed}}]}`),
    ).rejects.toMatchObject({ status: 'INVALID_ARGUMENT' });
    await expect(decode(`{"inputs":[],"a":${closed}}`)).resolves.toBeDefined();
  });

  it('more strings than a request may have', async () => {
    const count = 2 ** 20 + 1;
    const data = `["",${'"",'.repeat(count - 2)}""]`;
    const text = `{"inputs":[{"name":"x","datatype":"BYTES","shape":[${count}],"data":${data}}]}`;
    await expect(decode(text)).rejects.toMatchObject({ status: 'RESOURCE_EXHAUSTED' });
  });

  it('more JSON than is parsed where requests are handled', async () => {
    const text = JSON.stringify({ inputs: [], more: 'x'.repeat(5 << 20) });
    await expect(decode(text)).rejects.toThrow('bytes of JSON beside the elements of inputs');
  });
});

describe('answers', () => {
  const encode = async (outputs: Record<string, Tensor>, binary: string[] = []) => {
    const { json, binary: chunks } = await encodeInferResponse({
      modelName: 'a "b"',
      modelVersion: 3n,
      id: undefined,
      outputs: Object.entries(outputs).map(([name, tensor]) => ({
        name,
        tensor,
        isBinary: binary.includes(name),
      })),
    });
    return { json: json.toString(), chunks: chunks?.map((chunk) => [...chunk]) };
  };

  it('hold elements exactly, on one line', async () => {
    const { json, chunks } = await encode({
      f: Tensor.from([[1, 0.1]], 'float32'),
      i: Tensor.from([2n ** 63n - 1n], 'int64'),
      b: Tensor.from([true], 'bool'),
      s: Tensor.from(['"ä"\n']),
      e: new Tensor('float64', new Float64Array(0), [0, 2]),
    });
    expect(json).toBe(
      '{"model_name":"a \\"b\\"","model_version":"3","outputs":[' +
        '{"name":"f","datatype":"FP32","shape":[1,2],"data":[1.0, 0.1]},' +
        '{"name":"i","datatype":"INT64","shape":[1],"data":[9223372036854775807]},' +
        '{"name":"b","datatype":"BOOL","shape":[1],"data":[true]},' +
        '{"name":"s","datatype":"BYTES","shape":[1],"data":["\\"ä\\"\\n"]},' +
        '{"name":"e","datatype":"FP64","shape":[0,2],"data":[]}]}',
    );
    expect(chunks).toBeUndefined();
  });

  it('hold binary tensors behind the JSON, some or all of them', async () => {
    const outputs = {
      f: Tensor.from([1], 'float32'),
      i: Tensor.from([7], 'int8'),
      s: Tensor.from(['ab']),
    };
    expect(await encode(outputs, ['f', 's'])).toEqual({
      json:
        '{"model_name":"a \\"b\\"","model_version":"3","outputs":[' +
        '{"name":"f","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}},' +
        '{"name":"i","datatype":"INT8","shape":[1],"data":[7]},' +
        '{"name":"s","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}',
      chunks: [
        [0, 0, 128, 63],
        [2, 0, 0, 0, 97, 98],
      ],
    });
  });

  it('are written on another thread where they are long', async () => {
    const values = Float64Array.from({ length: 10_000 }, (_, i) => i / 3);
    const { json } = await encode({ y: new Tensor('float64', values) });
    const { outputs } = JSON.parse(json) as { outputs: { data: number[] }[] };
    expect(outputs[0]?.data).toEqual([...values]);
  });

  it('are refused where JSON cannot carry them', async () => {
    await expect(encode({ y: new Tensor('float16', new Uint16Array(1)) })).rejects.toThrow(
      'expected output "y" of FP16 to be asked for with binary_data',
    );
    const bytes = new Tensor('string', [Uint8Array.from([0xff])]);
    await expect(encode({ y: bytes })).rejects.toMatchObject({ code: 'ERR_TENON_INVALID_UTF8' });
  });
});
