/**
 * What Triton measures of inference, under its names: by model and version, whatever carries the
 * requests. The statistics of the Open Inference Protocol are read from the same numbers.
 *
 * Names: github.com/triton-inference-server/server, docs/user_guide/metrics.md.
 */

import type { ModelStats } from '../index.js';
import { Counter, Gauge, type MetricOptions } from './metric-registry.js';

/** What a version that is served tells of itself. */
interface ModelNumbers {
  readonly name: string;
  readonly version: bigint;
  readonly stats: ModelStats;
}

/** What became of the tensors of one request. */
export interface CodecMeasures {
  readonly model: string;
  readonly version: bigint;
  readonly entrypoint: 'REST' | 'GRPC';
  /** To make tensors of the request, and an answer of the outputs. */
  readonly inputMicros: number;
  readonly outputMicros: number;
  /** Bytes of inputs that were fed as they lay in the message, and that were copied before. */
  readonly passedBytes: number;
  readonly copiedBytes: number;
}

const labels = ['model', 'version'] as const;

/** Names of the series that statistics are read from. */
export const inferenceSeries = {
  success: 'nv_inference_request_success',
  failure: 'nv_inference_request_failure',
  duration: 'nv_inference_request_duration_us',
  failedDuration: 'tenon_failed_inference_request_duration_us',
  input: 'nv_inference_compute_input_duration_us',
  output: 'nv_inference_compute_output_duration_us',
  decoded: 'tenon_inference_requests_decoded_total',
  last: 'tenon_last_inference_timestamp_seconds',
  inferences: 'nv_inference_count',
  executions: 'nv_inference_exec_count',
  queue: 'nv_inference_queue_duration_us',
  infer: 'nv_inference_compute_infer_duration_us',
  pending: 'nv_inference_pending_request_count',
  queued: 'tenon_inference_queue_waits_total',
} as const;

/** Of one version. */
export interface InferenceSeries {
  readonly success: { add(amount: number): void };
  readonly failure: { add(amount: number): void };
  readonly duration: { add(amount: number): void };
  readonly failedDuration: { add(amount: number): void };
  readonly input: { add(amount: number): void };
  readonly output: { add(amount: number): void };
  readonly decoded: { add(amount: number): void };
  readonly last: { set(value: number): void };
}

const counter = (name: string, help: string, more: Partial<MetricOptions> = {}): Counter =>
  new Counter({ name, help, labels, ...more });

/** Of one thread. */
export class InferenceMetrics {
  readonly #thread: string;
  readonly #success = counter(inferenceSeries.success, 'Inference requests that succeeded.');
  readonly #failure = counter(inferenceSeries.failure, 'Inference requests that failed.');
  readonly #duration = counter(
    inferenceSeries.duration,
    'Time of inference requests that succeeded, in microseconds.',
  );
  readonly #failedDuration = counter(
    inferenceSeries.failedDuration,
    'Time of inference requests that failed, in microseconds.',
  );
  readonly #input = counter(
    inferenceSeries.input,
    'Time to make tensors of requests of the Open Inference Protocol, in microseconds.',
  );
  readonly #output = counter(
    inferenceSeries.output,
    'Time to make answers of outputs for the Open Inference Protocol, in microseconds.',
  );
  readonly #decoded = counter(
    inferenceSeries.decoded,
    'Requests of the Open Inference Protocol whose tensors were read and answered.',
  );
  readonly #last = new Gauge({
    name: inferenceSeries.last,
    help: 'When the last inference request ended, in seconds since 1970.',
    labels: [...labels, 'thread'],
  });
  readonly #bytes = new Counter({
    name: 'tenon_oip_input_bytes_total',
    help: 'Bytes of binary inputs of the Open Inference Protocol, fed as they lay in the request or copied before.',
    labels: ['entrypoint', 'way'],
  });
  readonly #series = new Map<string, InferenceSeries>();

  constructor(thread: string) {
    this.#thread = thread;
  }

  /** A request of the version that `of` gave these of has ended. */
  ended(series: InferenceSeries, isSuccess: boolean, micros: number): void {
    if (isSuccess) {
      series.success.add(1);
      series.duration.add(micros);
    } else {
      series.failure.add(1);
      series.failedDuration.add(micros);
    }
    series.last.set(Date.now() / 1000);
  }

  codec(measures: CodecMeasures): void {
    const series = this.of(measures.model, measures.version);
    series.decoded.add(1);
    series.input.add(measures.inputMicros);
    series.output.add(measures.outputMicros);
    const { entrypoint, passedBytes, copiedBytes } = measures;
    if (passedBytes > 0) this.#bytes.with(entrypoint, 'passed').add(passedBytes);
    if (copiedBytes > 0) this.#bytes.with(entrypoint, 'copied').add(copiedBytes);
  }

  /** The series of a version that is gone for good. */
  forget(model: string, version: bigint): void {
    this.#series.delete(`${version} ${model}`);
    for (const metric of this.metrics()) {
      if (metric !== this.#bytes) metric.drop(model, String(version));
    }
  }

  metrics(): (Counter | Gauge)[] {
    return [
      this.#success,
      this.#failure,
      this.#duration,
      this.#failedDuration,
      this.#input,
      this.#output,
      this.#decoded,
      this.#last,
      this.#bytes,
    ];
  }

  of(model: string, version: bigint): InferenceSeries {
    const key = `${version} ${model}`;
    let series = this.#series.get(key);
    if (series === undefined) {
      const own = [model, String(version)] as const;
      series = {
        success: this.#success.with(...own),
        failure: this.#failure.with(...own),
        duration: this.#duration.with(...own),
        failedDuration: this.#failedDuration.with(...own),
        input: this.#input.with(...own),
        output: this.#output.with(...own),
        decoded: this.#decoded.with(...own),
        last: this.#last.with(...own, this.#thread),
      };
      this.#series.set(key, series);
    }
    return series;
  }
}

/** What the models themselves know; those of all threads that share one, so one thread asks. */
export function modelInferenceMetrics(models: Iterable<ModelNumbers>): (Counter | Gauge)[] {
  const inferences = counter(
    inferenceSeries.inferences,
    'Inferences: the rows of batched runs, and one for each other run.',
  );
  const executions = counter(inferenceSeries.executions, 'Calls of the engine that went well.');
  const queue = counter(
    inferenceSeries.queue,
    'Time that runs waited for a lane, in microseconds.',
  );
  const queued = counter(inferenceSeries.queued, 'Runs that went through a lane.');
  const infer = counter(inferenceSeries.infer, 'Time of the engine’s calls, in microseconds.');
  const pending = new Gauge({
    name: inferenceSeries.pending,
    help: 'Runs that wait for a lane or a batch.',
    labels,
  });
  for (const { name, version, stats } of models) {
    const own = [name, String(version)] as const;
    const well = stats.runs - stats.failedRuns - stats.cancelledRuns;
    inferences.with(...own).add(Math.max(0, well - stats.batchedRuns) + stats.batchRows);
    executions.with(...own).add(stats.runMicros.count);
    queue.with(...own).add(stats.queueMicros.count * stats.queueMicros.mean);
    queued.with(...own).add(stats.queueMicros.count);
    infer.with(...own).add(stats.runMicros.count * stats.runMicros.mean);
    pending.with(...own).set(stats.queuedRuns + (stats.batching?.queuedRequests ?? 0));
  }
  return [inferences, executions, queue, queued, infer, pending];
}
