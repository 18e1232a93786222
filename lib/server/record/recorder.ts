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
import { type Clock, systemClock, type Timer } from '../repository/clock.js';
import { Sampler } from '../sampler.js';
import { endOfTurn } from '../turn.js';
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

interface Waiting {
  readonly call: RecordedCall;
  readonly exchange: Exchange;
  readonly letGo: () => void;
}

/**
 * Requests are made records many at a time: what is done now and then finds cold caches, and takes
 * several times as long.
 */
const batchRecords = 32;
const batchBytes = 4 << 20;
const batchMs = 100;
/** Those that may wait until the turn has ended. */
const maxWaiting = 256;

/** Of one thread. No call throws, or waits for a disk. */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #files: RecordFiles;
  readonly #sampler: Sampler;
  readonly #clock: Clock;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #timer: Timer | undefined;
  #isDue = false;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#files = new RecordFiles(options);
    this.#sampler = new Sampler(options.sampling, options.random);
    this.#clock = options.clock ?? systemClock;
  }

  /** Whether the next request is to be recorded. */
  sample(): boolean {
    return this.#sampler.next();
  }

  /** @param letGo Called once its tensors are needed no more. */
  record(call: RecordedCall, exchange: Exchange, letGo: () => void): void {
    if (this.#waiting.length >= maxWaiting) {
      letGo();
      this.#options.onLost?.('waiting', 1);
      return;
    }
    this.#waiting.push({ call, exchange, letGo });
    this.#waitingBytes += leastBytes(exchange);
    if (this.#waiting.length < batchRecords && this.#waitingBytes < batchBytes) {
      this.#timer ??= this.#clock.after(batchMs, () => this.#recordAll());
    } else if (!this.#isDue) {
      this.#isDue = true;
      // The answer to the last one may not have been sent.
      void endOfTurn().then(() => this.#recordAll());
    }
  }

  /** Resolves when what was given before is in the files, or lost. */
  async flush(): Promise<void> {
    this.#recordAll();
    await this.#files.flush();
  }

  async close(): Promise<void> {
    this.#recordAll();
    await this.#files.close();
  }

  #recordAll(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#isDue = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const { call, exchange, letGo } of waiting) {
      this.#record(call, exchange);
      letGo();
    }
  }

  #record({ spec, version }: RecordedCall, exchange: Exchange): void {
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
