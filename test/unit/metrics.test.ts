import { describe, expect, it } from 'vitest';

import { type Distribution, Histogram as Counts } from '../../lib/batching/histogram.js';
import type { Model } from '../../lib/index.js';
import {
  Counter,
  exponentialBuckets,
  exposition,
  Gauge,
  Histogram,
  maxSeries,
  mergeSnapshots,
} from '../../lib/server/metric-registry.js';
import {
  latencyBuckets,
  type MeasuredModel,
  Metrics,
  type RequestMeasures,
} from '../../lib/server/metrics.js';

const asked: RequestMeasures = {
  model: 'm',
  version: 1n,
  signature: 'serving_default',
  method: 'Predict',
  entrypoint: 'REST',
  status: 'OK',
  micros: 100,
};

/** Lines of the exposition that begin so. */
function lines(metrics: Metrics, start: string): string[] {
  return exposition(metrics.snapshot())
    .split('\n')
    .filter((line) => line.startsWith(start));
}

describe('the exposition', () => {
  it('gives each metric its help, type and series', () => {
    const counter = new Counter({ name: 'c', help: 'Counts\nthings.', labels: ['a', 'b'] });
    counter.with('x', 'say "no"\\\n').add(2);
    const gauge = new Gauge({ name: 'g', help: 'Now.' });
    gauge.with().set(-1.5);
    expect(exposition([counter.snapshot(), gauge.snapshot()])).toBe(
      [
        '# HELP c Counts\\nthings.',
        '# TYPE c counter',
        'c{a="x",b="say \\"no\\"\\\\\\n"} 2',
        '# HELP g Now.',
        '# TYPE g gauge',
        'g -1.5',
        '',
      ].join('\n'),
    );
  });

  it('leaves out a metric without series', () => {
    expect(exposition([new Counter({ name: 'c', help: 'h' }).snapshot()])).toBe('');
  });

  it('counts a histogram up to each bound, the bound included', () => {
    const histogram = new Histogram({ name: 'h', help: 'h', buckets: [1, 2, 4] });
    for (const value of [0, 1, 1.5, 2, 4, 5]) histogram.with().observe(value);
    expect(exposition([histogram.snapshot()]).split('\n').slice(2)).toEqual([
      'h_bucket{le="1"} 2',
      'h_bucket{le="2"} 4',
      'h_bucket{le="4"} 5',
      'h_bucket{le="+Inf"} 6',
      'h_sum 13.5',
      'h_count 6',
      '',
    ]);
  });
});

it('names bounds as TensorFlow Serving does', () => {
  const buckets = [0.5, 10, 10 * 1.8 ** 2, 10 * 1.8 ** 8, 10 * 1.8 ** 25];
  const histogram = new Histogram({ name: 'h', help: 'h', buckets });
  histogram.with().observe(1);
  expect(exposition([histogram.snapshot()]).match(/le="[^"]+"/g)).toEqual([
    'le="0.5"',
    'le="10"',
    'le="32.4"',
    'le="1102"',
    'le="2.40887e+07"',
    'le="+Inf"',
  ]);
});

describe('a metric', () => {
  it('has a bounded number of series; the rest counts in one', () => {
    const counter = new Counter({ name: 'c', help: 'h', labels: ['name'] });
    for (let i = 0; i < maxSeries + 50; i++) counter.with(`client's ${i}`).add(1);
    const { series } = counter.snapshot();
    expect(series).toHaveLength(maxSeries + 1);
    expect(series.at(-1)).toEqual([[''], [50]]);
  });

  it('is added up over threads, whose series need not be the same', () => {
    const threads = [1, 2].map((thread) => {
      const counter = new Counter({ name: 'c', help: 'h', labels: ['a'] });
      counter.with('both').add(thread);
      counter.with(`only ${thread}`).add(7);
      const histogram = new Histogram({ name: 'h', help: 'h', buckets: [1] });
      histogram.with().observe(thread);
      return [counter.snapshot(), histogram.snapshot()];
    });
    const [counter, histogram] = mergeSnapshots(threads);
    expect(counter?.series).toEqual([
      [['both'], [3]],
      [['only 1'], [7]],
      [['only 2'], [7]],
    ]);
    expect(histogram?.series).toEqual([[[], [1, 1, 3]]]);
    // What the threads have themselves is left as it was.
    expect(threads[0]?.[0]?.series[0]).toEqual([['both'], [1]]);
  });
});

