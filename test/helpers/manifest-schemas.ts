/**
 * What is wrong with Kubernetes objects, by the schemas of their kinds: those of Kubernetes, Istio and
 * the Prometheus operator as the kubernetes-models packages have them, and KServe's as written down
 * below. API servers drop fields that a schema does not have; here they are errors.
 */

import { createRequire } from 'node:module';
import path from 'node:path';

import { Ajv, type JSONSchemaType, type SchemaObject } from 'ajv';
import ts from 'typescript';

import type { Manifest } from './kustomize.mjs';
import { root } from './paths.js';

const require = createRequire(import.meta.url);

/** Packages by the ends of API groups; Kubernetes' own groups are in the first. */
const packages: readonly (readonly [RegExp, string])[] = [
  [/^v\d|^(apps|autoscaling|batch|policy)\/|\.k8s\.io\//, 'kubernetes-models'],
  [/^networking\.istio\.io\//, '@kubernetes-models/istio'],
  [/^monitoring\.coreos\.com\//, '@kubernetes-models/prometheus-operator'],
];

/** @returns The problems of each, in order. */
export function problemsOf(manifests: readonly Manifest[]): string[][] {
  const checked = manifests.map((manifest) => {
    const own: string[] = [];
    const parts = manifest.apiVersion?.startsWith('serving.kserve.io/')
      ? kserveParts(manifest, own)
      : [manifest];
    return { own, parts };
  });
  const all = checked.flatMap(({ parts }) => parts);
  const typed = typeProblems(all);
  return checked.map(({ own, parts }) => [
    ...own,
    ...parts.flatMap((part) => [...(typed[all.indexOf(part)] as string[]), ...valueProblems(part)]),
  ]);
}

function modulePath({ apiVersion, kind }: Manifest): string | undefined {
  const name = packages.find(([group]) => group.test(apiVersion))?.[1];
  return name && `${name}/${apiVersion}/${kind}`;
}

interface Validated {
  validate(): void;
}

/** Ranges, patterns, required fields: what the packages' own validation finds. */
function valueProblems(manifest: Manifest): string[] {
  const file = modulePath(manifest);
  if (file === undefined) return [`no schema for ${manifest.apiVersion} ${manifest.kind}`];
  let model: new (data: Manifest) => Validated;
  try {
    const exported = require(file) as Record<string, new (data: Manifest) => Validated>;
    model = exported[manifest.kind] as typeof model;
  } catch {
    return [`no schema for ${manifest.apiVersion} ${manifest.kind}`];
  }
  try {
    new model(manifest).validate();
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

/** Fields that there are not, and values of another type: what the packages' declarations say. */
function typeProblems(manifests: readonly Manifest[]): string[][] {
  const texts = new Map<string, string>();
  manifests.forEach((manifest, i) => {
    const module = modulePath(manifest);
    if (module === undefined) return;
    const type = `import('${module}').I${manifest.kind}`;
    texts.set(fileOf(i), `export const manifest: ${type} = ${JSON.stringify(manifest, null, 1)};`);
  });
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const program = ts.createProgram([...texts.keys()], options, {
    ...host,
    fileExists: (file) => texts.has(path.normalize(file)) || host.fileExists(file),
    getSourceFile: (file, version, ...rest) => {
      const own = texts.get(path.normalize(file));
      return own === undefined
        ? host.getSourceFile(file, version, ...rest)
        : ts.createSourceFile(file, own, version);
    },
  });
  const problems = manifests.map((): string[] => []);
  for (const { file, start = 0, messageText } of ts.getPreEmitDiagnostics(program)) {
    const index = manifests.findIndex((_, i) => fileOf(i) === path.normalize(file?.fileName ?? ''));
    const line = file === undefined ? '' : lineAt(file, start);
    problems[index]?.push(`${ts.flattenDiagnosticMessageText(messageText, ' ')} (${line})`);
  }
  return problems;
}

/** In no folder on disk, but where node_modules are found. */
function fileOf(index: number): string {
  return path.join(root, `manifest-${index}.ts`);
}

function lineAt(file: ts.SourceFile, position: number): string {
  const { line } = file.getLineAndCharacterOfPosition(position);
  return file.text.split('\n')[line]?.trim() ?? '';
}

const text: SchemaObject = { type: 'string', minLength: 1 };
const protocols: SchemaObject = { enum: ['v1', 'v2', 'grpc-v1', 'grpc-v2'] };
const strings: SchemaObject = { type: 'object', additionalProperties: { type: 'string' } };
const count: SchemaObject = { type: 'integer', minimum: 0 };
const percent: SchemaObject = { type: 'integer', minimum: 0, maximum: 100 };
/** What Kubernetes' own schemas check. */
const anything: SchemaObject = {};

/** An object with these fields and no others. */
function closed(properties: Record<string, SchemaObject>, required: string[] = []): SchemaObject {
  return { type: 'object', additionalProperties: false, properties, required };
}

const metadata: SchemaObject = {
  ...closed({ name: text, namespace: text, labels: strings, annotations: strings }, ['name']),
};

/** KServe's kinds as of its 0.15, as much of them as a runtime like ours has use for. */
const kserve: Readonly<Record<string, SchemaObject>> = {
  'serving.kserve.io/v1alpha1 ClusterServingRuntime': closed(
    {
      apiVersion: text,
      kind: text,
      metadata,
      spec: closed(
        {
          annotations: strings,
          labels: strings,
          supportedModelFormats: {
            type: 'array',
            minItems: 1,
            items: closed(
              {
                name: text,
                version: text,
                autoSelect: { type: 'boolean' },
                priority: { type: 'integer', minimum: 1 },
              },
              ['name'],
            ),
          },
          protocolVersions: { type: 'array', items: protocols },
          multiModel: { type: 'boolean' },
          disabled: { type: 'boolean' },
          containers: {
            type: 'array',
            minItems: 1,
            // KServe puts the model's files and settings into the container of this name.
            contains: {
              type: 'object',
              properties: { name: { const: 'kserve-container' } },
              required: ['name'],
            },
          },
          volumes: anything,
          nodeSelector: anything,
          affinity: anything,
          tolerations: anything,
          imagePullSecrets: anything,
        },
        ['supportedModelFormats', 'containers'],
      ),
    },
    ['metadata', 'spec'],
  ),
  'serving.kserve.io/v1beta1 InferenceService': closed(
    {
      apiVersion: text,
      kind: text,
      metadata,
      spec: closed(
        {
          predictor: closed(
            {
              minReplicas: count,
              maxReplicas: count,
              scaleMetric: { enum: ['cpu', 'memory', 'concurrency', 'rps'] },
              scaleTarget: { type: 'integer', minimum: 1 },
              canaryTrafficPercent: percent,
              containerConcurrency: count,
              timeout: count,
              serviceAccountName: text,
              model: {
                type: 'object',
                properties: {
                  modelFormat: closed({ name: text, version: text }, ['name']),
                  runtime: text,
                  protocolVersion: protocols,
                  storageUri: { type: 'string', pattern: '^(s3|gs|pvc|https?|hf|file)://.' },
                },
                required: ['modelFormat', 'storageUri'],
              },
            },
            ['model'],
          ),
        },
        ['predictor'],
      ),
    },
    ['metadata', 'spec'],
  ),
};

const ownModelFields = ['modelFormat', 'runtime', 'protocolVersion', 'storageUri'];

interface KserveSpec {
  readonly containers?: readonly object[];
  readonly volumes?: readonly object[];
  readonly predictor?: { readonly model?: Record<string, unknown> };
}

/**
 * Checks what is KServe's own, and makes a Pod of what is Kubernetes': containers as they are, and of a
 * predictor's model all fields of a container.
 */
function kserveParts(manifest: Manifest, problems: string[]): Manifest[] {
  const schema = kserve[`${manifest.apiVersion} ${manifest.kind}`];
  if (schema === undefined) return [manifest];
  const ajv = new Ajv({ allErrors: true, strict: true, strictRequired: false });
  if (!ajv.validate(schema as JSONSchemaType<unknown>, manifest)) {
    problems.push(ajv.errorsText(ajv.errors, { dataVar: '' }));
    for (const { params } of ajv.errors ?? []) problems.push(JSON.stringify(params));
  }
  const { containers, volumes, predictor } = (manifest['spec'] ?? {}) as KserveSpec;
  const model = Object.entries(predictor?.model ?? {});
  const container = {
    name: 'kserve-container',
    ...Object.fromEntries(model.filter(([field]) => !ownModelFields.includes(field))),
  };
  return [
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'pod' },
      spec: { containers: containers ?? [container], ...(volumes && { volumes }) },
    },
  ];
}
