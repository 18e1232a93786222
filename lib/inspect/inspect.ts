import { TenonError } from '../errors.js';
import type { ModelSource } from '../model/source.js';
import type { Signature } from '../model/spec.js';
import type { EngineName } from '../native/types.js';
import { checkOptions, strings } from '../options.js';
import { type OnnxModel, readOnnxModel } from '../onnx-model/read.js';
import { type GraphDefModel, readGraphDef } from '../saved-model/graph-def.js';
import {
  type MetaGraph,
  type SavedModel,
  readSavedModel,
  selectMetaGraph,
} from '../saved-model/read.js';
import { locateModel } from './locate.js';

export interface InspectOptions {
  /** SavedModel only: whose signatures to give. Default: as `load()` chooses. */
  tags?: readonly string[];
}

interface Description {
  readonly engine: EngineName;
  /** The file or folder described; null for bytes. */
  readonly path: string | null;
  /** After the file or folder; "model" for bytes. */
  readonly name: string;
  /** The version folder it was found in, and all of them, lowest first. */
  readonly version: string | null;
  readonly versions: readonly string[];
  /** As `model.signatures` gives them after `load()`. */
  readonly signatures: Readonly<Record<string, Signature>>;
}

export interface SavedModelDescription extends Description {
  readonly format: 'saved-model';
  readonly savedModel: SavedModel;
  /** The one whose signatures are given. */
  readonly metaGraph: MetaGraph;
}

export interface OnnxDescription extends Description {
  readonly format: 'onnx';
  readonly onnx: OnnxModel;
}

/** A frozen graph has no signatures: what `load()` is told are its inputs and outputs. */
export interface GraphDefDescription extends Description {
  readonly format: 'graph-def';
  readonly graph: GraphDefModel;
}

export type ModelDescription = SavedModelDescription | OnnxDescription | GraphDefDescription;

/** The name under which `load()` offers the one graph of an ONNX model. */
const onnxSignatureName = 'serving_default';

/** What `inspect()` does; see lib/inspect/index.ts. */
export async function inspectModel(
  source: ModelSource,
  options?: InspectOptions,
): Promise<ModelDescription> {
  const { tags: givenTags } = checkOptions(options, 'inspect', ['tags']);
  const tags = givenTags === undefined ? undefined : strings(givenTags, 'tags');
  const located = await locateModel(source);
  if (located.bytes !== undefined) {
    const place = { path: null, name: 'model', version: null, versions: [] };
    return describeOnnx(place, await readOnnxModel(located.bytes));
  }
  const { path, name, version, versions, format } = located;
  const place = { path, name, version, versions };
  switch (format) {
    case 'saved-model':
      return describeSavedModel(place, await readSavedModel(path), tags);
    case 'onnx':
      return describeOnnx(place, await readOnnxModel(path));
    case 'graph-def':
      return {
        ...place,
        format: 'graph-def',
        engine: 'tensorflow',
        signatures: {},
        graph: await readGraphDef(path),
      };
    case 'ort':
      throw new TenonError(
        'ERR_TENON_UNSUPPORTED',
        `expected a format that can be read without an engine for "${path}", received an .ort ` +
          'file: load() it to see its inputs and outputs',
      );
  }
}

type Place = Pick<Description, 'path' | 'name' | 'version' | 'versions'>;

function describeSavedModel(
  place: Place,
  savedModel: SavedModel,
  tags: readonly string[] | undefined,
): SavedModelDescription {
  const metaGraph = chooseMetaGraph(savedModel, tags);
  const signatures = metaGraph.signatures.map(
    ({ name, methodName, inputs, outputs }): Signature => ({
      name,
      methodName,
      inputs: byName(inputs.map(({ spec }) => spec)),
      outputs: byName(outputs.map(({ spec }) => spec)),
    }),
  );
  return {
    ...place,
    format: 'saved-model',
    engine: 'tensorflow',
    signatures: byName(signatures),
    savedModel,
    metaGraph,
  };
}

/** Where nobody asked for tags, describing the first is more use than an error. */
function chooseMetaGraph(savedModel: SavedModel, tags: readonly string[] | undefined): MetaGraph {
  try {
    return selectMetaGraph(savedModel, tags);
  } catch (error) {
    const first = savedModel.metaGraphs[0];
    if (tags !== undefined || first === undefined) throw error;
    return first;
  }
}

function describeOnnx(place: Place, onnx: OnnxModel): OnnxDescription {
  const signature: Signature = {
    name: onnxSignatureName,
    inputs: byName(onnx.inputs),
    outputs: byName(onnx.outputs),
  };
  return {
    ...place,
    format: 'onnx',
    engine: 'onnxruntime',
    signatures: { [onnxSignatureName]: signature },
    onnx,
  };
}

function byName<T extends { readonly name: string }>(items: readonly T[]): Record<string, T> {
  return Object.fromEntries(items.map((item) => [item.name, item]));
}