describe('the metrics of batches', () => {
  const distribution = (values: readonly number[]): Distribution => {
    const histogram = new Counts();
    for (const value of values) histogram.add(value);
    return histogram.distribution();
  };
  /** A version whose batcher has made these batches, of so many waits in microseconds. */
  const served = (version: bigint, batches: number, waits: readonly number[]): MeasuredModel => {
    const batching = {
      batches,
      queuedRows: 5,
      distributions: {
        requestRows: distribution([1, 2, 4]),
        batchRows: distribution([4, 8]),
        paddedRows: distribution([0, 1]),
        waitMicros: distribution(waits),
      },
    };
    const none = { count: 0, mean: 0 };
    const stats = { lanes: [], queueMicros: none, runMicros: none, batching };
    return { name: 'm', version, model: { stats: () => stats } as unknown as Model };
  };

  it("are under TensorFlow Serving's names, with the batcher's numbers", () => {
    const models = [served(1n, 2, [50, 101, 5e6])];
    const metrics = new Metrics({ models: () => models });
    const session = ':tensorflow:serving:batching_session';
    const of = (name: string): string[] => lines(metrics, `${session}:${name}`);
    const labels = 'model_name="m",version="1"';
    expect(of('queuing_latency_bucket')).toHaveLength(53);
    expect(of('queuing_latency').slice(0, 2)).toEqual([
      `${session}:queuing_latency_bucket{${labels},le="100"} 1`,
      `${session}:queuing_latency_bucket{${labels},le="120"} 2`,
    ]);
    expect(of('queuing_latency').slice(-4)).toEqual([
      expect.stringMatching(/le="1.09[0-9e+]+"\} 2$/),
      `${session}:queuing_latency_bucket{${labels},le="+Inf"} 3`,
      `${session}:queuing_latency_sum{${labels}} 5000151`,
      `${session}:queuing_latency_count{${labels}} 3`,
    ]);
    expect(of('input_batch_size').slice(0, 3)).toEqual([
      `${session}:input_batch_size_bucket{${labels},le="1"} 1`,
      `${session}:input_batch_size_bucket{${labels},le="3"} 2`,
      `${session}:input_batch_size_bucket{${labels},le="7"} 3`,
    ]);
    expect(of('processed_batch_size_sum')).toEqual([
      `${session}:processed_batch_size_sum{${labels}} 12`,
    ]);
    expect(of('padding_size').slice(0, 2)).toEqual([
      `${session}:padding_size_bucket{${labels},le="0"} 1`,
      `${session}:padding_size_bucket{${labels},le="1"} 2`,
    ]);
    expect(of('wrapped_run_count')).toEqual([`${session}:wrapped_run_count 2`]);
    expect(lines(metrics, 'tenon_batching_queued_rows')).toEqual([
      `tenon_batching_queued_rows{${labels}} 5`,
    ]);
    metrics.close();
  });

  it('never go back when a version goes, and are of each thread', () => {
    const first = served(1n, 2, [50]);
    const second = served(2n, 3, [50]);
    let models = [first, second];
    const metrics = new Metrics({ models: () => models, isOneOfMany: true });
    const count = ':tensorflow:serving:batching_session:wrapped_run_count';
    expect(lines(metrics, count)).toEqual([`${count} 5`]);
    models = [second];
    expect(lines(metrics, count)).toEqual([`${count} 5`]);
    expect(lines(metrics, ':tensorflow:serving:batching_session:queuing_latency_count')).toEqual([
      ':tensorflow:serving:batching_session:queuing_latency_count{model_name="m",version="2"} 1',
    ]);
    expect(lines(metrics, 'tenon_model_runs_total')).toEqual([]);
    metrics.close();
  });
});

it('sums the waits for a lane, and never goes back', () => {
  let queueMicros = { count: 0, mean: 0 };
  const stats = () => ({ lanes: [], queueMicros, runMicros: { count: 0 } });
  const model = { name: 'm', version: 1n, model: { stats } as unknown as Model };
  const metrics = new Metrics({ models: () => [model] });
  for (const sum of [1000, 123_456.5, 98_765_432_101.999]) {
    for (let count = 1; count < 200; count++) {
      queueMicros = { count, mean: sum / count };
      expect(lines(metrics, 'tenon_model_wait_micros_total')).toEqual([
        `tenon_model_wait_micros_total{model_name="m",version="1"} ${Math.floor(sum)}`,
      ]);
    }
  }
  metrics.close();
});

describe('the metrics of requests', () => {
  it('have the 33 bounds of TensorFlow Serving', () => {
    expect(latencyBuckets).toEqual(exponentialBuckets(10, 1.8, 33));
    expect(latencyBuckets.slice(0, 3)).toEqual([10, 18, expect.closeTo(32.4)]);
    expect(latencyBuckets).toHaveLength(33);
  });

  it('count by model and status, and by version and signature', () => {
    const metrics = new Metrics();
    metrics.request(asked);
    metrics.request(asked);
    metrics.request({ ...asked, status: 'INVALID_ARGUMENT', version: 2n });
    expect(lines(metrics, ':tensorflow:serving:request_count')).toEqual([
      ':tensorflow:serving:request_count{model_name="m",status="OK"} 2',
      ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 1',
    ]);
    expect(lines(metrics, 'tenon_requests_total{')).toEqual([
      'tenon_requests_total{model_name="m",version="1",signature="serving_default",method="Predict",entrypoint="REST",status="OK"} 2',
      'tenon_requests_total{model_name="m",version="2",signature="serving_default",method="Predict",entrypoint="REST",status="INVALID_ARGUMENT"} 1',
    ]);
    expect(lines(metrics, ':tensorflow:serving:request_latency_count')).toEqual([
      ':tensorflow:serving:request_latency_count{model_name="m",API="Predict",entrypoint="REST"} 3',
    ]);
    metrics.close();
  });

  it('have no series for names that a client makes up', () => {
    const metrics = new Metrics();
    for (let i = 0; i < 100; i++) {
      metrics.request({ ...asked, model: `no ${i}`, version: undefined, status: 'NOT_FOUND' });
    }
    expect(lines(metrics, ':tensorflow:serving:request_count')).toEqual([
      ':tensorflow:serving:request_count{model_name="",status="NOT_FOUND"} 100',
    ]);
    metrics.close();
  });

  it('forget a version that is gone', () => {
    const metrics = new Metrics();
    metrics.request(asked);
    metrics.request({ ...asked, version: 2n });
    metrics.forget('m', 1n);
    expect(lines(metrics, 'tenon_requests_total{')).toEqual([
      expect.stringContaining('version="2"'),
    ]);
    metrics.request(asked);
    expect(lines(metrics, 'tenon_requests_total{')).toHaveLength(2);
    metrics.close();
  });

  it('know how many are in flight', () => {
    const metrics = new Metrics();
    metrics.started('GRPC');
    metrics.started('GRPC');
    metrics.ended('GRPC');
    expect(lines(metrics, 'tenon_in_flight_requests')).toEqual([
      'tenon_in_flight_requests{entrypoint="GRPC"} 1',
    ]);
    metrics.close();
  });
});
