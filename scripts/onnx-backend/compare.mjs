// How an output is compared with the expected one: by the rules of ONNX's own
// runner, except that integers, which it compares with the tolerance too, have
// to be equal.
import { Tensor } from '../../dist/index.js';

/** |received − expected| ≤ atol + rtol · |expected|: what ONNX's runner takes by default. */
export const defaultTolerance = { rtol: 1e-3, atol: 1e-7 };

/** Two units in the last place, which ONNX's runner grants this type. */
const bfloat16Rtol = 2 ** -6;

/** What differs, in words; undefined where nothing does. */
export function difference(received, expected, tolerance) {
  const kinds = [kindOf(received), kindOf(expected)];
  if (kinds[0] !== kinds[1]) return `expected ${kinds[1]}, received ${kinds[0]}`;
  if (expected === null) return undefined;
  if (expected instanceof Tensor) return tensorDifference(received, expected, tolerance);
  if (received.length !== expected.length) {
    return `expected ${expected.length} elements, received ${received.length}`;
  }
  for (const [index, value] of expected.entries()) {
    const words = difference(received[index], value, tolerance);
    if (words !== undefined) return `element ${index}: ${words}`;
  }
  return undefined;
}

function kindOf(value) {
  if (value === null) return 'nothing';
  if (value instanceof Tensor) return 'a tensor';
  return Array.isArray(value) ? 'a sequence' : 'a map';
}

function tensorDifference(received, expected, tolerance) {
  for (const part of ['dtype', 'shape']) {
    const [is, wanted] = [received[part], expected[part]].map((value) => JSON.stringify(value));
    if (is !== wanted) return `expected ${part} ${wanted}, received ${is}`;
  }
  const near = closeness(expected.dtype, tolerance);
  const [is, wanted] = [elementsOf(received), elementsOf(expected)];
  const wrong = [...wanted.keys()].filter((index) => !near(is[index], wanted[index]));
  if (wrong.length === 0) return undefined;
  const [first] = wrong;
  return (
    `${wrong.length} of ${wanted.length} elements differ, the first at ${first}: ` +
    `expected ${wanted[first]}, received ${is[first]}`
  );
}

/** Elements in a form that compares by value. */
function elementsOf(tensor) {
  switch (tensor.dtype) {
    case 'string':
      // One character a byte, whatever the bytes are.
      return tensor.bytes.map((bytes) => Buffer.from(bytes).toString('latin1'));
    case 'float32':
    case 'float64':
    case 'complex64':
    case 'complex128':
    case 'int64':
    case 'uint64':
    case 'int32':
    case 'uint32':
      return tensor.data;
    default:
      // Every value of the smaller types is a float32.
      return tensor.toFloat32();
  }
}

function closeness(dtype, { rtol, atol }) {
  const relative = dtype === 'bfloat16' ? Math.max(rtol, bfloat16Rtol) : rtol;
  const isExact = !/float|complex/.test(dtype);
  return (received, expected) => {
    if (received === expected || Object.is(received, expected)) return true;
    if (isExact || !Number.isFinite(expected)) return false;
    return Math.abs(received - expected) <= atol + relative * Math.abs(expected);
  };
}
