/** A unary call of a service that runs models, measured. */

import type { StatusName } from '../../codec/status.js';
import type { ApiMethod, ServingMetrics } from '../metrics.js';
import { statusOf } from '../tfserving/errors.js';
import type { CallContext } from '../tfserving/service.js';
import type { UnaryHandler } from './transport.js';

/** What is known of a request when it ends. */
export interface Outcome {
  model: string;
  version: bigint | undefined;
  signature: string | undefined;
}

export type Handler = (
  request: Buffer,
  context: CallContext,
  outcome: Outcome,
) => Uint8Array | Promise<Uint8Array>;

/** Answers one message; what it throws, or rejects with, is a StatusError. */
export function counted(
  metrics: ServingMetrics | undefined,
  method: ApiMethod,
  handle: Handler,
): UnaryHandler {
  return (request, call) => {
    const started = performance.now();
    metrics?.started('GRPC');
    const outcome: Outcome = { model: '', version: undefined, signature: undefined };
    const context: CallContext = {
      signal: call.signal,
      timeoutMs: call.timeLeftMs(),
      message: request,
    };
    const ended = (status: StatusName): void => {
      metrics?.ended('GRPC');
      metrics?.request({
        model: outcome.model,
        version: outcome.version,
        signature: outcome.signature,
        method,
        entrypoint: 'GRPC',
        status,
        micros: (performance.now() - started) * 1000,
      });
    };
    const failed = (error: unknown): never => {
      const failure = statusOf(error);
      ended(failure.status);
      throw failure;
    };
    let answer: Uint8Array | Promise<Uint8Array>;
    try {
      answer = handle(request, context, outcome);
    } catch (error) {
      return failed(error);
    }
    if (answer instanceof Promise) {
      return answer.then((bytes) => {
        ended('OK');
        return bytes;
      }, failed);
    }
    ended('OK');
    return answer;
  };
}
