// Steady load: requests begin at fixed times, however long earlier ones take, and a latency counts
// from the time at which its request was to begin. Nothing is sent twice.
import { request as httpRequest, Agent } from 'node:http';

import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import path from 'node:path';

import { root } from '../run-command.mjs';

const clientMs = 10_000;
const model = 'simple_model';
const rows = [1, 2, 3, 4];

/** @returns A call that resolves with the answer's first number. */
export function restClient(port, connections) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const body = JSON.stringify({ instances: [rows] });
  const options = {
    host: '127.0.0.1',
    port,
    agent,
    method: 'POST',
    path: `/v1/models/${model}:predict`,
    headers: { 'content-type': 'application/json', 'content-length': body.length },
  };
  const call = () =>
    new Promise((resolve, reject) => {
      const request = httpRequest(options, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (piece) => (text += piece));
        response.on('error', reject);
        response.on('end', () => {
          if (response.statusCode === 200) resolve(JSON.parse(text).predictions[0][0]);
          else reject(new Error(`${response.statusCode} ${text.trim().slice(0, 200)}`));
        });
      });
      request.setTimeout(clientMs, () => request.destroy(new Error('no answer in time')));
      request.on('error', reject);
      request.end(body);
    });
  return { call, close: () => agent.destroy() };
}

export function grpcClient(port, connections) {
  const { tensorflow } = loadPackageDefinition(
    loadSync('tensorflow_serving/apis/prediction_service.proto', {
      includeDirs: [path.join(root, 'test/fixtures/protos')],
      keepCase: true,
    }),
  );
  const content = Buffer.from(Float32Array.from(rows).buffer);
  const shape = { dim: [{ size: 1 }, { size: 4 }] };
  const request = {
    model_spec: { name: model },
    inputs: { input: { dtype: 'DT_FLOAT', tensor_shape: shape, tensor_content: content } },
  };
  const stubs = Array.from(
    { length: connections },
    () =>
      new tensorflow.serving.PredictionService(
        `127.0.0.1:${port}`,
        credentials.createInsecure(),
        // Connections of their own, and no second tries behind our back.
        { 'grpc.use_local_subchannel_pool': 1, 'grpc.enable_retries': 0 },
      ),
  );
  let next = 0;
  const call = () =>
    new Promise((resolve, reject) => {
      const stub = stubs[next++ % stubs.length];
      const deadline = new Date(Date.now() + clientMs);
      stub.Predict(request, { deadline }, (error, answer) => {
        if (error) reject(error);
        else resolve(answer.outputs.output.float_val[0]);
      });
    });
  return {
    call,
    close: () => {
      for (const stub of stubs) stub.close();
    },
  };
}

/** What came of the requests of one client. */
export class Load {
  /** Milliseconds of those that were answered. */
  latencies = [];
  /** `{ at, text }`: when the request began, in milliseconds from the start, and what it failed with. */
  failures = [];
  requests = 0;
  #underWay = new Set();
  #timer;
  #started = performance.now();

  /** @param expected The right answer. */
  constructor({ call }, { perSecond, expected }) {
    const intervalMs = 1000 / perSecond;
    let due = this.#started;
    this.#timer = setInterval(() => {
      for (; due <= performance.now(); due += intervalMs) this.#begin(call, expected, due);
    }, intervalMs);
  }

  #begin(call, expected, due) {
    this.requests++;
    const one = call().then(
      (answer) => {
        if (Math.abs(answer - expected) < 1e-4) this.latencies.push(performance.now() - due);
        else this.#fail(due, `answered ${answer}`);
      },
      (error) => this.#fail(due, error.message),
    );
    this.#underWay.add(one);
    void one.finally(() => this.#underWay.delete(one));
  }

  #fail(due, text) {
    this.failures.push({ at: Math.round(due - this.#started), text });
  }

  get now() {
    return performance.now() - this.#started;
  }

  /** Begins no more, and resolves when all have ended. */
  async stop() {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
  }

  quantile(q) {
    const sorted = this.latencies.toSorted((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(sorted.length * q) - 1)];
  }
}
