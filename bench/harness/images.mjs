// Images as JSON, and what one writes by hand to serve them.
import { floatElements, onnxruntimeNode, onnxruntimeNodeSession } from './engines.mjs';
import { serveFastify } from './http.mjs';

/** The server's address for a model. */
export const predictUrl = (name) => `/v1/models/${name}:predict`;

/** One image as JSON, with the digits that a float32 takes. */
export function imageBody(shape) {
  const values = floatElements(shape.reduce((product, size) => product * size, 1));
  let next = 0;
  const build = ([size, ...rest]) =>
    Array.from({ length: size }, () =>
      rest.length > 0 ? build(rest) : Number(values[next++].toPrecision(8)),
    );
  return JSON.stringify({ instances: [build(shape)] });
}

/**
 * The port of a route that does JSON.parse, flattens into a Float32Array, runs, and does
 * JSON.stringify.
 */
export async function serveByHand({ name, file, shape }) {
  const { Tensor } = onnxruntimeNode();
  const session = await onnxruntimeNodeSession(file());
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  return serveFastify(predictUrl(name), async (body) => {
    const { instances } = JSON.parse(body.toString());
    const data = Float32Array.from(instances.flat(Infinity));
    const results = await session.run({
      [input]: new Tensor('float32', data, [instances.length, ...shape]),
    });
    const { data: values, dims } = results[output];
    const [rows, columns] = dims;
    const predictions = Array.from({ length: rows }, (_, row) =>
      Array.from(values.subarray(row * columns, (row + 1) * columns)),
    );
    return JSON.stringify({ predictions });
  });
}
