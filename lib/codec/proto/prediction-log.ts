/** tensorflow.serving.PredictionLog (prediction_log.proto): a request as it was logged. */

import { PredictionLog } from '../../protobuf/tensorflow-serving.js';
import { decoded, decodeOptions } from './malformed.js';
import {
  decodeClassificationRequest,
  type DecodedMultiInferenceRequest,
  decodeMultiInferenceRequest,
  decodeRegressionRequest,
  type ExamplesRequest,
} from './messages.js';
import { decodePredictRequest, type DecodeTensorsOptions, type PredictRequest } from './predict.js';

export type LoggedRequest =
  | { readonly kind: 'predict'; readonly request: PredictRequest }
  | { readonly kind: 'classify'; readonly request: ExamplesRequest }
  | { readonly kind: 'regress'; readonly request: ExamplesRequest }
  | { readonly kind: 'multiInference'; readonly request: DecodedMultiInferenceRequest }
  /** Logs of streams and of SessionRun, which are not decoded, and a log of nothing. */
  | { readonly kind: 'predictStreamed' | 'sessionRun' | 'none' };

/** @throws StatusError as decoding the request by itself does. */
export function decodePredictionLog(
  bytes: Uint8Array,
  options?: DecodeTensorsOptions,
): LoggedRequest {
  const { logType } = decoded(() => PredictionLog.decode(bytes, decodeOptions));
  switch (logType?.case) {
    case 'predictLog':
      return { kind: 'predict', request: decodePredictRequest(logType.value.request, options) };
    case 'classifyLog':
      return { kind: 'classify', request: decodeClassificationRequest(logType.value.request) };
    case 'regressLog':
      return { kind: 'regress', request: decodeRegressionRequest(logType.value.request) };
    case 'multiInferenceLog':
      return {
        kind: 'multiInference',
        request: decodeMultiInferenceRequest(logType.value.request),
      };
    case 'predictStreamedLog':
      return { kind: 'predictStreamed' };
    case 'sessionRunLog':
      return { kind: 'sessionRun' };
    case undefined:
      return { kind: 'none' };
  }
}
