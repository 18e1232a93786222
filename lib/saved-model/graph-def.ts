import { TenonError } from '../errors.js';
import type { TensorSpec } from '../model/spec.js';
import { decodeModelFile } from '../protobuf/model-file.js';
import { GraphDef, type NodeDef } from '../protobuf/tensorflow.js';
import { dtypeFromTensorFlow } from '../protobuf/tensorflow-dtypes.js';
import { readShape } from './read.js';

export interface GraphDefOperator {
  readonly type: string;
  readonly count: number;
}

/** What a frozen GraphDef says about itself. It has no signatures: names are given to load(). */
export interface GraphDefModel {
  /** The GraphDef version of the TensorFlow that wrote it. */
  readonly producer: number;
  /** The placeholders, which are what can be fed. Their tensors are "<name>:0". */
  readonly placeholders: readonly TensorSpec[];
  /** Operations whose results no other operation takes: likely outputs. */
  readonly leaves: readonly string[];
  readonly nodes: number;
  /** Most frequent first. */
  readonly operators: readonly GraphDefOperator[];
}

/** Operations that nobody consumes and nobody fetches. */
const neverOutputs = new Set(['NoOp', 'Const', 'Placeholder', 'Assert', 'SaveV2', 'Print']);

/**
 * Reads what can be fed to and fetched from a frozen GraphDef, without TensorFlow; weights are
 * passed over. Errors as those of readSavedModel.
 */
export async function readGraphDef(file: string): Promise<GraphDefModel> {
  const graph = await decodeModelFile(GraphDef, file, 'a frozen GraphDef');
  const hasNodes = graph.node.length > 0 && graph.node.every(({ op, name }) => op && name);
  if (!hasNodes) {
    throw new TenonError(
      'ERR_TENON_MODEL_INVALID',
      `expected a GraphDef with named operations for "${file}", received something else`,
    );
  }
  const consumed = new Set<string>();
  const counts = new Map<string, number>();
  for (const { op, input } of graph.node) {
    counts.set(op, (counts.get(op) ?? 0) + 1);
    // "name", "name:1" or, for a control dependency, "^name".
    for (const source of input) consumed.add(source.replace(/^\^/, '').replace(/:\d+$/, ''));
  }
  return {
    producer: graph.versions?.producer ?? 0,
    placeholders: graph.node
      .filter(({ op }) => op === 'Placeholder')
      .flatMap((node) => readPlaceholder(file, node)),
    leaves: graph.node
      .filter(({ name, op }) => !consumed.has(name) && !neverOutputs.has(op))
      .map(({ name }) => name),
    nodes: graph.node.length,
    operators: [...counts]
      .map(([type, count]) => ({ type, count }))
      .sort((a, b) => b.count - a.count || (a.type < b.type ? -1 : 1)),
  };
}

/** Nothing for a placeholder of a resource, which cannot be fed. */
function readPlaceholder(file: string, node: NodeDef): TensorSpec[] {
  const type = node.attr.get('dtype')?.value;
  const shape = node.attr.get('shape')?.value;
  const dtype = dtypeFromTensorFlow(type?.case === 'type' ? type.value : 0);
  if (dtype === undefined || dtype === 'opaque') return [];
  const dims = shape?.case === 'shape' ? shape.value : undefined;
  const subject = `placeholder "${node.name}"`;
  return [{ kind: 'tensor', name: node.name, dtype, shape: readShape(file, subject, dims) }];
}
