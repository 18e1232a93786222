/** The Open Inference Protocol's REST API, as parts of an OpenAPI 3.1 document. */

import { datatypes } from '../../codec/oip/datatypes.js';
import {
  json,
  type OpenApiPart,
  operation,
  ref,
  type Schema,
  schema,
} from '../tfserving/openapi-parts.js';

const parameters = {
  type: 'object',
  additionalProperties: { type: ['string', 'number', 'boolean'] },
};

const datatype = { enum: datatypes };
const shape = { type: 'array', items: { type: 'integer', minimum: 0 } };

const tensor = (elements: string): Schema => ({
  type: 'object',
  required: ['name', 'datatype', 'shape'],
  properties: {
    name: { type: 'string' },
    datatype,
    shape,
    parameters: {
      ...parameters,
      properties: {
        binary_data_size: {
          description: 'Bytes of the tensor, which follows the JSON, in place of "data".',
          type: 'integer',
          minimum: 0,
        },
      },
    },
    data: { description: elements, type: 'array' },
  },
});

const tensors = {
  type: 'array',
  items: {
    type: 'object',
    required: ['name', 'datatype', 'shape'],
    properties: {
      name: { type: 'string' },
      datatype,
      shape: { type: 'array', items: { type: 'integer', minimum: -1 } },
    },
  },
};

const duration = {
  type: 'object',
  required: ['count', 'ns'],
  properties: { count: { type: 'integer' }, ns: { type: 'integer' } },
};

const object = (properties: Readonly<Record<string, Schema>>): Schema => ({
  type: 'object',
  required: Object.keys(properties),
  properties,
});

const text = { type: 'string' };
const truth = { type: 'boolean' };

const schemas = {
  InferRequest: {
    type: 'object',
    required: ['inputs'],
    properties: {
      id: text,
      parameters: {
        ...parameters,
        properties: {
          signature_name: { type: 'string', default: 'serving_default' },
          priority: { description: '1 is the highest, 0 the default.', type: 'integer' },
          timeout: { description: 'Microseconds; 0: none.', type: 'integer' },
          binary_data_output: truth,
        },
      },
      inputs: {
        type: 'array',
        items: tensor('Elements in row-major order, flat or nested.'),
      },
      outputs: {
        description: 'Which to give; none are all.',
        type: 'array',
        items: {
          type: 'object',
          required: ['name'],
          properties: {
            name: text,
            parameters: {
              ...parameters,
              properties: { binary_data: truth, classification: { type: 'integer', minimum: 0 } },
            },
          },
        },
      },
    },
  },
  InferResponse: {
    type: 'object',
    required: ['model_name', 'model_version', 'outputs'],
    properties: {
      model_name: text,
      model_version: text,
      id: text,
      outputs: { type: 'array', items: tensor('Elements in row-major order, flat.') },
    },
  },
  OipServerMetadata: object({
    name: text,
    version: text,
    extensions: { type: 'array', items: text },
  }),
  OipModelMetadata: object({
    name: text,
    versions: { type: 'array', items: text },
    platform: text,
    inputs: tensors,
    outputs: tensors,
  }),
  OipModelConfiguration: {
    type: 'object',
    required: ['name', 'platform', 'max_batch_size', 'input', 'output'],
    properties: {
      name: text,
      platform: text,
      backend: text,
      max_batch_size: { type: 'integer' },
      input: { type: 'array', items: { type: 'object' } },
      output: { type: 'array', items: { type: 'object' } },
    },
  },
  OipStatistics: object({
    model_stats: {
      type: 'array',
      items: object({
        name: text,
        version: text,
        last_inference: { description: 'Milliseconds since 1970.', type: 'integer' },
        inference_count: { type: 'integer' },
        execution_count: { type: 'integer' },
        inference_stats: object({
          success: duration,
          fail: duration,
          queue: duration,
          compute_input: duration,
          compute_infer: duration,
          compute_output: duration,
        }),
        batch_stats: { type: 'array' },
      }),
    },
  }),
  OipIndex: {
    type: 'array',
    items: {
      type: 'object',
      required: ['name', 'state', 'reason'],
      properties: {
        name: text,
        version: text,
        state: { enum: ['READY', 'LOADING', 'UNLOADING', 'UNAVAILABLE'] },
        reason: text,
      },
    },
  },
};

const modelReady = object({ name: text, ready: truth });
const serverReady = object({ ready: truth });
const notReady = (of: Schema): Schema => ({ '503': json('Not now.', of) });

const get = (summary: string, description: string, of: Schema, others: Schema = {}): Schema => {
  const { responses, ...rest } = operation(summary, description, of);
  return { get: { ...rest, responses: { ...(responses as Schema), ...others } } };
};

function paths(): Record<string, Schema> {
  const all: Record<string, Schema> = {
    '/v2': get('The server', 'Its name, version and extensions.', schema('OipServerMetadata')),
    '/v2/health/live': get('Whether the process answers', 'It does.', object({ live: truth })),
    '/v2/health/ready': get(
      'Whether models are loaded',
      'Requests may come.',
      serverReady,
      notReady(serverReady),
    ),
    '/v2/models/stats': get('Statistics', 'Of every version.', schema('OipStatistics')),
    '/v2/repository/index': {
      post: operation('Versions of models', 'All of them.', schema('OipIndex'), {
        type: 'object',
        properties: { ready: { description: 'Only those that serve.', ...truth } },
      }),
    },
  };
  for (const act of ['load', 'unload']) {
    all[`/v2/repository/models/{model}/${act}`] = {
      parameters: [ref('parameters', 'model')],
      post: operation(`${act} a model of the configuration`, 'It is done.', { type: 'object' }),
    };
  }
  for (const [place, names] of [
    ['', ['model']],
    ['/versions/{version}', ['model', 'versionOrLabel']],
  ] as const) {
    const path = `/v2/models/{model}${place}`;
    const given = { parameters: names.map((name) => ref('parameters', name)) };
    all[path] = {
      ...given,
      ...get('Inputs and outputs', 'Of a signature.', schema('OipModelMetadata')),
    };
    all[`${path}/ready`] = {
      ...given,
      ...get('Whether it serves', 'It does.', modelReady, notReady(modelReady)),
    };
    all[`${path}/config`] = {
      ...given,
      ...get('Its configuration', 'As Triton has it.', schema('OipModelConfiguration')),
    };
    all[`${path}/stats`] = { ...given, ...get('Statistics', 'Of it.', schema('OipStatistics')) };
    all[`${path}/infer`] = {
      ...given,
      post: operation(
        'infer',
        'The outputs. With binary tensors, the header Inference-Header-Content-Length has the length of the JSON before them.',
        schema('InferResponse'),
        schema('InferRequest'),
      ),
    };
  }
  return all;
}

export const openInferenceApi: OpenApiPart = {
  paths: paths(),
  schemas,
  parameters: {
    versionOrLabel: {
      name: 'version',
      in: 'path',
      required: true,
      description: 'A version, or a label of one.',
      schema: text,
    },
  },
};
