/** The REST API as an OpenAPI 3.1 document, with the models that are served now. */

import type { Signature, ValueSpec } from '../../index.js';
import type { ModelDirectory, ServedModel } from '../models.js';
import { json, type OpenApiPart, operation, ref, type Schema, schema } from './openapi-parts.js';

/**
 * @param prefix Under which the routes are mounted; "" for none.
 * @param others Other APIs that are mounted there.
 */
export function openApiDocument(
  models: ModelDirectory,
  prefix: string,
  others: readonly OpenApiPart[] = [],
): Buffer {
  const all = <Kind extends keyof OpenApiPart>(own: Schema, kind: Kind): Schema =>
    Object.assign({}, own, ...others.map((part) => part[kind])) as Schema;
  const document = {
    openapi: '3.1.0',
    info: {
      title: 'Tenon',
      description: "REST over this server's models.",
      version: '1.0.0',
    },
    servers: [{ url: prefix === '' ? '/' : prefix }],
    paths: all({ ...generalPaths(), ...modelPaths(models), ...serverPaths() }, 'paths'),
    components: {
      schemas: all(schemas, 'schemas'),
      responses,
      parameters: all(parameters, 'parameters'),
    },
  };
  return Buffer.from(JSON.stringify(document));
}

const statusEntry = {
  type: 'object',
  required: ['version', 'state', 'status'],
  properties: {
    version: { type: 'string' },
    state: { enum: ['UNKNOWN', 'START', 'LOADING', 'AVAILABLE', 'UNLOADING', 'END'] },
    status: {
      type: 'object',
      properties: { error_code: { type: 'string' }, error_message: { type: 'string' } },
    },
  },
};

const schemas = {
  Error: { type: 'object', required: ['error'], properties: { error: { type: 'string' } } },
  Bytes: {
    description: 'Bytes in base64, where text is not UTF-8.',
    type: 'object',
    required: ['b64'],
    properties: { b64: { type: 'string', contentEncoding: 'base64' } },
    additionalProperties: false,
  },
  ModelStatus: {
    type: 'object',
    required: ['model_version_status'],
    properties: { model_version_status: { type: 'array', items: statusEntry } },
  },
  ModelList: {
    type: 'object',
    required: ['models'],
    properties: {
      models: {
        type: 'array',
        items: {
          type: 'object',
          required: ['name', 'model_version_status', 'version_labels'],
          properties: {
            name: { type: 'string' },
            model_version_status: { type: 'array', items: statusEntry },
            version_labels: { type: 'object', additionalProperties: { type: 'string' } },
          },
        },
      },
    },
  },
  ModelMetadata: {
    type: 'object',
    required: ['model_spec', 'metadata'],
    properties: {
      model_spec: {
        type: 'object',
        properties: {
          name: { type: 'string' },
          signature_name: { type: 'string' },
          version: { type: 'string' },
        },
      },
      metadata: { type: 'object' },
    },
  },
  PredictRequest: {
    description: 'Exactly one of "instances" (rows) and "inputs" (columns).',
    type: 'object',
    properties: {
      signature_name: { type: 'string', default: 'serving_default' },
      instances: { type: 'array', minItems: 1 },
      inputs: {},
    },
    oneOf: [{ required: ['instances'] }, { required: ['inputs'] }],
  },
  PredictResponse: {
    description: '"predictions" answers "instances", "outputs" answers "inputs".',
    type: 'object',
    properties: { predictions: { type: 'array' }, outputs: {} },
    oneOf: [{ required: ['predictions'] }, { required: ['outputs'] }],
  },
  ExamplesRequest: {
    description: 'Each example becomes a tensorflow.Example; "context" is part of all of them.',
    type: 'object',
    required: ['examples'],
    properties: {
      signature_name: { type: 'string', default: 'serving_default' },
      context: { type: 'object' },
      examples: { type: 'array', minItems: 1, items: { type: 'object' } },
    },
  },
  ClassifyResponse: {
    description: 'For each example its classes, each a label and a score.',
    type: 'object',
    required: ['results'],
    properties: {
      results: {
        type: 'array',
        items: {
          type: 'array',
          items: {
            type: 'array',
            prefixItems: [{ type: 'string' }, { type: 'number' }],
            minItems: 2,
            maxItems: 2,
          },
        },
      },
    },
  },
  RegressResponse: {
    type: 'object',
    required: ['results'],
    properties: { results: { type: 'array', items: { type: 'number' } } },
  },
  Readiness: {
    type: 'object',
    required: ['ready', 'waiting', 'failed'],
    properties: {
      ready: { type: 'boolean' },
      error: { type: 'string' },
      waiting: { type: 'array', items: { type: 'string' } },
      failed: {
        type: 'array',
        items: {
          type: 'object',
          properties: { name: { type: 'string' }, message: { type: 'string' } },
        },
      },
    },
  },
};

const responses = {
  Error: json('What went wrong.', schema('Error')),
};

const parameter = (name: string, description: string, of: Schema): Schema => ({
  name,
  in: 'path',
  required: true,
  description,
  schema: of,
});

const parameters = {
  model: parameter('model', 'The name of a model.', { type: 'string' }),
  version: parameter('version', 'A version of it.', { type: 'string', pattern: '^[0-9]+$' }),
  label: parameter('label', 'The label of a version.', { type: 'string' }),
};

