import {
  type ModelDescription,
  type Signature,
  TenonError,
  type ValueSpec,
  inspect,
  load,
} from '../../index.js';
import { print } from '../context.js';
import { formatJson } from '../json.js';
import {
  type Style,
  bytesText,
  columns,
  counted,
  grouped,
  printable,
  styleOf,
} from '../terminal.js';
import { describeShape, describeSpec } from '../types-of.js';

export interface InspectCommandOptions {
  json?: boolean;
  tags?: string[];
  all?: boolean;
}

type SavedModelDescription = Extract<ModelDescription, { format: 'saved-model' }>;
type OnnxDescription = Extract<ModelDescription, { format: 'onnx' }>;
type GraphDefDescription = Extract<ModelDescription, { format: 'graph-def' }>;
type MetaGraph = SavedModelDescription['metaGraph'];

type Row = [label: string, text: string];

/** Operators printed without --all. */
const shownOperators = 12;

export async function inspectCommand(path: string, options: InspectCommandOptions): Promise<void> {
  const { tags } = options;
  let description: ModelDescription;
  try {
    description = await inspect(path, tags === undefined ? {} : { tags });
  } catch (error) {
    if (!(error instanceof TenonError) || error.code !== 'ERR_TENON_UNSUPPORTED') throw error;
    await inspectLoaded(path, options);
    return;
  }
  if (options.json === true) {
    print(formatJson(description));
    return;
  }
  print(descriptionLines(description, options.all === true, styleOf(process.stdout)).join('\n'));
}

/** Formats that only their engine reads (.ort): what the loaded model says. */
async function inspectLoaded(path: string, options: InspectCommandOptions): Promise<void> {
  const model = await load(path);
  try {
    const { engine, signatures, metadata } = model;
    if (options.json === true) {
      print(formatJson({ path, engine, signatures, metadata }));
      return;
    }
    const style = styleOf(process.stdout);
    const { custom, ...own } = metadata;
    const rows: Row[] = [
      ['path', path],
      ['engine', engine],
      ...Object.entries(own).flatMap(([key, value]): Row[] =>
        typeof value === 'string' && value !== '' ? [[key.replaceAll('_', ' '), value]] : [],
      ),
    ];
    const lines = [...rowLines(rows, style), ...mapLines('metadata', custom, style)];
    for (const signature of Object.values(signatures)) {
      lines.push(...signatureLines(signature, new Map(), style));
    }
    print(lines.join('\n'));
  } finally {
    await model.close();
  }
}

function descriptionLines(description: ModelDescription, all: boolean, style: Style): string[] {
  switch (description.format) {
    case 'saved-model':
      return savedModelLines(description, all, style);
    case 'onnx':
      return onnxLines(description, all, style);
    case 'graph-def':
      return graphDefLines(description, all, style);
  }
}

function heading(description: ModelDescription, format: string, style: Style): string {
  return `${style.bold(printable(description.name))}  ${format}`;
}

function placeRows({ path, version, versions }: ModelDescription): Row[] {
  const rows: Row[] = [];
  if (path !== null) rows.push(['path', path]);
  if (version !== null) rows.push(['version', `${version} of ${versions.join(', ')}`]);
  return rows;
}

function savedModelLines(description: SavedModelDescription, all: boolean, style: Style): string[] {
  const { savedModel, metaGraph } = description;
  const lines = [heading(description, 'TensorFlow SavedModel', style)];
  const shown = all ? savedModel.metaGraphs : [metaGraph];
  shown.forEach((graph, index) => {
    if (index > 0) lines.push('');
    const placed = index === 0 ? placeRows(description) : [];
    lines.push(...metaGraphLines(graph, placed, all, style));
  });
  const hidden = savedModel.metaGraphs.filter((graph) => !shown.includes(graph));
  if (hidden.length > 0) {
    const tags = hidden.map((graph) => tagText(graph.tags)).join('; ');
    lines.push('', style.dim(`other meta graphs: ${tags} (--all shows them, --tags one)`));
  }
  return lines;
}

function tagText(tags: readonly string[]): string {
  return tags.length === 0 ? 'no tags' : printable(tags.join(', '));
}

function metaGraphLines(
  graph: MetaGraph,
  placed: readonly Row[],
  all: boolean,
  style: Style,
): string[] {
  const { tensorflowVersion, tensorflowGitVersion, initOp, assets } = graph;
  const rows: Row[] = [...placed, ['tags', tagText(graph.tags)]];
  if (tensorflowVersion !== '') {
    const git = tensorflowGitVersion === '' ? '' : ` (${tensorflowGitVersion})`;
    rows.push(['TensorFlow', `${tensorflowVersion}${git}`]);
  }
  if (all && initOp !== undefined) rows.push(['init op', initOp]);
  for (const { filename, tensor } of assets) {
    rows.push(['asset', all ? `${filename} → ${tensor}` : filename]);
  }
  const lines = rowLines(rows, style);
  if (graph.signatures.length === 0) lines.push('', 'no signatures');
  for (const { name, methodName, inputs, outputs } of graph.signatures) {
    const tensors = new Map([...inputs, ...outputs].map(({ spec, tensor }) => [spec, tensor]));
    const signature: Signature = {
      name,
      methodName,
      inputs: Object.fromEntries(inputs.map(({ spec }) => [spec.name, spec])),
      outputs: Object.fromEntries(outputs.map(({ spec }) => [spec.name, spec])),
    };
    lines.push(...signatureLines(signature, tensors, style));
  }
  return lines;
}

