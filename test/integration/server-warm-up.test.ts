import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { afterEach, describe, expect, it } from 'vitest';

import { encodePredictionLog } from '../../lib/codec/proto/index.js';
import { encodeRecord } from '../../lib/codec/tf-record.js';
import { RegressionRequest } from '../../lib/protobuf/tensorflow-serving.js';
import { latestVersion } from '../../lib/server/config/model-config.js';
import { silentLogger } from '../../lib/server/logging.js';
import { Repository } from '../../lib/server/repository/repository.js';
import { createWarmUp } from '../../lib/server/tfserving/warm-up.js';
import { fixture, modelPath } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();
let repository: Repository | undefined;

afterEach(async () => {
  await repository?.close();
});

/** The model half_plus_two with these warm-up records, loaded or failed. */
async function load(name: string, file: Uint8Array): Promise<Repository> {
  const base = path.join(folder, name);
  cpSync(modelPath('half_plus_two', '00000123'), path.join(base, '123'), { recursive: true });
  mkdirSync(path.join(base, '123', 'assets.extra'));
  writeFileSync(path.join(base, '123', 'assets.extra', 'tf_serving_warmup_requests'), file);
  const own = new Repository({
    config: { models: [{ name, basePath: base, versionPolicy: latestVersion, labels: {} }] },
    pollIntervalSeconds: 0,
    maxLoadRetries: 0,
    warmUp: createWarmUp(),
    log: silentLogger(),
  });
  repository = own;
  const settled = new Promise<void>((resolve) => {
    own.onChange(() => {
      if (own.readiness().ready) resolve();
    });
  });
  await own.start();
  await settled;
  return own;
}

const references = JSON.parse(readFileSync(fixture('protobuf_messages.json'), 'utf8')) as {
  messages: Record<string, string>;
  examples: string[];
};

function regressLog(signatureName: string): Uint8Array {
  const request = RegressionRequest.encode({
    modelSpec: { name: 'whatever it was called', versionChoice: undefined, signatureName },
    input: {
      kind: {
        case: 'exampleList',
        value: { examples: [Buffer.from(references.examples[0] as string, 'base64')] },
      },
    },
  });
  return encodePredictionLog({ kind: 'regress', request, response: undefined });
}

describe('a version with warm-up requests', () => {
  it('has answered them before it serves', async () => {
    const record = encodeRecord(regressLog('regress_x_to_y'));
    const own = await load('warm', Buffer.concat([record, record]));
    const served = own.acquire({ name: 'warm' });
    expect(served.model.stats().runs).toBe(2);
    served.release();
  });

  it.each([
    [
      'that fail',
      'fails',
      encodeRecord(Buffer.from(references.messages['predictLog'] as string, 'base64')),
      'Warm-up record 1 of',
    ],
    ['of no kind', 'no-kind', encodeRecord(new Uint8Array(0)), 'LOG_TYPE_NOT_SET'],
    [
      'that are no records',
      'no-records',
      Buffer.from('not a TFRecord file'),
      'corrupted record at 0',
    ],
    ['cut short', 'short', encodeRecord(regressLog('regress_x_to_y')).subarray(0, 40), 'truncated'],
  ])('%s is not served, and tells why', async (_, name, file, text) => {
    const own = await load(name, file);
    const [status] = own.status({ name });
    expect(status?.error.message).toContain(text);
    expect(() => own.acquire({ name })).toThrow('Servable not found');
  });
});
