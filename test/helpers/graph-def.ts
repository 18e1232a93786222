/** Small GraphDefs, written by hand where no fixture goes: one placeholder and its identity. */

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

/**
 * A GraphDef with `x`, a placeholder of unknown rank, and `y`, its identity.
 *
 * @param dataType A number of tensorflow.DataType.
 */
export function identityGraph(dataType: number): Uint8Array {
  const type = numberField(6, dataType);
  const unknownRank = bytesField(7, numberField(3, 1));
  const x = [
    ...bytesField(1, 'x'),
    ...bytesField(2, 'Placeholder'),
    ...attribute('dtype', type),
    ...attribute('shape', unknownRank),
  ];
  const y = [
    ...bytesField(1, 'y'),
    ...bytesField(2, 'Identity'),
    ...bytesField(3, 'x'),
    ...attribute('T', type),
  ];
  return Uint8Array.from([...bytesField(1, x), ...bytesField(1, y)]);
}
