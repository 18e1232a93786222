/** tensorflow.serving.PredictionLog (prediction_log.proto): a request as it was logged. */

import { PredictionLog, type PredictLog } from '../../protobuf/tensorflow-serving.js';
import { decoded, decodeOptions } from './malformed.js';
import {
  decodeClassificationRequest,
  type DecodedMultiInferenceRequest,
  decodeMultiInferenceRequest,
  decodeRegressionRequest,
  type ExamplesRequest,
} from './messages.js';
import { decodePredictRequest, type DecodeTensorsOptions, type PredictRequest } from './predict.js';

export type LoggedKind = 'predict' | 'classify' | 'regress' | 'multiInference';

export type LoggedRequest =
  | { readonly kind: 'predict'; readonly request: PredictRequest }
  | { readonly kind: 'classify'; readonly request: ExamplesRequest }
  | { readonly kind: 'regress'; readonly request: ExamplesRequest }
  | { readonly kind: 'multiInference'; readonly request: DecodedMultiInferenceRequest }
  /** Logs of streams and of SessionRun, which are not decoded, and a log of nothing. */
  | OtherLog;

interface OtherLog {
  readonly kind: 'predictStreamed' | 'sessionRun' | 'none';
}

/** A request and its answer as serialized messages. */
export interface LoggedBytes {
  readonly kind: LoggedKind;
  readonly request: Uint8Array;
  /** Undefined where the log has none. */
  readonly response: Uint8Array | undefined;
}

/** @throws StatusError INTERNAL for bytes that are no PredictionLog. */
export function readPredictionLog(bytes: Uint8Array): LoggedBytes | OtherLog {
  const { logType } = decoded(() => PredictionLog.decode(bytes, decodeOptions));
  switch (logType?.case) {
    case 'predictLog':
      return { kind: 'predict', ...bytesOf(logType.value) };
    case 'classifyLog':
      return { kind: 'classify', ...bytesOf(logType.value) };
    case 'regressLog':
      return { kind: 'regress', ...bytesOf(logType.value) };
    case 'multiInferenceLog':
      return { kind: 'multiInference', ...bytesOf(logType.value) };
    case 'predictStreamedLog':
      return { kind: 'predictStreamed' };
    case 'sessionRunLog':
      return { kind: 'sessionRun' };
    case undefined:
      return { kind: 'none' };
  }
}

function bytesOf({ request, response }: PredictLog): Omit<LoggedBytes, 'kind'> {
  return { request, response: response.byteLength === 0 ? undefined : response };
}

export function encodePredictionLog({ kind, request, response }: LoggedBytes): Uint8Array {
  const value = { request, response: response ?? noBytes };
  return PredictionLog.encode({ logType: { case: `${kind}Log`, value } });
}

const noBytes = new Uint8Array(0);

/** @throws StatusError as decoding the request by itself does. */
export function decodePredictionLog(
  bytes: Uint8Array,
  options?: DecodeTensorsOptions,
): LoggedRequest {
  const logged = readPredictionLog(bytes);
  switch (logged.kind) {
    case 'predict':
      return { kind: 'predict', request: decodePredictRequest(logged.request, options) };
    case 'classify':
      return { kind: 'classify', request: decodeClassificationRequest(logged.request) };
    case 'regress':
      return { kind: 'regress', request: decodeRegressionRequest(logged.request) };
    case 'multiInference':
      return { kind: 'multiInference', request: decodeMultiInferenceRequest(logged.request) };
    default:
      return logged;
  }
}