function onnxLines(description: OnnxDescription, all: boolean, style: Style): string[] {
  const { onnx, signatures } = description;
  const rows: Row[] = [
    ...placeRows(description),
    ['IR version', String(onnx.irVersion)],
    [
      'opset',
      onnx.opsets.map(({ domain, version }) => `${domain || 'ai.onnx'} ${version}`).join(', '),
    ],
    ['producer', `${onnx.producerName} ${onnx.producerVersion}`.trim()],
    ['model version', onnx.modelVersion === 0 ? '' : String(onnx.modelVersion)],
    ['domain', onnx.domain],
    ['description', onnx.docString],
    ['graph', onnx.graphName],
    ['', onnx.graphDocString],
    ['parameters', `${grouped(onnx.parameters)} in ${counted(onnx.initializers, 'tensor')}`],
    ['functions', onnx.functions === 0 ? '' : String(onnx.functions)],
    ['nodes', `${grouped(onnx.nodes)}${operatorText(onnx.operators, all)}`],
  ];
  const lines = [
    heading(description, 'ONNX model', style),
    ...rowLines(
      rows.filter(([, text]) => text !== ''),
      style,
    ),
    ...mapLines('metadata', onnx.metadata, style),
  ];
  if (onnx.externalData.length > 0) {
    const files = onnx.externalData.map(({ location, tensors, byteLength }) => [
      printable(location),
      counted(tensors, 'tensor'),
      byteLength === null ? '' : bytesText(byteLength),
    ]);
    lines.push('', style.bold('external data'), ...columns(files, 2));
  }
  for (const { inputs, outputs } of Object.values(signatures)) {
    lines.push('', ...sideLines('inputs', inputs, new Map(), 0, style));
    lines.push('', ...sideLines('outputs', outputs, new Map(), 0, style));
  }
  return lines;
}

function operatorText(
  operators: readonly { domain?: string; type: string; count: number }[],
  all: boolean,
): string {
  const shown = all ? operators : operators.slice(0, shownOperators);
  const names = shown.map(({ domain, type, count }) => {
    const full = domain ? `${domain}.${type}` : type;
    return `${full} ${grouped(count)}`;
  });
  const left = operators.length - shown.length;
  if (left > 0) names.push(`${left} more (--all)`);
  return names.length === 0 ? '' : `: ${names.join(', ')}`;
}

function graphDefLines(description: GraphDefDescription, all: boolean, style: Style): string[] {
  const { graph } = description;
  const placeholders = graph.placeholders.map((spec) => specRow(spec, `${spec.name}:0`));
  const leaves = all ? graph.leaves : graph.leaves.slice(0, shownOperators);
  return [
    heading(description, 'frozen TensorFlow graph', style),
    ...rowLines(
      [
        ...placeRows(description),
        ['producer', String(graph.producer)],
        ['nodes', `${grouped(graph.nodes)}${operatorText(graph.operators, all)}`],
      ],
      style,
    ),
    '',
    style.bold('placeholders'),
    ...columns(placeholders, 2),
    '',
    style.bold('operations that no other one reads'),
    ...leaves.map((name) => `  ${printable(name)}`),
    ...(leaves.length < graph.leaves.length
      ? [`  ${graph.leaves.length - leaves.length} more (--all)`]
      : []),
  ];
}

function signatureLines(
  signature: Signature,
  tensors: ReadonlyMap<ValueSpec, string>,
  style: Style,
): string[] {
  const { name, methodName, inputs, outputs } = signature;
  const method = methodName ? `  ${style.dim(printable(methodName))}` : '';
  return [
    '',
    `signature ${style.bold(printable(name))}${method}`,
    ...sideLines('inputs', inputs, tensors, 2, style),
    ...sideLines('outputs', outputs, tensors, 2, style),
  ];
}

function sideLines(
  side: string,
  specs: Readonly<Record<string, ValueSpec>>,
  tensors: ReadonlyMap<ValueSpec, string>,
  indent: number,
  style: Style,
): string[] {
  const rows = Object.values(specs).map((spec) => specRow(spec, tensors.get(spec) ?? ''));
  const margin = ' '.repeat(indent);
  if (rows.length === 0) return [`${margin}${style.bold(side)}  none`];
  return [`${margin}${style.bold(side)}`, ...columns(rows, indent + 2)];
}

function specRow(spec: ValueSpec, tensor: string): string[] {
  const note = spec.optional === true ? 'optional' : '';
  const type = spec.kind === 'tensor' ? spec.dtype : printable(describeSpec(spec));
  const shape = spec.kind === 'tensor' ? printable(describeShape(spec.shape)) : '';
  return [printable(spec.name), type, shape, printable(tensor), note];
}

function mapLines(title: string, map: Readonly<Record<string, string>>, style: Style): string[] {
  const entries = Object.entries(map);
  if (entries.length === 0) return [];
  const rows = entries.map(([key, value]) => [printable(key), printable(value)]);
  return ['', style.bold(title), ...columns(rows, 2)];
}

function rowLines(rows: readonly Row[], style: Style): string[] {
  // Padded before it is dimmed: a label's width is that of its letters.
  return columns(rows.map(([label, text]) => [style.dim(label), printable(text)]));
}
