/** ONNX models written by hand where no fixture goes. Field numbers are those of onnx.proto. */

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}

function bytesField(field: number, content: string | readonly number[]): number[] {
  const bytes = typeof content === 'string' ? [...Buffer.from(content)] : content;
  return [...varint((field << 3) | 2), ...varint(bytes.length), ...bytes];
}

function numberField(field: number, value: number): number[] {
  return [...varint(field << 3), ...varint(value)];
}

function node(type: string, inputs: readonly string[], outputs: readonly string[]): number[] {
  return bytesField(1, [
    ...inputs.flatMap((name) => bytesField(1, name)),
    ...outputs.flatMap((name) => bytesField(2, name)),
    ...bytesField(4, type),
  ]);
}

/** A float32 vector of `n` elements, in the graph's list of inputs (11) or outputs (12). */
function vector(list: 11 | 12, name: string): number[] {
  const shape = bytesField(2, bytesField(1, bytesField(2, 'n')));
  const type = bytesField(1, [...numberField(1, 1), ...shape]);
  return bytesField(list, [...bytesField(1, name), ...bytesField(2, type)]);
}

function model(graph: readonly number[]): Uint8Array {
  const [irVersion, opset] = [8, 17];
  return Uint8Array.from([
    ...numberField(1, irVersion),
    ...bytesField(7, [...graph, ...bytesField(2, 'graph')]),
    ...bytesField(8, numberField(2, opset)),
  ]);
}

/** The sum of `count` vectors `x0`, `x1` … as `y`. */
export function sumModel(count: number): Uint8Array {
  const names = Array.from({ length: count }, (_, i) => `x${i}`);
  return model([
    ...node('Sum', names, ['y']),
    ...names.flatMap((name) => vector(11, name)),
    ...vector(12, 'y'),
  ]);
}

/** The elements of `x` above 0 as `y`, which the model wrongly declares to be as many. */
export function positivesModel(): Uint8Array {
  return model([
    ...node('Sub', ['x', 'x'], ['zero']),
    ...node('Greater', ['x', 'zero'], ['keep']),
    ...node('Compress', ['x', 'keep'], ['y']),
    ...vector(11, 'x'),
    ...vector(12, 'y'),
  ]);
}
