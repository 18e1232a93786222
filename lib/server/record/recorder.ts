/** Requests and their answers as records of tensorflow.serving.PredictionLog. */

import {
  encodeClassificationResponse,
  encodeExamplesRequest,
  encodeMultiInferenceResponse,
  encodePredictionLog,
  encodePredictRequest,
  encodePredictResponse,
  encodeRegressionResponse,
} from '../../codec/proto/index.js';
import type { Tensor } from '../../index.js';
import type { Exchange } from '../exchange.js';
import type { ModelSpec } from '../models.js';
import { RecordFiles, type RecordFilesOptions, type RecordLoss } from './record-files.js';

export interface RecorderOptions extends RecordFilesOptions {
  readonly sampling: number;
  readonly responses: boolean;
  /** From 0 up to but not including 1. Default: Math.random. */
  readonly random?: () => number;
}

/** What a request came to: the version, and how the client called it. */
export interface RecordedCall {
  readonly spec: ModelSpec;
  readonly version: bigint;
}

/** Of one thread. No call throws, or waits for a disk. */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #files: RecordFiles;
  readonly #random: () => number;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#files = new RecordFiles(options);
    this.#random = options.random ?? Math.random;
  }

  /** Whether the next request is to be recorded. */
  sample(): boolean {
    return this.#random() < this.#options.sampling;
  }

  /** Its tensors must not have been let go of. */
  record({ spec, version }: RecordedCall, exchange: Exchange): void {
    let refusal: RecordLoss | undefined;
    try {
      refusal =
        this.#files.refusal(leastBytes(exchange)) ??
        this.#files.append(
          spec.name,
          encodePredictionLog({
            kind: exchange.kind,
            request: requestOf(exchange, spec),
            response: this.#options.responses
              ? responseOf(exchange, spec.name, version)
              : undefined,
          }),
        );
    } catch {
      refusal = 'unsupported';
    }
    if (refusal !== undefined) this.#options.onLost?.(refusal, 1);
  }

  flush(): Promise<void> {
    return this.#files.flush();
  }

  close(): Promise<void> {
    return this.#files.close();
  }
}

/** What its record takes at least, so that nothing is encoded that is too long. */
function leastBytes(exchange: Exchange): number {
  if (exchange.message !== undefined) return exchange.message.byteLength;
  if (exchange.kind !== 'predict') {
    return exchange.examples.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }
  return Object.values(exchange.feeds).reduce((sum, tensor) => sum + bytesOf(tensor), 0);
}

function bytesOf(tensor: Tensor): number {
  return tensor.dtype === 'string' ? tensor.size : tensor.byteLength;
}

function requestOf(exchange: Exchange, spec: ModelSpec): Uint8Array {
  if (exchange.message !== undefined) return exchange.message;
  if (exchange.kind === 'multiInference') throw new Error('it came without its message');
  const { name, version, label } = spec;
  const modelSpec = { name, version, label, signatureName: exchange.signatureName };
  if (exchange.kind === 'predict') {
    const { feeds, outputFilter } = exchange;
    return encodePredictRequest({ modelSpec, inputs: feeds, outputFilter });
  }
  return encodeExamplesRequest({ modelSpec, examples: [...exchange.examples] });
}

function responseOf(exchange: Exchange, name: string, version: bigint): Uint8Array {
  switch (exchange.kind) {
    case 'predict': {
      const { signatureName, outputs } = exchange;
      const modelSpec = { name, version, signatureName };
      return encodePredictResponse({ modelSpec, outputs }, { tensorContent: true });
    }
    case 'classify': {
      const { signatureName, classifications } = exchange;
      return encodeClassificationResponse({
        modelSpec: { name, version, signatureName },
        classifications,
      });
    }
    case 'regress': {
      const { signatureName, values } = exchange;
      return encodeRegressionResponse({ modelSpec: { name, version, signatureName }, values });
    }
    case 'multiInference':
      return encodeMultiInferenceResponse(
        exchange.results.map((result) => {
          const modelSpec = { name, version, signatureName: result.signatureName };
          return result.kind === 'classify'
            ? { modelSpec, classifications: result.classifications }
            : { modelSpec, values: result.values };
        }),
      );
  }
}
