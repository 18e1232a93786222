/**
 * The text format over any text: what is no message is an error with a place, and a message can be
 * encoded and decoded.
 */

import { deepStrictEqual } from 'node:assert';

import { TenonError } from '../../lib/errors.js';
import type { MessageType } from '../../lib/protobuf/message.js';
import { ConfigProto } from '../../lib/protobuf/tensorflow-config.js';
import {
  BatchingParameters,
  ModelServerConfig,
  PlatformConfigMap,
  SavedModelBundleSourceAdapterConfig,
} from '../../lib/protobuf/tensorflow-serving-config.js';
import { ClassificationResponse, PredictionLog } from '../../lib/protobuf/tensorflow-serving.js';
import { parseText } from '../../lib/protobuf/text.js';

const types: MessageType<object>[] = [
  ModelServerConfig,
  BatchingParameters,
  PlatformConfigMap,
  ConfigProto,
  ClassificationResponse,
  PredictionLog,
];

/** The first byte chooses a message. */
export function fuzz(data: Buffer): void {
  const type = types[(data[0] ?? 0) % types.length] as MessageType<object>;
  let message: object;
  try {
    message = parseText(type, data.toString('utf8', 1), {
      anyTypes: [SavedModelBundleSourceAdapterConfig],
    });
  } catch (error) {
    if (!(error instanceof TenonError)) throw error;
    if (!/ for "text:\d+:\d+", received /.test(error.message)) throw error;
    return;
  }
  const once = type.encode(message);
  deepStrictEqual(Buffer.from(type.encode(type.decode(once))), Buffer.from(once));
}
