/**
 * Spans of requests, for those who have OpenTelemetry's API in their application and an SDK that is
 * started before the server (`node --import ./telemetry.mjs`). Without either nothing is done.
 */

import type { Attributes, Context, SpanOptions } from '@opentelemetry/api';

export interface RequestSpan {
  /** Calls with the span as the current one. */
  run<T>(act: () => T): T;
  end(attributes: Attributes, hasFailed: boolean): void;
}

export interface Tracing {
  /** @param carrier The caller's headers or metadata, in which `traceparent` may be. */
  start(
    name: string,
    carrier: Readonly<Record<string, string | string[] | undefined>>,
    attributes: Attributes,
  ): RequestSpan;
}

/** Undefined where the application has no OpenTelemetry, or no SDK that takes spans. */
export async function openTracing(): Promise<Tracing | undefined> {
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
  return {
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