const placeParameters: readonly (readonly [string, readonly string[]])[] = [
  ['', []],
  ['/versions/{version}', ['version']],
  ['/labels/{label}', ['label']],
];

function generalPaths(): Record<string, Schema> {
  const paths: Record<string, Schema> = {
    '/v1/models': {
      get: operation('All models', 'The models and their versions.', schema('ModelList')),
    },
  };
  for (const [place, names] of placeParameters) {
    const path = `/v1/models/{model}${place}`;
    const given = ['model', ...names].map((name) => ref('parameters', name));
    paths[path] = {
      parameters: given,
      get: operation('State of versions', 'Newest first.', schema('ModelStatus')),
    };
    paths[`${path}/metadata`] = {
      parameters: given,
      get: operation('Signatures', 'What the model takes and gives.', schema('ModelMetadata')),
    };
    for (const [method, request, response] of [
      ['predict', 'PredictRequest', 'PredictResponse'],
      ['classify', 'ExamplesRequest', 'ClassifyResponse'],
      ['regress', 'ExamplesRequest', 'RegressResponse'],
    ] as const) {
      paths[`${path}:${method}`] = {
        parameters: given,
        post: operation(method, 'The answer.', schema(response), schema(request)),
      };
    }
  }
  return paths;
}

function serverPaths(): Record<string, Schema> {
  return {
    '/healthz/live': {
      get: {
        summary: 'Whether the process answers',
        responses: { '200': json('It does.', { type: 'object' }) },
      },
    },
    '/healthz/ready': {
      get: {
        summary: 'Whether models are loaded',
        responses: {
          '200': json('Requests may come.', schema('Readiness')),
          '503': json('Not yet, or no more, and why.', schema('Readiness')),
        },
      },
    },
  };
}

/** `:predict` of each model with a version that serves, with its signatures. */
function modelPaths(models: ModelDirectory): Record<string, Schema> {
  const paths: Record<string, Schema> = {};
  for (const { name, versions } of models.list()) {
    if (!versions.some(({ state }) => state === 'AVAILABLE')) continue;
    let served: ServedModel;
    try {
      served = models.acquire({ name }, 'describe');
    } catch {
      continue; // unloaded meanwhile
    }
    const signatures = Object.values(served.model.signatures).filter(({ inputs, outputs }) =>
      [...Object.values(inputs), ...Object.values(outputs)].every(({ kind }) => kind === 'tensor'),
    );
    served.release();
    if (signatures.length === 0) continue;
    paths[`/v1/models/${encodeURIComponent(name)}:predict`] = {
      post: operation(
        `Predict with ${name}`,
        'The answer.',
        { anyOf: signatures.flatMap(predictResponses) },
        { anyOf: signatures.flatMap(predictRequests) },
      ),
    };
  }
  return paths;
}

function predictRequests({ name, inputs }: Signature): Schema[] {
  const signature = {
    signature_name: name === 'serving_default' ? { const: name, default: name } : { const: name },
  };
  const required = name === 'serving_default' ? [] : ['signature_name'];
  return [
    {
      type: 'object',
      required: [...required, 'instances'],
      properties: {
        ...signature,
        instances: { type: 'array', minItems: 1, items: bareOrNamed(inputs, 1) },
      },
    },
    {
      type: 'object',
      required: [...required, 'inputs'],
      properties: { ...signature, inputs: bareOrNamed(inputs, 0) },
    },
  ];
}

function predictResponses({ outputs }: Signature): Schema[] {
  const isOne = Object.keys(outputs).length === 1;
  const of = (skipped: number): Schema =>
    isOne ? bare(outputs, skipped) : named(outputs, skipped);
  return [
    {
      type: 'object',
      required: ['predictions'],
      properties: { predictions: { type: 'array', items: of(1) } },
    },
    { type: 'object', required: ['outputs'], properties: { outputs: of(0) } },
  ];
}

type Specs = Readonly<Record<string, ValueSpec>>;

function bareOrNamed(specs: Specs, skipped: number): Schema {
  if (Object.keys(specs).length !== 1) return named(specs, skipped);
  return { anyOf: [bare(specs, skipped), named(specs, skipped)] };
}

function bare(specs: Specs, skipped: number): Schema {
  return tensorSchema(Object.values(specs)[0], skipped);
}

function named(specs: Specs, skipped: number): Schema {
  return {
    type: 'object',
    required: Object.keys(specs),
    properties: Object.fromEntries(
      Object.entries(specs).map(([name, spec]) => [name, tensorSchema(spec, skipped)]),
    ),
  };
}

/**
 * Nested arrays as deep as the declared rank. Their lengths are said, not demanded: the server
 * leaves them to the model.
 */
function tensorSchema(spec: ValueSpec | undefined, skipped: number): Schema {
  if (spec?.kind !== 'tensor') return {};
  const { dtype, shape } = spec;
  if (shape === null) return { description: `${dtype}, of any shape` };
  let nested = elementSchema(dtype);
  for (let depth = skipped; depth < shape.length; depth++)
    nested = { type: 'array', items: nested };
  const sizes = shape.slice(skipped).map((size) => size ?? '?');
  return { ...nested, description: `${dtype} [${sizes.join(', ')}]` };
}

function elementSchema(dtype: string): Schema {
  if (dtype === 'string') return { anyOf: [{ type: 'string' }, schema('Bytes')] };
  if (dtype === 'bool') return { type: 'boolean' };
  return { type: /^u?int/.test(dtype) ? 'integer' : 'number' };
}
