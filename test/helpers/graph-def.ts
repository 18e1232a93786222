/** Small GraphDefs, written by hand where no fixture goes. */

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}

function bytesField(field: number, content: string | number[]): number[] {
  const bytes = typeof content === 'string' ? [...Buffer.from(content)] : content;
  return [...varint((field << 3) | 2), ...varint(bytes.length), ...bytes];
}

function numberField(field: number, value: number): number[] {
  return [...varint(field << 3), ...varint(value)];
}

function attribute(name: string, value: number[]): number[] {
  return bytesField(5, [...bytesField(1, name), ...bytesField(2, value)]);
}

function node(
  name: string,
  op: string,
  inputs: readonly string[],
  attributes: number[],
  device = '',
): number[] {
  const content = [
    ...bytesField(1, name),
    ...bytesField(2, op),
    ...inputs.flatMap((input) => bytesField(3, input)),
    ...bytesField(4, device),
    ...attributes,
  ];
  return bytesField(1, content);
}

function placeholder(name: string, type: number[]): number[] {
  const unknownRank = bytesField(7, numberField(3, 1));
  return node(
    name,
    'Placeholder',
    [],
    [...attribute('dtype', type), ...attribute('shape', unknownRank)],
  );
}

/**
 * A GraphDef with `x`, a placeholder of unknown rank, and `y`, its identity.
 *
 * @param dataType A number of tensorflow.DataType.
 * @param device Where `y` is to be.
 */
export function identityGraph(dataType: number, device = ''): Uint8Array {
  const type = numberField(6, dataType);
  return Uint8Array.from([
    ...placeholder('x', type),
    ...node('y', 'Identity', ['x'], attribute('T', type), device),
  ]);
}

/** A GraphDef with `x`, a placeholder of floats, and `y` = x + (1 + 1), of which a part is constant. */
export function foldableGraph(): Uint8Array {
  const float = 1;
  const type = numberField(6, float);
  const one = [
    ...numberField(1, float),
    ...bytesField(2, []),
    ...bytesField(4, [...new Uint8Array(Float32Array.of(1).buffer)]),
  ];
  return Uint8Array.from([
    ...placeholder('x', type),
    ...node(
      'one',
      'Const',
      [],
      [...attribute('dtype', type), ...attribute('value', bytesField(8, one))],
    ),
    ...node('two', 'AddV2', ['one', 'one'], attribute('T', type)),
    ...node('y', 'AddV2', ['x', 'two'], attribute('T', type)),
  ]);
}

/** A GraphDef with a Const `c0`, `c1`, … for each TensorProto. */
export function constantsGraph(
  constants: readonly { readonly dataType: number; readonly proto: Uint8Array }[],
): Uint8Array {
  return Uint8Array.from(
    constants.flatMap(({ dataType, proto }, index) =>
      node(
        `c${index}`,
        'Const',
        [],
        [
          ...attribute('dtype', numberField(6, dataType)),
          ...attribute('value', bytesField(8, [...proto])),
        ],
      ),
    ),
  );
}
