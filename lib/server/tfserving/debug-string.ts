import type { SignatureDef, SignatureTensor } from '../models.js';

/** A SignatureDef in protobuf's text format, as TensorFlow Serving's messages have it. */
export function signatureDebugString({ inputs, outputs, methodName }: SignatureDef): string {
  const lines: string[] = [];
  entries(lines, 'inputs', inputs);
  entries(lines, 'outputs', outputs);
  if (methodName !== '') lines.push(`method_name: ${quoted(methodName)}`);
  return lines.map((line) => `${line}\n`).join('');
}

function entries(
  lines: string[],
  field: string,
  tensors: Readonly<Record<string, SignatureTensor>>,
): void {
  for (const [alias, { name, dtype, shape, cooSparse }] of Object.entries(tensors)) {
    lines.push(`${field} {`, `  key: ${quoted(alias)}`, '  value {');
    if (cooSparse === undefined) lines.push(`    name: ${quoted(name)}`);
    lines.push(`    dtype: ${dtype}`, '    tensor_shape {');
    if (shape === undefined) lines.push('      unknown_rank: true');
    for (const size of shape ?? []) {
      lines.push('      dim {', ...(size === 0 ? [] : [`        size: ${size}`]), '      }');
    }
    lines.push('    }');
    if (cooSparse !== undefined) {
      lines.push(
        '    coo_sparse {',
        `      values_tensor_name: ${quoted(cooSparse.valuesTensorName)}`,
        `      indices_tensor_name: ${quoted(cooSparse.indicesTensorName)}`,
        `      dense_shape_tensor_name: ${quoted(cooSparse.denseShapeTensorName)}`,
        '    }',
      );
    }
    lines.push('  }', '}');
  }
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
