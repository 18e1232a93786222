/** TensorFlow Serving's REST API: every form of request with its exact answer. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Repository } from '../../lib/server/repository/repository.js';
import { fixture } from '../helpers/paths.js';
import { fixtureModel, openRepository } from '../helpers/fixture-models.js';
import { serveRest, type TestServer } from '../helpers/rest-server.js';
import { readTranscripts } from '../helpers/transcripts.js';

let repository: Repository;
let server: TestServer;

beforeAll(async () => {
  repository = await openRepository(
    [
      fixtureModel('half_plus_two', 'half_plus_two', {
        versionPolicy: { kind: 'all' },
        labels: { stable: 123n, canary: 124n },
      }),
      fixtureModel('signatures', 'tf_signatures'),
      fixtureModel('dtypes', 'tf_dtypes'),
      fixtureModel('texts', 'tf_strings'),
      fixtureModel('scalars', 'tf_scalar'),
      fixtureModel('shared_outputs', 'tf_shared_outputs'),
      fixtureModel('vocabulary', 'tf_vocabulary'),
      fixtureModel('fails', 'tf_fails_in_run'),
      fixtureModel('sparse', 'tf_sparse'),
      fixtureModel('strings', 'strings.onnx'),
      fixtureModel('multi', 'multi_io.onnx'),
      fixtureModel('scalars_onnx', 'scalars.onnx'),
      fixtureModel('constant', 'constant_out.onnx'),
      fixtureModel('fails_onnx', 'fails_in_run.onnx'),
      fixtureModel('maps', 'maps.onnx'),
      fixtureModel('optionals', 'optionals.onnx'),
      fixtureModel('batched', 'half_plus_two'),
      { ...fixtureModel('broken'), basePath: fixture('broken', 'truncated.onnx') },
    ],
    { loadOptions: { batched: { batching: { maxBatchSize: 4 } } } },
  );
  server = await serveRest(repository);
});

afterAll(async () => {
  await server.close();
  await repository.close(5000);
});

describe.each(['urls.txt', 'predict.txt', 'dtypes.txt', 'examples.txt', 'errors.txt'])(
  '%s',
  (file) => {
    it.each(readTranscripts(file))('line $line: $method $url', async (transcript) => {
      const { method, url, body, status, answer, isPrefix } = transcript;
      const received = await server.ask(method, url, body === undefined ? {} : { body });
      expect({
        status: received.status,
        body: isPrefix ? received.body.slice(0, answer.length) : received.body,
      }).toEqual({ status, body: answer });
      expect(received.headers['content-type']).toBe('application/json');
    });
  },
);
