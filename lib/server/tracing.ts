/**
 * Spans of requests, for those who have OpenTelemetry's API in their application and an SDK that is
 * started before the server (`node --import ./telemetry.mjs`). Without either nothing is done.
 */

import type { Attributes, Context, SpanOptions } from '@opentelemetry/api';

import { Sampler } from './sampler.js';

export interface RequestSpan {
  /** Calls with the span as the current one. */
  run<T>(act: () => T): T;
  end(attributes: Attributes, hasFailed: boolean): void;
}

/** A caller's headers or metadata, in which `traceparent` may be. */
export type Carrier = Readonly<Record<string, string | string[] | undefined>>;

export interface Tracing {
  /**
   * Whether a request is to have a span. The SDK has samplers of its own, but a request costs nearly as
   * much with them as if it were traced.
   */
  wants(carrier: Carrier): boolean;
  start(name: string, carrier: Carrier, attributes: Attributes): RequestSpan;
}

/**
 * @param sampling Share of the requests that have a span, of those whose callers say nothing of a
 *   trace; all others have one.
 * @returns Undefined where the application has no OpenTelemetry, or no SDK that takes spans.
 */
export async function openTracing(sampling = 1): Promise<Tracing | undefined> {
  const api = await import('@opentelemetry/api').catch(() => undefined);
  if (api === undefined) return undefined;
  const { trace, context, propagation, SpanKind, SpanStatusCode, ProxyTracerProvider } = api;
  const provider = trace.getTracerProvider();
  // Until an SDK is registered there is only the provider that stands in for it.
  if (
    provider instanceof ProxyTracerProvider &&
    provider.getDelegateTracer('tenon') === undefined
  ) {
    return undefined;
  }
  const tracer = trace.getTracer('tenon');
  const fields = propagation.fields();
  const sampler = new Sampler(sampling);
  return {
    wants: (carrier) => sampler.next() || fields.some((field) => carrier[field] !== undefined),
    start(name, carrier, attributes) {
      const parent: Context = propagation.extract(context.active(), carrier);
      const options: SpanOptions = { kind: SpanKind.SERVER, attributes };
      const span = tracer.startSpan(name, options, parent);
      const own = trace.setSpan(parent, span);
      return {
        run: (act) => context.with(own, act),
        end: (more, hasFailed) => {
          span.setAttributes(more);
          if (hasFailed) span.setStatus({ code: SpanStatusCode.ERROR });
          span.end();
        },
      };
    },
  };
}
